// Package account makes tenants, users and their tokens.
package account

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"strings"
	"time"

	"github.com/headgate-io/headgate/controller/store"
)

// secretPrefix starts the secret of a token, so that scanners for leaked
// secrets find it.
const secretPrefix = "hgc_"

// secretLength is that of a secret: the prefix and rand.Text.
const secretLength = len(secretPrefix) + 26

// Shown is a secret as people get it: with the fingerprint of the certificate
// authority, so that a client knows the controller without any set-up.
func Shown(secret, fingerprint string) string { return secret + "_" + fingerprint }

// Secret is the part of what people got that the controller is to see.
func Secret(shown string) string {
	if len(shown) > secretLength && strings.HasPrefix(shown, secretPrefix) && shown[secretLength] == '_' {
		return shown[:secretLength]
	}
	return shown
}

// AddToken makes a token for an account, that lives for life or, with 0, for
// ever, and returns its secret: the one time that it is known.
func AddToken(ctx context.Context, tx *store.Tx, a store.Account, name string, scopes []string, life time.Duration, now time.Time) (string, store.APIToken, error) {
	secret := secretPrefix + rand.Text()
	hash := sha256.Sum256([]byte(secret))
	t := store.APIToken{ID: store.NewID(), Account: a.ID, Name: name, Hash: hash[:], Scopes: scopes, Created: now}
	if life > 0 {
		t.Expires = now.Add(life)
	}
	return secret, t, tx.AddAPIToken(ctx, t)
}

// AddTenant makes a tenant with a first user, and returns a token of that one.
func AddTenant(ctx context.Context, tx *store.Tx, name, user, role string, now time.Time) (store.Tenant, store.Account, store.APIToken, string, error) {
	t := store.Tenant{ID: store.NewID(), Name: name, Created: now}
	a := store.Account{ID: store.NewID(), Tenant: t.ID, Name: user, Role: role, Created: now}
	if err := tx.AddTenant(ctx, t); err != nil {
		return t, a, store.APIToken{}, "", err
	}
	if err := tx.AddAccount(ctx, a); err != nil {
		return t, a, store.APIToken{}, "", err
	}
	secret, token, err := AddToken(ctx, tx, a, "first", nil, 0, now)
	return t, a, token, secret, err
}
