// Package device gives MQTT clients their credentials and checks them.
package device

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/headgate-io/headgate/gateway/store"
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

// Registry adds, changes and authenticates devices. It may be used from any
// goroutine.
type Registry struct {
	store     Store
	anonymous bool
	verified  verifiedCache
}

// New makes a registry over s. With anonymous, clients without a user name are
// admitted to everything.
func New(s Store, anonymous bool) *Registry {
	return &Registry{store: s, anonymous: anonymous, verified: newVerifiedCache()}
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
// is made here. A name that is taken wraps store.ErrExists.
func (r *Registry) Add(ctx context.Context, d store.Device, password string) (string, error) {
	if err := check(d, password); err != nil {
		return "", err
	}
	password, secret, err := hashFor(password)
	if err != nil {
		return "", err
	}
	d.Secret = secret
	return password, r.store.PutDevice(ctx, d, false)
}

// Rotate gives a device a new password and returns it.
func (r *Registry) Rotate(ctx context.Context, name string) (store.Device, string, error) {
	d, err := r.store.Device(ctx, name)
	if err != nil {
		return d, "", err
	}
	password, secret, err := hashFor("")
	if err != nil {
		return d, "", err
	}
	d.Secret = secret
	return d, password, r.store.PutDevice(ctx, d, true)
}

// Remove deletes a device.
func (r *Registry) Remove(ctx context.Context, name string) error {
	return r.store.RemoveDevice(ctx, name)
}

func check(d store.Device, password string) error {
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
	if password != "" && len(password) < minPassword {
		faults = append(faults, fmt.Errorf("%w: a password has at least %d characters; leave it out to have one made", ErrInvalid, minPassword))
	}
	return errors.Join(faults...)
}

// Authenticate checks a client's user name and password.
func (r *Registry) Authenticate(ctx context.Context, c broker.Credentials) (broker.Identity, error) {
	if c.Username == "" && r.anonymous {
		return broker.Identity{Publish: []string{"#"}, Subscribe: []string{"#", "$SYS/#"}}, nil
	}
	d, err := r.store.Device(ctx, c.Username)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return broker.Identity{}, err
	}
	known := err == nil
	if !known {
		// As much work as for a known name, so that the time says nothing.
		d.Secret = decoySecret
	}
	right, err := r.verified.check(ctx, d.Secret, c.Password)
	if err != nil {
		return broker.Identity{}, err
	}
	if !right || !known {
		return broker.Identity{}, broker.ErrBadCredentials
	}
	return broker.Identity{User: d.Name, Publish: d.Publish, Subscribe: d.Subscribe}, nil
}

// newPassword has 120 random bits in letters that cannot be mixed up.
func newPassword() string {
	b := make([]byte, 15)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return strings.ToLower(base32.StdEncoding.EncodeToString(b))
}
