package content

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/headgate-io/headgate/sync/ota/keyring"
	"github.com/headgate-io/headgate/sync/ota/repository"
)

// maxKeys is how many online keys a tenant's repository may have had.
const maxKeys = 64

// ownPrefix begins the names of the online keys that were made for a tenant:
// they sign for no other. A key with another name was put there by who runs the
// controller.
const ownPrefix = "tenant-"

// onlineKey is a key of the ring.
type onlineKey struct {
	name, tenant string // tenant is empty for one that a person put there
	id           string
	key          ed25519.PrivateKey
}

type onlineKeys []onlineKey

// of is the key that signs how new a tenant's repository is: the one that its
// next root names. Without one it is nil.
func (all onlineKeys) of(tenant string, r *repository.Repository) ed25519.PrivateKey {
	for _, k := range all {
		if k.tenant == tenant && r.Online(k.id) || k.tenant == "" && r.SignsOnline(k.id) && r.Online(k.id) {
			return k.key
		}
	}
	return nil
}

// signing is the online key of what is published of a tenant, whatever its next
// root will name. Without one it is nil.
func (all onlineKeys) signing(tenant string, r *repository.Repository) ed25519.PrivateKey {
	for _, k := range all {
		if (k.tenant == tenant || k.tenant == "") && r.SignsOnline(k.id) {
			return k.key
		}
	}
	return nil
}

// keys are those that take no passphrase.
func (k *Keeper) keys() (onlineKeys, error) {
	names, err := k.ring.Names()
	if err != nil {
		return nil, err
	}
	var all onlineKeys
	var faults []error
	for _, name := range names {
		if locked, err := k.ring.Locked(name); err != nil || locked {
			faults = append(faults, err)
			continue
		}
		key, err := k.ring.Open(name, nil)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		id, err := repository.KeyID(key.Public().(ed25519.PublicKey))
		faults = append(faults, err)
		all = append(all, onlineKey{name: name, tenant: tenantOf(name), id: id, key: key})
	}
	return all, errors.Join(faults...)
}

// tenantOf is whose a key is by its name, tenant-ID-N.
func tenantOf(name string) string {
	rest, ok := strings.CutPrefix(name, ownPrefix)
	id, n, numbered := strings.Cut(rest, "-")
	if _, err := strconv.Atoi(n); !ok || !numbered || err != nil {
		return ""
	}
	return id
}

// OnlineKey returns the public half of an online key that a tenant's next root
// may name, and makes it where there is none: the private half never leaves the
// controller. A key that no root names yet is returned again.
func (k *Keeper) OnlineKey(tenant string) (string, error) {
	k.changing.Lock()
	defer k.changing.Unlock()
	all, err := k.keys()
	if err != nil {
		return "", err
	}
	r, err := k.open(tenant)
	if err != nil {
		return "", err
	}
	n := 0
	for _, key := range all {
		if key.tenant != tenant {
			continue
		}
		if n++; r.Rootless() || !r.Online(key.id) && !r.SignsOnline(key.id) && !r.Knew(key.id) {
			return keyring.PublicString(key.key.Public().(ed25519.PublicKey)), nil
		}
	}
	if n >= maxKeys {
		return "", refuse("the controller has made %d online keys for this repository, the most that it may: remove old ones from its folder keys", maxKeys)
	}
	for i := n + 1; ; i++ {
		key, err := k.ring.Create(fmt.Sprintf("%s%s-%d", ownPrefix, tenant, i), nil)
		if errors.Is(err, keyring.ErrExists) {
			continue
		}
		if err != nil {
			return "", err
		}
		return keyring.PublicString(key.Public().(ed25519.PublicKey)), nil
	}
}
