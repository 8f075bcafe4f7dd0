package server

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/headgate-io/headgate/controller/account"
	"github.com/headgate-io/headgate/controller/api"
	"github.com/headgate-io/headgate/controller/store"
)

// UserPath names a user.
type UserPath struct {
	User string `path:"user" maxLength:"64"`
}

var validName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9@._+-]{0,63}$`)

func checkName(name string) error {
	if !validName.MatchString(name) {
		return refusal(fmt.Sprintf("name %q: it has letters, digits and @ . _ + -, 64 at most, and starts with a letter or digit", name))
	}
	return nil
}

// reach refuses roles above the bearer's own.
func (w *who) reach(role string) error {
	if slices.Index(roles, role) > slices.Index(roles, w.Account.Role) {
		return huma.Error403Forbidden(fmt.Sprintf("the role %s is above your own, %s", role, w.Account.Role))
	}
	return nil
}

func (s *Server) users() {
	read(s, op("list-users", http.MethodGet, "/v1/users", "List the users by name"), readUsers,
		func(ctx context.Context, tx *store.Tx, w *who, in *Paging) (api.Page[api.User], error) {
			return listed(*in, func(p store.Page) ([]store.Account, error) { return tx.Accounts(ctx, w.tenant(), p) },
				func(a store.Account) string { return a.Name }, shown(apiUser))
		})
	create := op("create-user", http.MethodPost, "/v1/users", "Add a user")
	create.DefaultStatus = http.StatusCreated
	change(s, create, writeUsers,
		func(ctx context.Context, tx *store.Tx, w *who, in *struct{ Body api.NewUser }) (api.User, effect, error) {
			if err := checkName(in.Body.Name); err != nil {
				return api.User{}, effect{}, err
			}
			if err := w.reach(in.Body.Role); err != nil {
				return api.User{}, effect{}, err
			}
			a := store.Account{ID: store.NewID(), Tenant: w.tenant(), Name: in.Body.Name, Role: in.Body.Role, Created: s.deps.Now()}
			return apiUser(a), effect{"user.create", "user/" + a.Name, nil, apiUser(a)}, tx.AddAccount(ctx, a)
		})
	read(s, op("get-user", http.MethodGet, "/v1/users/{user}", "Show a user"), readUsers,
		func(ctx context.Context, tx *store.Tx, w *who, in *UserPath) (api.User, error) {
			a, err := tx.AccountOf(ctx, w.tenant(), in.User)
			return apiUser(a), err
		})
	change(s, op("change-user", http.MethodPatch, "/v1/users/{user}", "Give a user another role"), writeUsers, s.changeUser)
	remove(s, op("delete-user", http.MethodDelete, "/v1/users/{user}", "Delete a user with all tokens"), writeUsers,
		func(ctx context.Context, tx *store.Tx, w *who, in *UserPath) (effect, error) {
			a, err := s.lesser(ctx, tx, w, in.User)
			if err != nil {
				return effect{}, err
			}
			if err := tx.RemoveAccount(ctx, a.ID); err != nil {
				return effect{}, err
			}
			return effect{"user.delete", "user/" + a.Name, apiUser(a), nil}, lastAdmin(ctx, tx, w.tenant())
		})
	read(s, op("whoami", http.MethodGet, "/v1/whoami", "Say whose the token is, and what it may"), anyone,
		func(ctx context.Context, tx *store.Tx, w *who, _ *struct{}) (api.Whoami, error) {
			t, err := tx.Tenant(ctx, w.tenant())
			out := api.Whoami{Tenant: t.Name, User: w.Account.Name, Role: w.Account.Role, Token: w.Token.Name, Scopes: []string{}}
			for _, v := range w.scopes {
				out.Scopes = append(out.Scopes, string(v))
			}
			return out, err
		})
}

// lesser is a user that the bearer may change: none with a role above.
func (s *Server) lesser(ctx context.Context, tx *store.Tx, w *who, name string) (store.Account, error) {
	a, err := tx.AccountOf(ctx, w.tenant(), name)
	if err != nil {
		return a, err
	}
	return a, w.reach(a.Role)
}

func (s *Server) changeUser(ctx context.Context, tx *store.Tx, w *who, in *struct {
	UserPath
	Body api.UserChange
},
) (api.User, effect, error) {
	a, err := s.lesser(ctx, tx, w, in.User)
	if err != nil {
		return api.User{}, effect{}, err
	}
	if err := w.reach(in.Body.Role); err != nil {
		return api.User{}, effect{}, err
	}
	before := apiUser(a)
	a.Role = in.Body.Role
	if err := tx.SetRole(ctx, a.ID, a.Role); err != nil {
		return api.User{}, effect{}, err
	}
	return apiUser(a), effect{"user.change", "user/" + a.Name, before, apiUser(a)}, lastAdmin(ctx, tx, w.tenant())
}

// lastAdmin refuses what leaves a tenant without anybody who may give rights.
func lastAdmin(ctx context.Context, tx *store.Tx, tenant string) error {
	var left int64
	for _, role := range []string{Admin, Platform} {
		n, err := tx.CountRole(ctx, tenant, role)
		if err != nil {
			return err
		}
		left += n
	}
	if left == 0 {
		return huma.Error409Conflict("nobody would be left who may give rights: make another admin first")
	}
	return nil
}

func apiUser(a store.Account) api.User {
	return api.User{Name: a.Name, Role: a.Role, Created: a.Created.UTC()}
}

func (s *Server) tokens() {
	read(s, op("list-tokens", http.MethodGet, "/v1/users/{user}/tokens", "List a user's tokens"), readUsers,
		func(ctx context.Context, tx *store.Tx, w *who, in *struct {
			UserPath
			Paging
		},
		) (api.Page[api.Token], error) {
			var a store.Account
			return listed(in.Paging, func(p store.Page) (list []store.APIToken, err error) {
				if a, err = tx.AccountOf(ctx, w.tenant(), in.User); err != nil {
					return nil, err
				}
				return tx.APITokens(ctx, a.ID, p)
			}, func(t store.APIToken) string { return t.Name }, shown(func(t store.APIToken) api.Token { return apiToken(a, t) }))
		})
	create := op("create-token", http.MethodPost, "/v1/users/{user}/tokens", "Make a token for a user; it is shown this once")
	create.DefaultStatus = http.StatusCreated
	change(s, create, writeUsers, s.createToken)
	remove(s, op("revoke-token", http.MethodDelete, "/v1/users/{user}/tokens/{token}", "Revoke a user's token"), writeUsers,
		func(ctx context.Context, tx *store.Tx, w *who, in *struct {
			UserPath
			Token string `path:"token" maxLength:"64"`
		},
		) (effect, error) {
			a, err := s.lesser(ctx, tx, w, in.User)
			if err != nil {
				return effect{}, err
			}
			return effect{"token.revoke", "user/" + a.Name + "/token/" + in.Token, map[string]string{"name": in.Token}, nil},
				tx.RemoveAPIToken(ctx, a.ID, in.Token)
		})
}

func (s *Server) createToken(ctx context.Context, tx *store.Tx, w *who, in *struct {
	UserPath
	Body api.NewToken
},
) (out api.TokenSecret, e effect, err error) {
	if err := checkName(in.Body.Name); err != nil {
		return out, e, err
	}
	a, err := s.lesser(ctx, tx, w, in.User)
	if err != nil {
		return out, e, err
	}
	// A token that was narrowed gives no more than it has.
	may := allowed(a.Role)
	if w.narrowed() {
		may = w.scopes
		if len(in.Body.Scopes) == 0 {
			return out, e, huma.Error403Forbidden("your own token is narrowed: name scopes that it has")
		}
	}
	for _, v := range in.Body.Scopes {
		if !within(scope(v), may) || v == "" {
			return out, e, refusal(fmt.Sprintf("scope %q: it is one of %s", v, list(may)))
		}
	}
	var life time.Duration
	if in.Body.Seconds > 0 {
		life = seconds(in.Body.Seconds)
	}
	secret, t, err := account.AddToken(ctx, tx, a, in.Body.Name, in.Body.Scopes, life, s.deps.Now())
	if err != nil {
		return out, e, err
	}
	out = api.TokenSecret{Token: apiToken(a, t), Secret: account.Shown(secret, s.deps.Enrol.Fingerprint())}
	return out, effect{"token.create", "user/" + a.Name + "/token/" + t.Name, nil, out.Token}, nil
}

func list(scopes []scope) string {
	words := make([]string, len(scopes))
	for i, v := range scopes {
		words[i] = string(v)
	}
	return strings.Join(words, ", ")
}

func apiToken(a store.Account, t store.APIToken) api.Token {
	scopes := t.Scopes
	if scopes == nil {
		scopes = []string{}
	}
	return api.Token{Name: t.Name, User: a.Name, Scopes: scopes, Created: t.Created.UTC(), Expires: t.Expires.UTC(), LastUsed: t.LastUsed}
}
