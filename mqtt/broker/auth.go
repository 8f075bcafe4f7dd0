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
	// or missing password, ErrTooManyFailures for who has to wait, and any
	// other error when it could not decide. It may be asked twice for one
	// client, when users changed meanwhile.
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
	User string
	// Client, where it is not empty, is what the broker calls the client from
	// here on, instead of the client id that it sent: whoever gives each user
	// client ids that no other can have keeps users out of each other's way.
	// The client does not learn of it.
	Client    string
	Publish   []string
	Subscribe []string
}

// ErrBadCredentials is the answer to wrong credentials.
var ErrBadCredentials = errors.New("bad user name or password")

// ErrTooManyFailures is the answer to who was wrong too often: nothing was
// checked.
var ErrTooManyFailures = errors.New("too many failures: try again later")
