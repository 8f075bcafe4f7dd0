package device

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"github.com/headgate-io/headgate/gateway/config"
	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/mqtt/broker"
)

// Authenticate checks what a client shows: its certificate, or its user name
// and password.
func (r *Registry) Authenticate(ctx context.Context, c broker.Credentials) (broker.Identity, error) {
	certified, err := r.certified(ctx, &c)
	if err != nil {
		return broker.Identity{}, err
	}
	mode := r.options.Identity[c.Listener]
	if certified == nil && c.Username == "" && r.options.Anonymous && mode != config.IdentityCertificate {
		return broker.Identity{Publish: []string{"#"}, Subscribe: []string{"#", "$SYS/#"}}, nil
	}
	name := c.Username
	if certified != nil {
		name = certified.Name
	}
	if !validName.MatchString(name) {
		name = "" // nobody's: only the address counts
	}
	if wait := r.options.Guesses.Wait(c.RemoteAddr, name); wait > 0 {
		return broker.Identity{}, broker.ErrTooManyFailures
	}
	d, right, err := r.admits(ctx, &c, certified, mode)
	switch {
	case err != nil:
		return broker.Identity{}, err
	case !right:
		r.options.Guesses.Failed(c.RemoteAddr, name)
		return broker.Identity{}, broker.ErrBadCredentials
	}
	r.options.Guesses.Passed(c.RemoteAddr, name)
	return broker.Identity{User: d.Name, Client: clientOf(d.Name, c.Client), Publish: d.Publish, Subscribe: d.Subscribe}, nil
}

// certified is the device that the client's certificate names, nil where it
// names none or does not count.
func (r *Registry) certified(ctx context.Context, c *broker.Credentials) (*store.Device, error) {
	if c.Certificate == nil || r.options.Identity[c.Listener] == config.IdentityPassword {
		return nil, nil
	}
	name := CertificateName(c.Certificate)
	if name == "" {
		return nil, nil
	}
	d, err := r.store.Device(ctx, name)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &d, nil
}

// admits decides, once it is clear which device it is about.
func (r *Registry) admits(ctx context.Context, c *broker.Credentials, certified *store.Device, mode string) (store.Device, bool, error) {
	// Who shows the certificate of one device cannot be another.
	if certified != nil && c.Username != "" && c.Username != certified.Name {
		return store.Device{}, false, nil
	}
	if mode == config.IdentityCertificate || certified != nil && certified.Certificate {
		if certified == nil {
			return store.Device{}, false, nil
		}
		return *certified, certified.Revoked.IsZero(), nil
	}
	d, err := r.store.Device(ctx, c.Username)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return d, false, err
	}
	known := err == nil && !d.Certificate
	if !known {
		// The broker makes all refusals take the same time; this keeps their
		// work alike too.
		d.Secret = decoySecret
	}
	right, err := r.verified.check(ctx, d.Secret, c.Password)
	return d, right && known && d.Revoked.IsZero(), err
}

// CertificateURI precedes a device's name in a certificate's URI.
const CertificateURI = "urn:headgate:device:"

// CertificateName is the device that a verified certificate names, "" for none:
// what follows urn:headgate:device: in its one such URI; else its DNS name,
// where it has exactly one; else, where it has neither, the common name of its
// subject.
func CertificateName(c *x509.Certificate) string {
	name, uris := c.Subject.CommonName, 0
	switch len(c.DNSNames) {
	case 0:
	case 1:
		name = c.DNSNames[0]
	default:
		name = ""
	}
	for _, u := range c.URIs {
		if n, ok := strings.CutPrefix(u.String(), CertificateURI); ok {
			name = n
			uris++
		}
	}
	if uris > 1 || !validName.MatchString(name) {
		return ""
	}
	return name
}

// clientOf is what the client of a device is called. A device has the client
// ids that are its name, or start with it and a colon or slash, which no name
// has. Whatever else it calls itself is put below its name, so that no device
// can take, hold or wait for the session of another.
func clientOf(device, client string) string {
	rest, ok := strings.CutPrefix(client, device)
	if ok && (rest == "" || rest[0] == ':' || rest[0] == '/') {
		return client
	}
	return fmt.Sprintf("%s/%s", device, client)
}
