package store

import (
	"context"
	"crypto/sha256"
	"time"
)

// Gateway is an enrolled gateway.
type Gateway struct {
	// ID is given by the controller and unique over all tenants: it is the
	// common name of the gateway's certificate.
	ID, Tenant string
	// Name is what people call it, unique in its tenant.
	Name   string
	Labels map[string]string
	// Hardware is the identity of its store, Arch and Version are what it said
	// when it enrolled.
	Hardware, Arch, Version string
	// Token is the enrolment token that it came with last.
	Token string
	// Serial is the number of its newest certificate, in hexadecimal, which
	// ends at Expires.
	Serial  string
	Expires time.Time
	// Revoked is zero unless it was.
	Enrolled, Renewed, Revoked time.Time
}

func gatewayFields(g *Gateway) []any {
	return []any{
		&g.ID, &g.Tenant, &g.Name,
		document{&g.Labels},
		&g.Hardware, &g.Arch, &g.Version, &g.Token, &g.Serial,
		stamp{&g.Expires},
		stamp{&g.Enrolled},
		stamp{&g.Renewed},
		stamp{&g.Revoked},
	}
}

const gatewayColumns = `SELECT id, tenant, name, labels, hardware, arch, version, token, serial, expires, enrolled, renewed, revoked FROM gateway `

// AddGateway adds a gateway; ErrExists says that its tenant has one of the name.
func (t *Tx) AddGateway(ctx context.Context, g Gateway) error {
	_, err := t.exec(ctx, `INSERT INTO gateway (id, tenant, name, labels, hardware, arch, version, token, serial, expires, enrolled, renewed, revoked)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		g.ID, g.Tenant, g.Name, text(labels(g.Labels)), g.Hardware, g.Arch, g.Version, g.Token, g.Serial,
		micros(g.Expires), micros(g.Enrolled), micros(g.Renewed), micros(g.Revoked))
	return err
}

// SetGateway writes what may change of a gateway: everything but its ID and
// tenant.
func (t *Tx) SetGateway(ctx context.Context, g Gateway) error {
	return t.change(ctx, `UPDATE gateway SET name = ?, labels = ?, hardware = ?, arch = ?, version = ?, token = ?, serial = ?,
		expires = ?, enrolled = ?, renewed = ?, revoked = ? WHERE id = ?`,
		g.Name, text(labels(g.Labels)), g.Hardware, g.Arch, g.Version, g.Token, g.Serial,
		micros(g.Expires), micros(g.Enrolled), micros(g.Renewed), micros(g.Revoked), g.ID)
}

func labels(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

// Gateway returns a gateway of any tenant.
func (t *Tx) Gateway(ctx context.Context, id string) (Gateway, error) {
	return one(ctx, t, gatewayFields, gatewayColumns+`WHERE id = ?`, id)
}

// GatewayOf returns a tenant's gateway by its ID or its name.
func (t *Tx) GatewayOf(ctx context.Context, tenant, nameOrID string) (Gateway, error) {
	return missing(one(ctx, t, gatewayFields, gatewayColumns+`WHERE tenant = ? AND (name = ? OR id = ?) ORDER BY id = ? DESC LIMIT 1`, tenant, nameOrID, nameOrID, nameOrID))("gateway")
}

// Gateways lists a tenant's gateways by name.
func (t *Tx) Gateways(ctx context.Context, tenant string, p Page) ([]Gateway, error) {
	return all(ctx, t, gatewayFields, gatewayColumns+`WHERE tenant = ? AND name > ? ORDER BY name LIMIT ?`, tenant, p.After, p.Limit)
}

// GatewaysByID lists a tenant's gateways by their IDs.
func (t *Tx) GatewaysByID(ctx context.Context, tenant string, p Page) ([]Gateway, error) {
	return all(ctx, t, gatewayFields, gatewayColumns+`WHERE tenant = ? AND id > ? ORDER BY id LIMIT ?`, tenant, p.After, p.Limit)
}

// Member is what waves are made of.
type Member struct {
	ID, Arch string
	Labels   map[string]string
	// Seen is when it spoke last.
	Seen time.Time
	// Fixed says why it takes no binary from the controller; empty is that it does.
	Fixed string
}

// Members lists a tenant's gateways that are not revoked, by their IDs.
func (t *Tx) Members(ctx context.Context, tenant string, p Page) ([]Member, error) {
	return all(ctx, t, func(m *Member) []any { return []any{&m.ID, &m.Arch, document{&m.Labels}, stamp{&m.Seen}, &m.Fixed} },
		`SELECT g.id, g.arch, g.labels, COALESCE(s.seen, 0), COALESCE(s.fixed, '') FROM gateway g LEFT JOIN gateway_status s ON s.gateway = g.id
		WHERE g.tenant = ? AND g.id > ? AND g.revoked = 0 ORDER BY g.id LIMIT ?`, tenant, p.After, p.Limit)
}

// GatewaysOf returns those of some gateways that are there.
func (t *Tx) GatewaysOf(ctx context.Context, ids []string) ([]Gateway, error) {
	list, args := among(ids)
	return all(ctx, t, gatewayFields, gatewayColumns+`WHERE id IN `+list+` ORDER BY id`, args...)
}

// RemoveGateway removes a gateway and its keys: its certificate is nobody's.
func (t *Tx) RemoveGateway(ctx context.Context, id string) error {
	if _, err := t.exec(ctx, `DELETE FROM config_layer WHERE gateway = ?`, id); err != nil {
		return err
	}
	if err := t.change(ctx, `DELETE FROM gateway WHERE id = ?`, id); err != nil {
		return err
	}
	windows, err := t.Windows(ctx)
	if err != nil || len(windows) == 0 {
		return err
	}
	return t.SetMeta(ctx, gonePrefix+id, "gone") // and is not readmitted
}

// Key is a public key that is or was a gateway's.
type Key struct {
	Gateway string
	// Public is the SubjectPublicKeyInfo, in DER.
	Public []byte
	// Until is zero while the key is good. Signatures from between Since and
	// Until are the gateway's.
	Since, Until time.Time
}

func keyFields(k *Key) []any {
	return []any{&k.Gateway, &k.Public, stamp{&k.Since}, stamp{&k.Until}}
}

const keyColumns = `SELECT gateway, public_key, since, until FROM gateway_key `

// AddKey gives a gateway a key. ErrExists says that the key is known: as this
// gateway's, or as another's.
func (t *Tx) AddKey(ctx context.Context, k Key) error {
	hash := sha256.Sum256(k.Public)
	n, err := t.exec(ctx, `INSERT INTO gateway_key (hash, gateway, public_key, since, until) VALUES (?, ?, ?, ?, ?) ON CONFLICT (hash) DO NOTHING`,
		hash[:], k.Gateway, k.Public, micros(k.Since), micros(k.Until))
	if err == nil && n == 0 {
		err = ErrExists
	}
	return err
}

// KeyNamed returns a key by the SHA-256 of its SubjectPublicKeyInfo.
func (t *Tx) KeyNamed(ctx context.Context, hash [sha256.Size]byte) (Key, error) {
	return one(ctx, t, keyFields, keyColumns+`WHERE hash = ?`, hash[:])
}

// Keys lists the keys that a gateway has had, oldest first.
func (t *Tx) Keys(ctx context.Context, gateway string) ([]Key, error) {
	return all(ctx, t, keyFields, keyColumns+`WHERE gateway = ? ORDER BY since`, gateway)
}

// EndKeys makes every key that a gateway has no longer good.
func (t *Tx) EndKeys(ctx context.Context, gateway string, at time.Time) error {
	_, err := t.exec(ctx, `UPDATE gateway_key SET until = ? WHERE gateway = ? AND until = 0`, micros(at), gateway)
	return err
}

// EndKeysBefore is EndKeys for those that are older than a moment.
func (t *Tx) EndKeysBefore(ctx context.Context, gateway string, since, at time.Time) error {
	_, err := t.exec(ctx, `UPDATE gateway_key SET until = ? WHERE gateway = ? AND until = 0 AND since < ?`, micros(at), gateway, micros(since))
	return err
}
