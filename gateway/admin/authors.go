package admin

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/headgate-io/headgate/gateway/admin/api"
)

func (s *Server) authors(a huma.API) {
	huma.Register(a, op("get-author", http.MethodGet, "/v1/author", "Show whose functions the gateway takes"),
		func(ctx context.Context, _ *struct{}) (*body[api.Author], error) {
			key, err := s.deps.Authors.Author(ctx)
			return answer(api.Author{Key: key}, err)
		})
	huma.Register(a, op("forget-author", http.MethodDelete, "/v1/author", "Let the next deploy pin its author; over the socket only"),
		func(ctx context.Context, _ *struct{}) (*none, error) {
			return done(s.deps.Authors.ForgetAuthor(ctx))
		})
}
