package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/sync/bundle"
)

// AliasName names an alias of a function in a path.
type AliasName struct {
	Name  string `path:"name" maxLength:"64"`
	Alias string `path:"alias" maxLength:"32"`
}

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
		Alias   string  `query:"alias" maxLength:"32" doc:"point this alias to the new version, and leave live where it is"`
		Percent float64 `query:"percent" minimum:"0" maximum:"99.99" doc:"with alias: the part of live's traffic that the new version gets"`
		RawBody []byte  `contentType:"application/octet-stream"`
	},
	) (*body[api.Deployed], error) {
		return answer(s.deps.Deployer.Deploy(ctx, in.RawBody, api.DeployOptions{Alias: in.Alias, Percent: in.Percent}))
	})
	huma.Register(a, op("set-alias", http.MethodPut, "/v1/functions/{name}/aliases/{alias}", "Point an alias to a version, or split live between two"),
		func(ctx context.Context, in *struct {
			AliasName
			Body api.AliasTarget
		},
		) (*body[api.Alias], error) {
			return answer(s.deps.Deployer.SetAlias(ctx, in.Name, in.Alias, in.Body))
		})
	huma.Register(a, op("remove-alias", http.MethodDelete, "/v1/functions/{name}/aliases/{alias}", "Remove an alias"),
		func(ctx context.Context, in *AliasName) (*none, error) {
			return done(s.deps.Deployer.DropAlias(ctx, in.Name, in.Alias))
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
