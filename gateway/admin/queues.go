package admin

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/headgate-io/headgate/gateway/admin/api"
)

func (s *Server) queues(a huma.API) {
	send := op("send-queue-message", http.MethodPost, "/v1/queues", "Put a message on a queue, as a function would")
	send.MaxBodyBytes = 16 << 20
	huma.Register(a, send, func(ctx context.Context, in *struct{ Body api.QueueMessage }) (*none, error) {
		return done(s.deps.Hand.Enqueue(ctx, in.Body))
	})
}
