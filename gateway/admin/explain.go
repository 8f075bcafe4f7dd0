package admin

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/headgate-io/headgate/gateway/admin/api"
)

func (s *Server) explain(a huma.API) {
	explain := op("explain-event", http.MethodPost, "/v1/explain", "Say which functions an event would start and why not others; nothing happens")
	explain.MaxBodyBytes = 16 << 20
	huma.Register(a, explain, func(ctx context.Context, in *struct{ Body api.Explain }) (*body[api.Explained], error) {
		return answer(s.deps.Explainer.Explain(ctx, in.Body))
	})
}
