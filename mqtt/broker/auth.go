package broker

import (
	"context"
	"crypto/x509"
	"errors"
)

// Authenticator decides who a connecting client is. It may be slow (password
// hashing): the broker bounds how many calls run at once.
type Authenticator interface {
	// Authenticate returns ErrBadCredentials (possibly wrapped) for a wrong
	// or missing password, and any other error when it could not decide.
	Authenticate(ctx context.Context, c Credentials) (Identity, error)
}

// Credentials is what a client showed.
type Credentials struct {
	Client   string
	Username string
	Password []byte
	// Certificate is the verified client certificate, if there was one.
	Certificate *x509.Certificate
	RemoteAddr  string
	// Listener is the name of the listener that accepted the connection.
	Listener string
}

// Identity is who the client is and what it may do. Filters may contain
// {client} and {user}; what no filter allows is denied.
type Identity struct {
	User      string
	Publish   []string
	Subscribe []string
}

// ErrBadCredentials is the answer to wrong credentials.
var ErrBadCredentials = errors.New("bad user name or password")
