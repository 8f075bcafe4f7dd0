package bridge

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"
	"time"
)

// Files are where a bridge's credentials are. They are read for every
// connection, so that a new one needs no restart.
type Files struct {
	// CA is who signs the other broker's certificate; empty is Roots.
	CA string
	// Certificate and Key are the bridge's own; empty is none.
	Certificate, Key string
}

// TLS makes the client's side of TLS with host. roots are the well-known CAs.
func (f Files) TLS(host string, roots func() (*x509.CertPool, error), now func() time.Time) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host, Time: now}
	var err error
	if f.CA == "" {
		c.RootCAs, err = roots()
	} else {
		c.RootCAs, err = pool(f.CA)
	}
	if err != nil {
		return nil, err
	}
	if f.Certificate != "" {
		pair, err := tls.LoadX509KeyPair(f.Certificate, f.Key)
		if err != nil {
			return nil, fmt.Errorf("tls.certificate and tls.key: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

func pool(file string) (*x509.CertPool, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("tls.ca: %w", err)
	}
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM(raw) {
		return nil, fmt.Errorf("tls.ca: %s holds no certificate in PEM", file)
	}
	return p, nil
}

// ReadPassword reads a password's file. Its last line break does not count.
func ReadPassword(file string) (string, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("password_file: %w", err)
	}
	password := strings.TrimSuffix(strings.TrimSuffix(string(raw), "\n"), "\r")
	if password == "" {
		return "", fmt.Errorf("password_file: %s is empty", file)
	}
	if len(password) > 0xFFFF {
		return "", fmt.Errorf("password_file: %s holds more than a password", file)
	}
	return password, nil
}
