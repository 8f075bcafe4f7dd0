package desired

import (
	"context"
	"crypto/ecdsa"
	"crypto/hpke"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/headgate-io/headgate/sync/wire"
)

// errUnsealed says no more than an attacker may know.
var errUnsealed = errors.New("it cannot be opened with this gateway's key: seal it for the gateway again ('headgate fleet secret set')")

// Unseal opens a secret that was sealed for a gateway.
func Unseal(key *ecdsa.PrivateKey, gateway string, s *wire.SealedSecret) ([]byte, error) {
	private, err := key.ECDH()
	if err != nil {
		return nil, err
	}
	k, err := hpke.NewDHKEMPrivateKey(private)
	if err != nil {
		return nil, err
	}
	value, err := hpke.Open(k, hpke.HKDFSHA256(), hpke.AES256GCM(), wire.SecretInfo(gateway, s.Function, s.Name), s.Sealed)
	if err != nil {
		return nil, errUnsealed
	}
	return value, nil
}

// place is a secret's in the record; neither name has a space.
func place(function, name string) string { return function + " " + name }

// secrets puts those that are wanted into the vault, and takes away those that
// are not wanted any more. What nobody but this gateway's operator set stays.
func (f *Follower) secrets(ctx context.Context, d *wire.Desired, rec *record) (faults []string) {
	m := f.cfg.Member()
	if m == nil {
		if len(d.Secrets) > 0 {
			faults = append(faults, errNoMember.Error())
		}
		return faults
	}
	wanted := map[string]bool{}
	for i := range d.Secrets {
		s := &d.Secrets[i]
		at := place(s.Function, s.Name)
		if len(s.Sealed) == 0 || ctx.Err() != nil {
			continue
		}
		wanted[at] = true
		if rec.Secrets[at] == s.Revision && f.cfg.Vault.Has(s.Function, s.Name) {
			continue
		}
		value, err := Unseal(m.Key, m.Gateway, s)
		if err == nil {
			err = f.cfg.Vault.Set(ctx, s.Function, s.Name, value)
			clear(value)
		}
		if err != nil {
			f.count(func(st *Stats) { st.SecretsFailed++ })
			faults = append(faults, fmt.Sprintf("secret %s of %s: %v", s.Name, s.Function, err))
			continue
		}
		f.count(func(st *Stats) { st.SecretsOpened++ })
		rec.Secrets[at] = s.Revision
	}
	for _, at := range slices.Sorted(maps.Keys(rec.Secrets)) {
		if wanted[at] || ctx.Err() != nil {
			continue
		}
		function, name, _ := strings.Cut(at, " ")
		if err := f.cfg.Vault.Remove(ctx, function, name); err != nil && !errors.Is(err, f.cfg.Gone) {
			faults = append(faults, fmt.Sprintf("secret %s of %s is not removed: %v", name, function, err))
			continue
		}
		delete(rec.Secrets, at)
	}
	return faults
}
