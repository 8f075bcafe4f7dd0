package admin

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/headgate-io/headgate/gateway/admin/api"
)

// Updates takes what the gateway's owner signed.
type Updates interface {
	Status() api.Updates
	// Check has the repository asked now.
	Check(ctx context.Context) error
	// Allow lets a version with new permissions go on, Retry has one that was
	// refused or rolled back tried again.
	Allow(ctx context.Context, function string) error
	Retry(ctx context.Context, function string) error
}

func (s *Server) updates(a huma.API) {
	huma.Register(a, op("updates", http.MethodGet, "/v1/updates", "Say how far signed updates are"),
		func(context.Context, *none) (*body[api.Updates], error) {
			return answer(s.deps.Updates.Status(), nil)
		})
	huma.Register(a, op("check-updates", http.MethodPost, "/v1/updates", "Ask the repository now"),
		func(ctx context.Context, _ *none) (*none, error) {
			return done(s.deps.Updates.Check(ctx))
		})
	huma.Register(a, op("allow-update", http.MethodPost, "/v1/updates/{name}/allow", "Let a version with new permissions go on"),
		func(ctx context.Context, in *FunctionName) (*none, error) {
			return done(s.deps.Updates.Allow(ctx, in.Name))
		})
	huma.Register(a, op("retry-update", http.MethodPost, "/v1/updates/{name}/retry", "Try again what was refused or rolled back"),
		func(ctx context.Context, in *FunctionName) (*none, error) {
			return done(s.deps.Updates.Retry(ctx, in.Name))
		})
}
