package admin

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/headgate-io/headgate/gateway/admin/api"
)

func (s *Server) messages(a huma.API) {
	publish := op("publish-message", http.MethodPost, "/v1/messages", "Publish a message as a device would")
	publish.MaxBodyBytes = 16 << 20
	huma.Register(a, publish, func(ctx context.Context, in *struct{ Body api.Message }) (*none, error) {
		return done(s.deps.Messenger.Publish(ctx, in.Body))
	})
}
