package store

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"time"
)

// idLength is how long an identifier is: 100 random bits.
const idLength = 20

// NewID makes an identifier: [a-z2-7]{20}, unique over everything.
func NewID() string { return strings.ToLower(rand.Text())[:idLength] }

// newTimeID makes an identifier whose order is that of time.
func newTimeID(at time.Time) string { return fmt.Sprintf("%014x%s", at.UnixMicro(), NewID()[:10]) }

// Page asks for one part of a list: at most Limit items that come after After,
// the key of the last item of the part before, empty for the first.
type Page struct {
	After string
	Limit int
}

// Tenant is a customer of the controller. What is one tenant's no other sees.
type Tenant struct {
	ID, Name string
	Created  time.Time
}

func tenantFields(t *Tenant) []any { return []any{&t.ID, &t.Name, stamp{&t.Created}} }

const tenantColumns = `SELECT id, name, created FROM tenant `

// AddTenant adds a tenant; ErrExists says that the name is taken.
func (t *Tx) AddTenant(ctx context.Context, v Tenant) error {
	_, err := t.exec(ctx, `INSERT INTO tenant (id, name, created) VALUES (?, ?, ?)`, v.ID, v.Name, micros(v.Created))
	return err
}

// Tenant returns a tenant.
func (t *Tx) Tenant(ctx context.Context, id string) (Tenant, error) {
	return one(ctx, t, tenantFields, tenantColumns+`WHERE id = ?`, id)
}

// TenantNamed returns a tenant by its name.
func (t *Tx) TenantNamed(ctx context.Context, name string) (Tenant, error) {
	return missing(one(ctx, t, tenantFields, tenantColumns+`WHERE name = ?`, name))("tenant")
}

// Tenants lists the tenants by name.
func (t *Tx) Tenants(ctx context.Context, p Page) ([]Tenant, error) {
	return all(ctx, t, tenantFields, tenantColumns+`WHERE name > ? ORDER BY name LIMIT ?`, p.After, p.Limit)
}

// RenameTenant gives a tenant another name.
func (t *Tx) RenameTenant(ctx context.Context, id, name string) error {
	return t.change(ctx, `UPDATE tenant SET name = ? WHERE id = ?`, name, id)
}

// RemoveTenant removes a tenant with everything that it has.
func (t *Tx) RemoveTenant(ctx context.Context, id string) error {
	return t.change(ctx, `DELETE FROM tenant WHERE id = ?`, id)
}
