package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"time"
)

// EnrolmentToken admits gateways to a tenant.
type EnrolmentToken struct {
	ID, Tenant string
	// Hash is the SHA-256 of its secret, which nobody keeps.
	Hash []byte
	// Uses is how many gateways it admits, Used how many it has.
	Uses, Used int64
	// Labels are what its gateways begin with.
	Labels map[string]string
	// Replaces is the ID of the gateway whose place its bearer takes; empty
	// admits new gateways.
	Replaces  string
	Created   time.Time
	CreatedBy string
	// Expires and Revoked are zero for never.
	Expires, Revoked time.Time
}

func enrolmentTokenFields(e *EnrolmentToken) []any {
	return []any{
		&e.ID, &e.Tenant, &e.Hash, &e.Uses, &e.Used,
		document{&e.Labels},
		&e.Replaces,
		stamp{&e.Created},
		&e.CreatedBy,
		stamp{&e.Expires},
		stamp{&e.Revoked},
	}
}

const enrolmentTokenColumns = `SELECT id, tenant, hash, uses, used, labels, replaces, created, created_by, expires, revoked FROM enrolment_token `

// AddEnrolmentToken adds a token.
func (t *Tx) AddEnrolmentToken(ctx context.Context, e EnrolmentToken) error {
	_, err := t.exec(ctx, `INSERT INTO enrolment_token (id, tenant, hash, uses, used, labels, replaces, created, created_by, expires, revoked)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		e.ID, e.Tenant, e.Hash, e.Uses, e.Used, text(labels(e.Labels)), e.Replaces, micros(e.Created), e.CreatedBy, micros(e.Expires), micros(e.Revoked))
	return err
}

// EnrolmentTokenOf returns a tenant's token.
func (t *Tx) EnrolmentTokenOf(ctx context.Context, tenant, id string) (EnrolmentToken, error) {
	return missing(one(ctx, t, enrolmentTokenFields, enrolmentTokenColumns+`WHERE tenant = ? AND id = ?`, tenant, id))("enrolment token")
}

// EnrolmentTokenHashed returns the token with this hash, whatever its state.
func (t *Tx) EnrolmentTokenHashed(ctx context.Context, hash [sha256.Size]byte) (EnrolmentToken, error) {
	return one(ctx, t, enrolmentTokenFields, enrolmentTokenColumns+`WHERE hash = ?`, hash[:])
}

// EnrolmentTokens lists a tenant's tokens by ID.
func (t *Tx) EnrolmentTokens(ctx context.Context, tenant string, p Page) ([]EnrolmentToken, error) {
	return all(ctx, t, enrolmentTokenFields, enrolmentTokenColumns+`WHERE tenant = ? AND id > ? ORDER BY id LIMIT ?`, tenant, p.After, p.Limit)
}

// UseEnrolmentToken counts one use. ErrUsedUp says that there is none left: the
// statement itself checks, so that no two take the last one.
func (t *Tx) UseEnrolmentToken(ctx context.Context, id string, now time.Time) error {
	err := t.change(ctx, `UPDATE enrolment_token SET used = used + 1
		WHERE id = ? AND used < uses AND revoked = 0 AND (expires = 0 OR expires > ?)`, id, micros(now))
	if errors.Is(err, ErrNotFound) {
		return ErrUsedUp
	}
	return err
}

// RevokeEnrolmentToken ends a token; what enrolled with it stays.
func (t *Tx) RevokeEnrolmentToken(ctx context.Context, tenant, id string, at time.Time) error {
	return t.change(ctx, `UPDATE enrolment_token SET revoked = ? WHERE tenant = ? AND id = ? AND revoked = 0`, micros(at), tenant, id)
}
