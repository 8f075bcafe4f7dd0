package admin

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/headgate-io/headgate/gateway/admin/api"
)

func (s *Server) doctor(a huma.API) {
	huma.Register(a, op("examine", http.MethodGet, "/v1/doctor", "Look at the gateway and say what is wrong with it"),
		func(ctx context.Context, _ *none) (*body[[]api.Check], error) {
			return answer(s.deps.Doctor(ctx), nil)
		})
}
