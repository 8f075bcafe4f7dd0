package store

import (
	"bytes"
	"context"
	"errors"
	"time"
)

// Answer is what a request with an Idempotency-Key was answered with. It is
// written in the transaction of the change that it is about: a request is done
// once, whatever is lost.
type Answer struct {
	// Token and Name are whose key it is, Request what was asked, as a hash.
	Token, Name string
	Request     []byte
	// Body is the answer, sealed by the caller: it may hold a secret that is
	// shown once.
	Body    []byte
	Created time.Time
}

func answerFields(a *Answer) []any {
	return []any{&a.Token, &a.Name, &a.Request, &a.Body, stamp{&a.Created}}
}

// ErrOtherRequest is a key that was used for another request.
var ErrOtherRequest = errors.New("the key was used for another request")

// BeginAnswer takes a key for the request of this transaction; a second one
// waits for its end. Where the key was used before it returns the answer and
// true, or ErrOtherRequest.
func (t *Tx) BeginAnswer(ctx context.Context, a Answer) (Answer, bool, error) {
	n, err := t.exec(ctx, `INSERT INTO idempotency (token, name, request, answer, created) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (token, name) DO NOTHING`, a.Token, a.Name, a.Request, []byte{}, micros(a.Created))
	if err != nil || n == 1 {
		return Answer{}, false, err
	}
	old, err := one(ctx, t, answerFields, `SELECT token, name, request, answer, created FROM idempotency WHERE token = ? AND name = ?`, a.Token, a.Name)
	if err == nil && !bytes.Equal(old.Request, a.Request) {
		err = ErrOtherRequest
	}
	return old, err == nil, err
}

// EndAnswer keeps the answer to a key that BeginAnswer took.
func (t *Tx) EndAnswer(ctx context.Context, a Answer) error {
	return t.change(ctx, `UPDATE idempotency SET answer = ? WHERE token = ? AND name = ?`, a.Body, a.Token, a.Name)
}

// RemoveAnswers forgets up to limit keys that are older than a moment, and
// returns how many they were.
func (t *Tx) RemoveAnswers(ctx context.Context, before time.Time, limit int) (int64, error) {
	return t.exec(ctx, `DELETE FROM idempotency WHERE (token, name) IN (SELECT token, name FROM idempotency WHERE created < ? ORDER BY created LIMIT ?)`, micros(before), limit)
}
