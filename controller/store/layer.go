package store

import (
	"context"
	"encoding/json"
	"time"
)

// Setting is the value of a key of configuration.
type Setting struct {
	Value json.RawMessage `json:"value"`
	// Change is the change that set it: of two the greater is the later.
	Change string `json:"change"`
}

// ConfigLayer is what is set of a function at one place: everywhere, for a
// selector, or for one gateway.
type ConfigLayer struct {
	ID, Tenant, Function, Selector, Gateway string
	Settings                                map[string]Setting
	Changed                                 time.Time
	ChangedBy                               string
}

func configLayerFields(l *ConfigLayer) []any {
	return []any{&l.ID, &l.Tenant, &l.Function, &l.Selector, &l.Gateway, document{&l.Settings}, stamp{&l.Changed}, &l.ChangedBy}
}

const configLayerColumns = `SELECT id, tenant, fn, selector, gateway, settings, changed, changed_by FROM config_layer `

// SetConfigLayer writes a layer, in the place of the one before.
func (t *Tx) SetConfigLayer(ctx context.Context, l ConfigLayer) error {
	settings, err := json.Marshal(l.Settings)
	if err != nil {
		return err
	}
	_, err = t.exec(ctx, `INSERT INTO config_layer (id, tenant, fn, selector, gateway, settings, changed, changed_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (tenant, fn, selector, gateway) DO UPDATE SET settings = excluded.settings, changed = excluded.changed, changed_by = excluded.changed_by`,
		l.ID, l.Tenant, l.Function, l.Selector, l.Gateway, string(settings), micros(l.Changed), l.ChangedBy)
	return err
}

// ConfigLayer returns what is set at one place.
func (t *Tx) ConfigLayer(ctx context.Context, tenant, function, selector, gateway string) (ConfigLayer, error) {
	return one(ctx, t, configLayerFields, configLayerColumns+`WHERE tenant = ? AND fn = ? AND selector = ? AND gateway = ?`, tenant, function, selector, gateway)
}

// ConfigLayers lists a tenant's layers by ID. An empty function is all.
func (t *Tx) ConfigLayers(ctx context.Context, tenant, function string, p Page) ([]ConfigLayer, error) {
	return all(ctx, t, configLayerFields, configLayerColumns+`WHERE tenant = ? AND id > ? AND (fn = ? OR ? = '') ORDER BY id LIMIT ?`,
		tenant, p.After, function, function, p.Limit)
}

// ConfigChange is a change of a layer.
type ConfigChange struct {
	ID, Tenant, Function, Selector, Gateway string
	// Before and After are the keys that it changed; null is one that is not set.
	Before, After map[string]json.RawMessage
	At            time.Time
	ChangedBy     string
	// Reverts is the change that it takes back, if it does.
	Reverts string
}

func configChangeFields(c *ConfigChange) []any {
	return []any{&c.ID, &c.Tenant, &c.Function, &c.Selector, &c.Gateway, document{&c.Before}, document{&c.After}, stamp{&c.At}, &c.ChangedBy, &c.Reverts}
}

const configChangeColumns = `SELECT id, tenant, fn, selector, gateway, before, after, at, changed_by, reverts FROM config_change `

// NewConfigChange makes the ID of a change at a time.
func NewConfigChange(at time.Time) string { return newTimeID(at) }

// AddConfigChange notes a change.
func (t *Tx) AddConfigChange(ctx context.Context, c ConfigChange) error {
	before, err := json.Marshal(c.Before)
	if err != nil {
		return err
	}
	after, err := json.Marshal(c.After)
	if err != nil {
		return err
	}
	_, err = t.exec(ctx, `INSERT INTO config_change (id, tenant, fn, selector, gateway, before, after, at, changed_by, reverts) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		c.ID, c.Tenant, c.Function, c.Selector, c.Gateway, string(before), string(after), micros(c.At), c.ChangedBy, c.Reverts)
	return err
}

// ConfigChange returns a change.
func (t *Tx) ConfigChange(ctx context.Context, tenant, id string) (ConfigChange, error) {
	return one(ctx, t, configChangeFields, configChangeColumns+`WHERE tenant = ? AND id = ?`, tenant, id)
}

// ConfigChanges lists a tenant's changes, newest first: those before p.After. An
// empty function is all.
func (t *Tx) ConfigChanges(ctx context.Context, tenant, function string, p Page) ([]ConfigChange, error) {
	before := p.After
	if before == "" {
		before = "~" // after every identifier
	}
	return all(ctx, t, configChangeFields, configChangeColumns+`WHERE tenant = ? AND id < ? AND (fn = ? OR ? = '') ORDER BY id DESC LIMIT ?`,
		tenant, before, function, function, p.Limit)
}

// RemoveConfigChanges removes up to limit changes that are older than a moment,
// and returns how many they were.
func (t *Tx) RemoveConfigChanges(ctx context.Context, before time.Time, limit int) (int64, error) {
	return t.exec(ctx, `DELETE FROM config_change WHERE id IN (SELECT id FROM config_change WHERE at < ? ORDER BY id LIMIT ?)`, micros(before), limit)
}

// SealedSecret is a secret that only its gateway can read.
type SealedSecret struct {
	Gateway, Function, Name string
	Revision                uint64
	// Sealed is empty for one that was removed.
	Sealed []byte
	// Key is the SHA-256 of the gateway's key when it was sealed.
	Key       []byte
	Changed   time.Time
	ChangedBy string
}

func sealedSecretFields(s *SealedSecret) []any {
	return []any{&s.Gateway, &s.Function, &s.Name, &s.Revision, &s.Sealed, &s.Key, stamp{&s.Changed}, &s.ChangedBy}
}

const sealedSecretColumns = `SELECT gateway, fn, name, revision, sealed, key, changed, changed_by FROM sealed_secret `

// SetSealedSecret writes a secret, one revision after the one before.
func (t *Tx) SetSealedSecret(ctx context.Context, s SealedSecret) error {
	_, err := t.exec(ctx, `INSERT INTO sealed_secret (gateway, fn, name, revision, sealed, key, changed, changed_by) VALUES (?, ?, ?, 1, ?, ?, ?, ?)
		ON CONFLICT (gateway, fn, name) DO UPDATE SET revision = sealed_secret.revision + 1, sealed = excluded.sealed, key = excluded.key,
		changed = excluded.changed, changed_by = excluded.changed_by`,
		s.Gateway, s.Function, s.Name, orEmpty(s.Sealed), orEmpty(s.Key), micros(s.Changed), s.ChangedBy)
	return err
}

// SealedSecrets are those of some gateways, in order.
func (t *Tx) SealedSecrets(ctx context.Context, gateways []string) ([]SealedSecret, error) {
	list, args := among(gateways)
	return all(ctx, t, sealedSecretFields, sealedSecretColumns+`WHERE gateway IN `+list+` ORDER BY gateway, fn, name`, args...)
}

// PresentKeys are the newest keys of some gateways that are good.
func (t *Tx) PresentKeys(ctx context.Context, gateways []string) (map[string][]byte, error) {
	list, args := among(gateways)
	keys, err := all(ctx, t, keyFields, keyColumns+`WHERE until = 0 AND gateway IN `+list+` ORDER BY since`, args...)
	out := make(map[string][]byte, len(keys))
	for _, k := range keys {
		out[k.Gateway] = k.Public
	}
	return out, err
}
