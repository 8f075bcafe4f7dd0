package admin

import (
	"context"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/secret"
)

// SecretName names a secret in a path.
type SecretName struct {
	Function string `path:"function" maxLength:"64"`
	Name     string `path:"name" maxLength:"64"`
}

func (s *Server) secrets(a huma.API) {
	huma.Register(a, op("list-secrets", http.MethodGet, "/v1/secrets", "List the functions' secrets, without their values"),
		func(_ context.Context, in *struct {
			Function string `query:"function" maxLength:"64"`
		},
		) (*body[[]api.Secret], error) {
			out := []api.Secret{}
			for _, i := range s.deps.Secrets.List(in.Function) {
				out = append(out, api.Secret{Function: i.Function, Name: i.Name, Updated: i.Updated, Key: i.KeyID, Lost: i.Lost})
			}
			return answer(out, nil)
		})
	// The value is the body as it is: a JSON decoder would quote it in its
	// errors.
	set := op("set-secret", http.MethodPut, "/v1/secrets/{function}/{name}", "Set a function's secret")
	set.MaxBodyBytes = secret.MaxBytes + 1
	huma.Register(a, set, func(ctx context.Context, in *struct {
		SecretName
		RawBody []byte `contentType:"application/octet-stream"`
	},
	) (*none, error) {
		err := s.deps.Secrets.Set(ctx, in.Function, in.Name, in.RawBody)
		clear(in.RawBody)
		return done(secretFault(err))
	})
	huma.Register(a, op("remove-secret", http.MethodDelete, "/v1/secrets/{function}/{name}", "Remove a function's secret"),
		func(ctx context.Context, in *SecretName) (*none, error) {
			return done(s.deps.Secrets.Remove(ctx, in.Function, in.Name))
		})
	huma.Register(a, op("rekey-secrets", http.MethodPost, "/v1/secrets/rekey", "Seal every secret with a new key"),
		func(ctx context.Context, _ *struct{}) (*body[api.Rekeyed], error) {
			n, err := s.deps.Secrets.Rekey(ctx)
			return answer(api.Rekeyed{Secrets: n}, secretFault(err))
		})
}

func secretFault(err error) error {
	if errors.Is(err, secret.ErrInvalid) || errors.Is(err, secret.ErrSealed) {
		return Refusal(err)
	}
	return err
}
