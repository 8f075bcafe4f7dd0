package server

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/headgate-io/headgate/controller/account"
	"github.com/headgate-io/headgate/controller/api"
	"github.com/headgate-io/headgate/controller/enrol"
	"github.com/headgate-io/headgate/controller/store"
)

// TenantPath names a tenant.
type TenantPath struct {
	Tenant string `path:"tenant" maxLength:"64" doc:"Its name"`
}

func (s *Server) tenants() {
	read(s, op("list-tenants", http.MethodGet, "/v1/tenants", "List the tenants by name"), readTenants,
		func(ctx context.Context, tx *store.Tx, _ *who, in *Paging) (api.Page[api.Tenant], error) {
			return listed(*in, func(p store.Page) ([]store.Tenant, error) { return tx.Tenants(ctx, p) },
				func(t store.Tenant) string { return t.Name }, shown(apiTenant))
		})
	create := op("create-tenant", http.MethodPost, "/v1/tenants", "Add a tenant; the token of its first admin is shown this once")
	create.DefaultStatus = http.StatusCreated
	change(s, create, writeTenants,
		func(ctx context.Context, tx *store.Tx, w *who, in *struct{ Body api.NewTenant }) (out api.TenantMade, e effect, err error) {
			if err := enrol.CheckName(in.Body.Name); err != nil {
				return out, e, err
			}
			if w.narrowed() {
				return out, e, huma.Error403Forbidden("your token is narrowed: it cannot make one that may all")
			}
			t, a, token, secret, err := account.AddTenant(ctx, tx, in.Body.Name, "admin", Admin, s.deps.Now())
			out = api.TenantMade{Tenant: apiTenant(t), Admin: api.TokenSecret{Token: apiToken(a, token), Secret: account.Shown(secret, s.deps.Enrol.Fingerprint())}}
			return out, effect{"tenant.create", "tenant/" + t.ID, nil, out.Tenant}, err
		})
	read(s, op("get-tenant", http.MethodGet, "/v1/tenants/{tenant}", "Show a tenant"), readTenants,
		func(ctx context.Context, tx *store.Tx, _ *who, in *TenantPath) (api.Tenant, error) {
			t, err := tx.TenantNamed(ctx, in.Tenant)
			return apiTenant(t), err
		})
	change(s, op("change-tenant", http.MethodPatch, "/v1/tenants/{tenant}", "Rename a tenant"), writeTenants,
		func(ctx context.Context, tx *store.Tx, _ *who, in *struct {
			TenantPath
			Body api.NewTenant
		},
		) (api.Tenant, effect, error) {
			if err := enrol.CheckName(in.Body.Name); err != nil {
				return api.Tenant{}, effect{}, err
			}
			t, err := tx.TenantNamed(ctx, in.Tenant)
			if err != nil {
				return api.Tenant{}, effect{}, err
			}
			before := apiTenant(t)
			t.Name = in.Body.Name
			return apiTenant(t), effect{"tenant.rename", "tenant/" + t.ID, before, apiTenant(t)}, tx.RenameTenant(ctx, t.ID, t.Name)
		})
	remove(s, op("delete-tenant", http.MethodDelete, "/v1/tenants/{tenant}", "Delete a tenant with everything that it has"), writeTenants,
		func(ctx context.Context, tx *store.Tx, w *who, in *TenantPath) (effect, error) {
			t, err := tx.TenantNamed(ctx, in.Tenant)
			if err != nil {
				return effect{}, err
			}
			if t.ID == w.tenant() {
				return effect{}, huma.Error409Conflict("that is your own tenant")
			}
			return effect{"tenant.delete", "tenant/" + t.ID, apiTenant(t), nil}, tx.RemoveTenant(ctx, t.ID)
		})
}

func apiTenant(t store.Tenant) api.Tenant {
	return api.Tenant{ID: t.ID, Name: t.Name, Created: t.Created.UTC()}
}
