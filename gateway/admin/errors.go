package admin

import (
	"context"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/headgate-io/headgate/gateway/store"
)

// Refusal is implemented by errors that are the caller's to mend; the API
// answers them with 422 and their text.
type Refusal interface {
	error
	Refusal()
}

// problem makes an answer of an error: what the caller did wrong says so, all
// else is the gateway's own fault.
func problem(err error) error {
	var status huma.StatusError
	var refusal Refusal
	code := http.StatusInternalServerError
	switch {
	case errors.As(err, &status):
		return status
	case errors.Is(err, store.ErrNotFound):
		code = http.StatusNotFound
	case errors.Is(err, store.ErrExists):
		code = http.StatusConflict
	case errors.As(err, &refusal):
		code = http.StatusUnprocessableEntity
	case errors.Is(err, store.ErrClosed), errors.Is(err, context.Canceled):
		code = http.StatusServiceUnavailable
	case errors.Is(err, context.DeadlineExceeded):
		code = http.StatusGatewayTimeout
	}
	return huma.NewError(code, err.Error())
}
