package admin

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/headgate-io/headgate/gateway/admin/api"
)

// Bridges shows the connections with other brokers.
type Bridges interface{ Bridges() []api.Bridge }

func (s *Server) bridges(a huma.API) {
	huma.Register(a, op("list-bridges", http.MethodGet, "/v1/bridges", "List the bridges to other brokers"), func(context.Context, *struct{}) (*body[[]api.Bridge], error) {
		return answer(s.deps.Bridges.Bridges(), nil)
	})
}
