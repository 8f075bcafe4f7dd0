package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/sync/bundle"
)

func (s *Server) functions(a huma.API) {
	huma.Register(a, op("list-functions", http.MethodGet, "/v1/functions", "List the deployed functions"),
		func(ctx context.Context, _ *struct{}) (*body[[]api.Function], error) {
			return answer(s.deps.Catalog.List(ctx))
		})
	huma.Register(a, op("describe-function", http.MethodGet, "/v1/functions/{name}", "Show a function and its versions"),
		func(ctx context.Context, in *FunctionName) (*body[api.FunctionDetail], error) {
			return answer(s.deps.Catalog.Describe(ctx, in.Name))
		})
	deploy := op("deploy-function", http.MethodPost, "/v1/functions", "Deploy a signed bundle")
	deploy.MaxBodyBytes, deploy.BodyReadTimeout = bundle.MaxBytes, 5*time.Minute // over a slow radio link
	huma.Register(a, deploy, func(ctx context.Context, in *struct {
		RawBody []byte `contentType:"application/octet-stream"`
	},
	) (*body[api.Deployed], error) {
		return answer(s.deps.Deployer.Deploy(ctx, in.RawBody))
	})
	huma.Register(a, op("rollback-function", http.MethodPost, "/v1/functions/{name}/rollback", "Make an earlier version live"),
		func(ctx context.Context, in *struct {
			FunctionName
			Body api.Rollback
		},
		) (*body[api.Deployed], error) {
			return answer(s.deps.Deployer.Rollback(ctx, in.Name, in.Body.Version))
		})
	huma.Register(a, op("remove-function", http.MethodDelete, "/v1/functions/{name}", "Remove a function"),
		func(ctx context.Context, in *FunctionName) (*none, error) {
			return done(s.deps.Deployer.Remove(ctx, in.Name))
		})
	invoke := op("invoke-function", http.MethodPost, "/v1/functions/{name}/invoke", "Run a function now")
	invoke.MaxBodyBytes = 16 << 20
	huma.Register(a, invoke, func(ctx context.Context, in *struct {
		FunctionName
		Body api.Invoke
	},
	) (*body[api.Invoked], error) {
		return answer(s.deps.Invoker.Invoke(ctx, in.Name, in.Body))
	})
}
