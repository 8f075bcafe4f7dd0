// Package device gives MQTT clients their credentials and checks them.
package device

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strings"
	"time"

	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/gateway/throttle"
	"github.com/headgate-io/headgate/mqtt/broker"
	"github.com/headgate-io/headgate/mqtt/topic"
)

// Store keeps devices; gateway/store implements it.
type Store interface {
	PutDevice(ctx context.Context, d store.Device, replace bool) error
	Device(ctx context.Context, name string) (store.Device, error)
	RemoveDevice(ctx context.Context, name string) error
}

var _ Store = (*store.Store)(nil)

// Options say who is admitted besides devices with the right password.
type Options struct {
	// Anonymous admits clients without a user name to everything.
	Anonymous bool
	// Identity is what counts on a listener, by its name: one of the
	// identities of package config.
	Identity map[string]string
	// Guesses slows down who tries passwords; nil does not.
	Guesses *throttle.Guard
}

// Registry adds, changes and authenticates devices. It may be used from any
// goroutine.
type Registry struct {
	store    Store
	options  Options
	verified verifiedCache
}

// New makes a registry over s.
func New(s Store, o Options) *Registry {
	if o.Guesses == nil {
		o.Guesses = throttle.New(throttle.Config{AddressBudget: math.MaxInt, IdentityBudget: math.MaxInt})
	}
	return &Registry{store: s, options: o, verified: newVerifiedCache()}
}

var _ broker.Authenticator = (*Registry)(nil)

// Faults that a caller may branch on.
var (
	// ErrInvalid is wrapped by errors about a name, a filter or a password.
	ErrInvalid = errors.New("invalid device")
)

var validName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

const minPassword = 8

// Add stores a new device and returns its password: the one given, or one that
// is made here; a device with a certificate has none. A name that is taken wraps
// store.ErrExists.
func (r *Registry) Add(ctx context.Context, d store.Device, password string) (string, error) {
	if err := Check(d, password); err != nil {
		return "", err
	}
	if d.Certificate {
		d.Secret = ""
		return "", r.store.PutDevice(ctx, d, false)
	}
	password, secret, err := hashFor(password)
	if err != nil {
		return "", err
	}
	d.Secret = secret
	return password, r.store.PutDevice(ctx, d, false)
}

// Rotate gives a device a new password and returns it. A device that was
// revoked may connect with it.
func (r *Registry) Rotate(ctx context.Context, name string) (store.Device, string, error) {
	d, err := r.store.Device(ctx, name)
	if err != nil {
		return d, "", err
	}
	if d.Certificate {
		return d, "", fmt.Errorf("%w: %s shows a certificate: have its CA issue another, and the old one put on the list of tls.crl", ErrInvalid, name)
	}
	password, secret, err := hashFor("")
	if err != nil {
		return d, "", err
	}
	d.Secret, d.Revoked = secret, time.Time{}
	return d, password, r.store.PutDevice(ctx, d, true)
}

// Revoke keeps a device out until Restore or Rotate; it stays on the list.
func (r *Registry) Revoke(ctx context.Context, name string) error {
	return r.setRevoked(ctx, name, time.Now())
}

// Restore lets a device that was revoked in again.
func (r *Registry) Restore(ctx context.Context, name string) error {
	return r.setRevoked(ctx, name, time.Time{})
}

func (r *Registry) setRevoked(ctx context.Context, name string, at time.Time) error {
	d, err := r.store.Device(ctx, name)
	if err != nil {
		return err
	}
	d.Revoked = at
	return r.store.PutDevice(ctx, d, true)
}

// Remove deletes a device.
func (r *Registry) Remove(ctx context.Context, name string) error {
	return r.store.RemoveDevice(ctx, name)
}

// Check says what is wrong with a device that is to be added; an empty password
// is one that will be made.
func Check(d store.Device, password string) error {
	var faults []error
	if !validName.MatchString(d.Name) {
		faults = append(faults, fmt.Errorf("%w: name %q: it has letters, digits and . _ -, 64 at most, and starts with a letter or digit", ErrInvalid, d.Name))
	}
	for _, f := range append(append([]string{}, d.Publish...), d.Subscribe...) {
		plain, _ := topic.Substitute(f, "x", "x")
		if err := topic.DefaultLimits.CheckFilter(plain); err != nil {
			faults = append(faults, fmt.Errorf("%w: filter %q: %w", ErrInvalid, f, err))
		}
	}
	if len(d.Publish)+len(d.Subscribe) == 0 {
		faults = append(faults, fmt.Errorf("%w: it may neither publish nor subscribe: name what it may with --publish FILTER or --subscribe FILTER", ErrInvalid))
	}
	if password != "" && d.Certificate {
		faults = append(faults, fmt.Errorf("%w: it shows a certificate or a password, not both", ErrInvalid))
	}
	if password != "" && len(password) < minPassword {
		faults = append(faults, fmt.Errorf("%w: a password has at least %d characters; leave it out to have one made", ErrInvalid, minPassword))
	}
	return errors.Join(faults...)
}

// newPassword has 120 random bits in letters that cannot be mixed up.
func newPassword() string {
	b := make([]byte, 15)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return strings.ToLower(base32.StdEncoding.EncodeToString(b))
}
