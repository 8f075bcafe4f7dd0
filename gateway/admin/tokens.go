package admin

import (
	"context"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/token"
)

func (s *Server) tokens(a huma.API) {
	huma.Register(a, op("list-tokens", http.MethodGet, "/v1/tokens", "List the tokens of this API"),
		func(context.Context, *struct{}) (*body[[]api.Token], error) {
			out := []api.Token{}
			for _, t := range s.deps.Tokens.List() {
				out = append(out, apiToken(t))
			}
			return answer(out, nil)
		})
	huma.Register(a, op("add-token", http.MethodPost, "/v1/tokens", "Make a token; it is shown this once"),
		func(ctx context.Context, in *struct{ Body api.NewToken }) (*body[api.TokenSecret], error) {
			want := make([]token.Scope, 0, len(in.Body.Scopes))
			for _, s := range in.Body.Scopes {
				want = append(want, token.Scope(s))
			}
			secret, info, err := s.deps.Tokens.Add(ctx, in.Body.Name, want, in.Body.Lifetime)
			return answer(api.TokenSecret{Token: apiToken(info), Secret: secret}, tokenFault(err))
		})
	huma.Register(a, op("revoke-token", http.MethodDelete, "/v1/tokens/{name}", "Revoke a token and end what goes on in its name"),
		func(ctx context.Context, in *TokenName) (*none, error) {
			return done(tokenFault(s.deps.Tokens.Revoke(ctx, in.Name)))
		})
}

// TokenName is the name of a token in a path.
type TokenName struct {
	Name string `path:"name" maxLength:"64"`
}

func tokenFault(err error) error {
	if errors.Is(err, token.ErrInvalid) {
		return Refusal(err)
	}
	return err
}

func apiToken(t token.Info) api.Token {
	out := api.Token{Name: t.Name, Scopes: []string{}, Created: t.Created, Expires: t.Expires, LastUsed: t.LastUsed}
	for _, s := range t.Scopes {
		out.Scopes = append(out.Scopes, string(s))
	}
	return out
}
