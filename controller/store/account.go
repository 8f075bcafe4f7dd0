package store

import (
	"context"
	"crypto/sha256"
	"time"
)

// Account is a user of the API: a person, or a program.
type Account struct {
	ID, Tenant, Name string
	// Role is what its tokens may do at most.
	Role    string
	Created time.Time
}

func accountFields(a *Account) []any {
	return []any{&a.ID, &a.Tenant, &a.Name, &a.Role, stamp{&a.Created}}
}

const accountColumns = `SELECT id, tenant, name, role, created FROM account `

// AddAccount adds an account; ErrExists says that its tenant has one of the
// name.
func (t *Tx) AddAccount(ctx context.Context, a Account) error {
	_, err := t.exec(ctx, `INSERT INTO account (id, tenant, name, role, created) VALUES (?, ?, ?, ?, ?)`, a.ID, a.Tenant, a.Name, a.Role, micros(a.Created))
	return err
}

// AccountOf returns a tenant's account by its name.
func (t *Tx) AccountOf(ctx context.Context, tenant, name string) (Account, error) {
	return missing(one(ctx, t, accountFields, accountColumns+`WHERE tenant = ? AND name = ?`, tenant, name))("user")
}

// Accounts lists a tenant's accounts by name.
func (t *Tx) Accounts(ctx context.Context, tenant string, p Page) ([]Account, error) {
	return all(ctx, t, accountFields, accountColumns+`WHERE tenant = ? AND name > ? ORDER BY name LIMIT ?`, tenant, p.After, p.Limit)
}

// SetRole changes what an account may do.
func (t *Tx) SetRole(ctx context.Context, id, role string) error {
	return t.change(ctx, `UPDATE account SET role = ? WHERE id = ?`, role, id)
}

// CountRole counts a tenant's accounts of a role.
func (t *Tx) CountRole(ctx context.Context, tenant, role string) (int64, error) {
	return one(ctx, t, func(n *int64) []any { return []any{n} }, `SELECT count(*) FROM account WHERE tenant = ? AND role = ?`, tenant, role)
}

// RemoveAccount removes an account with its tokens.
func (t *Tx) RemoveAccount(ctx context.Context, id string) error {
	return t.change(ctx, `DELETE FROM account WHERE id = ?`, id)
}

// APIToken opens the API to its bearer, as an account.
type APIToken struct {
	ID, Account, Name string
	// Hash is the SHA-256 of its secret, which nobody keeps.
	Hash []byte
	// Scopes narrow what the account's role may; without any it is all.
	Scopes []string
	// Expires and LastUsed are zero for never.
	Created, Expires, LastUsed time.Time
}

func apiTokenFields(a *APIToken) []any {
	return []any{&a.ID, &a.Account, &a.Name, &a.Hash, document{&a.Scopes}, stamp{&a.Created}, stamp{&a.Expires}, stamp{&a.LastUsed}}
}

const apiTokenColumns = `SELECT id, account, name, hash, scopes, created, expires, last_used FROM api_token `

// AddAPIToken adds a token; ErrExists says that its account has one of the name.
func (t *Tx) AddAPIToken(ctx context.Context, a APIToken) error {
	scopes := a.Scopes
	if scopes == nil {
		scopes = []string{}
	}
	_, err := t.exec(ctx, `INSERT INTO api_token (id, account, name, hash, scopes, created, expires, last_used) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
		a.ID, a.Account, a.Name, a.Hash, text(scopes), micros(a.Created), micros(a.Expires), micros(a.LastUsed))
	return err
}

// APITokens lists an account's tokens by name.
func (t *Tx) APITokens(ctx context.Context, account string, p Page) ([]APIToken, error) {
	return all(ctx, t, apiTokenFields, apiTokenColumns+`WHERE account = ? AND name > ? ORDER BY name LIMIT ?`, account, p.After, p.Limit)
}

// RemoveAPIToken removes a token by its name.
func (t *Tx) RemoveAPIToken(ctx context.Context, account, name string) error {
	return t.change(ctx, `DELETE FROM api_token WHERE account = ? AND name = ?`, account, name)
}

// APITokenUsed notes when a token was used last.
func (t *Tx) APITokenUsed(ctx context.Context, id string, at time.Time) error {
	_, err := t.exec(ctx, `UPDATE api_token SET last_used = ? WHERE id = ? AND last_used < ?`, micros(at), id, micros(at))
	return err
}

// Bearer is who a token stands for.
type Bearer struct {
	Token   APIToken
	Account Account
}

// Bearer returns the token with this hash and its account, whether it has
// expired or not.
func (t *Tx) Bearer(ctx context.Context, hash [sha256.Size]byte) (Bearer, error) {
	fields := func(b *Bearer) []any { return append(apiTokenFields(&b.Token), accountFields(&b.Account)...) }
	return one(ctx, t, fields, `SELECT t.id, t.account, t.name, t.hash, t.scopes, t.created, t.expires, t.last_used, a.id, a.tenant, a.name, a.role, a.created
		FROM api_token t JOIN account a ON a.id = t.account WHERE t.hash = ?`, hash[:])
}
