package bridge

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
)

// protocolError is a broker that does not take the protocol level: it says so,
// or hangs up.
type protocolError struct{ err error }

func (e *protocolError) Error() string { return e.err.Error() }

func (e *protocolError) Unwrap() error { return e.err }

// Why a bridge is not connected, where its own code knows.
var (
	errCredentials = errors.New("the other broker does not accept the user name and password: see user and password_file")
	errNotAllowed  = errors.New("the other broker does not let this user in: see its access rules, user and client_id")
	errClientID    = errors.New("the other broker does not accept the client id: set another client_id")
	errBusy        = errors.New("the other broker is not available at the moment")
	errSelf        = errors.New("the address is this gateway itself: name the other broker in url")
	errSilent      = errors.New("the other broker does not answer")
	errStalled     = errors.New("the other broker does not acknowledge what it gets")
	errUnread      = errors.New("the other broker sends, and does not read what is answered")
	errRefusal     = errors.New("the gateway could not take a message: it stays with the other broker")
)

// refusal is the error of a CONNACK's return code [MQTT3 3.2.2.3].
func refusal(code byte) error {
	switch code {
	case 1:
		return &protocolError{errors.New("the other broker does not speak MQTT 3.1.1")}
	case 2:
		return errClientID
	case 3:
		return errBusy
	case 4:
		return errCredentials
	case 5:
		return errNotAllowed
	}
	return fmt.Errorf("the other broker refuses the connection with code %d", code)
}

// explain says what went wrong, and what to do, to an operator.
func explain(err error) string {
	var (
		dns       *net.DNSError
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
		record    tls.RecordHeaderError
		alert     tls.AlertError
		timeout   net.Error
		hint      string
	)
	switch {
	case errors.As(err, &dns):
		hint = "the host in url has no address: check its name, or use its number"
	case errors.Is(err, syscall.ECONNREFUSED):
		hint = "nothing listens there: check host and port in url, and that the other broker runs and is open to the network"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		hint = "there is no way to that host"
	case errors.As(err, &authority):
		hint = "the other broker's certificate is of a CA that is not trusted: name its CA in tls.ca"
	case errors.As(err, &host):
		hint = "the other broker's certificate is for another host: use the name that it has, in url"
	case errors.As(err, &invalid):
		hint = "the other broker's certificate is not valid: check its dates, its use and this machine's clock"
	case errors.As(err, &record):
		hint = "there is no TLS at that port: use mqtt:// in url, or the port that has TLS"
	case errors.As(err, &alert):
		hint = "the other broker ended TLS: it may want a certificate, see tls.certificate and tls.key"
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, io.ErrUnexpectedEOF):
		hint = "the other broker closed the connection: it was stopped, it wants TLS (mqtts://), or another client with the same client_id is connected"
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		hint = "no answer in time: check host and port in url, and firewalls between"
	}
	if hint == "" {
		return err.Error()
	}
	return fmt.Sprintf("%v: %s", err, hint)
}
