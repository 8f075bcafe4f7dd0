package enrol

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/headgate-io/headgate/controller/store"
)

// Bounds of a token.
const (
	// MaxUses is how many gateways one token admits at most.
	MaxUses = 1_000_000
	// MaxLife is how long one lives at most.
	MaxLife = 10 * 365 * 24 * time.Hour
	// DefaultLife is how long one lives when nothing else is said.
	DefaultLife = 24 * time.Hour
)

// prefix starts a token, so that scanners for leaked secrets find it.
const prefix = "hge_"

// secretLength is that of rand.Text.
const secretLength = 26

// NewToken is what a token is to be.
type NewToken struct {
	Uses    int64
	Life    time.Duration
	Labels  map[string]string
	Replace string // the name or ID of a gateway
	By      string
}

// Token makes a token of a tenant in tx, and returns it with its secret: the one
// time that it is known.
func (s *Service) Token(ctx context.Context, tx *store.Tx, tenant string, n NewToken) (store.EnrolmentToken, string, error) {
	t := store.EnrolmentToken{ID: store.NewID(), Tenant: tenant, Uses: n.Uses, Labels: n.Labels, Created: s.now(), CreatedBy: n.By}
	if err := n.check(); err != nil {
		return t, "", err
	}
	t.Expires = t.Created.Add(n.Life)
	if n.Replace != "" {
		g, err := tx.GatewayOf(ctx, tenant, n.Replace)
		if errors.Is(err, store.ErrNotFound) {
			return t, "", fmt.Errorf("%w: there is no gateway %q to replace", ErrInvalid, n.Replace)
		}
		if err != nil {
			return t, "", err
		}
		t.Replaces = g.ID
	}
	secret := rand.Text()
	hash := sha256.Sum256([]byte(secret))
	t.Hash = hash[:]
	return t, prefix + secret + "_" + s.authority.Fingerprint(), tx.AddEnrolmentToken(ctx, t)
}

func (n NewToken) check() error {
	var faults []error
	if n.Uses < 1 || n.Uses > MaxUses {
		faults = append(faults, fmt.Errorf("%w: uses: %d is not from 1 to %d", ErrInvalid, n.Uses, MaxUses))
	}
	if n.Replace != "" && n.Uses > 1 {
		faults = append(faults, fmt.Errorf("%w: uses: a token that replaces a gateway is for one", ErrInvalid))
	}
	if n.Life <= 0 || n.Life > MaxLife {
		faults = append(faults, fmt.Errorf("%w: expires: want more than nothing and at most %d days", ErrInvalid, int(MaxLife.Hours()/24)))
	}
	return errors.Join(append(faults, CheckLabels(n.Labels))...)
}

// Fingerprint is that of the certificate authority.
func (s *Service) Fingerprint() string { return s.authority.Fingerprint() }

// parse takes a token apart, and checks that it is of this controller.
func (s *Service) parse(token string) (hash [sha256.Size]byte, err error) {
	rest, ok := strings.CutPrefix(token, prefix)
	secret, fingerprint, found := strings.Cut(rest, "_")
	if !ok || !found || len(secret) != secretLength {
		return hash, fmt.Errorf("%w: that is no enrolment token: it looks as %sSECRET_FINGERPRINT, and 'headgate-controller token create' makes one", ErrInvalid, prefix)
	}
	if subtle.ConstantTimeCompare([]byte(fingerprint), []byte(s.authority.Fingerprint())) != 1 {
		return hash, fmt.Errorf("%w: the token is of another controller", ErrInvalid)
	}
	return sha256.Sum256([]byte(secret)), nil
}

// Bounds of labels.
const (
	maxLabels     = 32
	maxLabelKey   = 63
	maxLabelValue = 63
)

// CheckLabels checks labels as people put them on gateways: at most 32, whose
// keys and values have letters, digits and . _ - /, 63 at most.
func CheckLabels(labels map[string]string) error {
	if len(labels) > maxLabels {
		return fmt.Errorf("%w: labels: %d, more than the %d that there may be", ErrInvalid, len(labels), maxLabels)
	}
	var faults []error
	for k, v := range labels {
		if k == "" || len(k) > maxLabelKey || !labelText(k) {
			faults = append(faults, fmt.Errorf("%w: label %q: a key has letters, digits and . _ - /, %d at most", ErrInvalid, k, maxLabelKey))
		}
		if len(v) > maxLabelValue || !labelText(v) {
			faults = append(faults, fmt.Errorf("%w: label %s: %q: a value has letters, digits and . _ - /, %d at most", ErrInvalid, k, v, maxLabelValue))
		}
	}
	return errors.Join(faults...)
}

func labelText(s string) bool {
	for _, r := range s {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune("._-/", r):
		default:
			return false
		}
	}
	return true
}

// CheckName checks what people call a gateway: [a-z0-9.-], 63 at most, a letter
// or digit at both ends.
func CheckName(name string) error {
	ok := name != "" && len(name) <= 63 && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789.-") == "" &&
		!strings.ContainsAny(name[:1]+name[len(name)-1:], ".-")
	if !ok {
		return fmt.Errorf("%w: name %q: it has small letters, digits, dots and hyphens, 63 at most, and a letter or digit at both ends", ErrInvalid, name)
	}
	return nil
}
