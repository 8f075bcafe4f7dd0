package admin

import (
	"context"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/headgate-io/headgate/gateway/store"
)

// refusal is an error that the caller can mend.
type refusal struct{ error }

// Unwrap returns what is wrong.
func (r refusal) Unwrap() error { return r.error }

// Refusal marks err as the caller's to mend: the API answers it with 422 and
// its text.
func Refusal(err error) error { return refusal{err} }

// missing is an error about what is not there.
type missing struct{ error }

// Unwrap returns what is wrong.
func (m missing) Unwrap() error { return m.error }

// Is makes it a store.ErrNotFound, which its text does not repeat.
func (missing) Is(target error) bool { return target == store.ErrNotFound }

// Missing marks err as one of something that is not there: the API answers it
// with 404 and its text.
func Missing(err error) error { return missing{err} }

// problem makes an answer of an error: what the caller did wrong says so, all
// else is the gateway's own fault.
func problem(err error) error {
	var status huma.StatusError
	var refused refusal
	var quota *store.QuotaError
	code := http.StatusInternalServerError
	switch {
	case errors.As(err, &status):
		return status
	case errors.Is(err, store.ErrNotFound):
		code = http.StatusNotFound
	case errors.Is(err, store.ErrExists):
		code = http.StatusConflict
	case errors.As(err, &quota):
		code = http.StatusInsufficientStorage
	case errors.As(err, &refused):
		code = http.StatusUnprocessableEntity
	case errors.Is(err, store.ErrClosed), errors.Is(err, context.Canceled):
		code = http.StatusServiceUnavailable
	case errors.Is(err, context.DeadlineExceeded):
		code = http.StatusGatewayTimeout
	}
	return huma.NewError(code, err.Error())
}
