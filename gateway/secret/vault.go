// Package secret keeps what functions must know and nobody else may: API keys,
// passwords. In the database they are sealed with XChaCha20-Poly1305, under a
// key in a file of its own, bound to the function and the name they belong to,
// so that neither the database, a backup of it, nor a row that somebody moved
// tells anything.
//
// Who can read the key file and the database together can read the secrets:
// what that means where both are on one card is in docs/SECURITY.md.
package secret

import (
	"context"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/sandbox/host"
)

// MaxBytes bounds one secret.
const MaxBytes = 16 << 10

// Faults that a caller may branch on.
var (
	// ErrInvalid is wrapped by errors about a name or a value.
	ErrInvalid = errors.New("invalid secret")
	// ErrSealed is a secret whose key is not in the key file.
	ErrSealed = errors.New("the secret cannot be opened with the key file that is there")
)

// Store keeps sealed secrets; gateway/store implements it.
type Store interface {
	PutSecrets(ctx context.Context, list ...store.Secret) error
	Secrets(ctx context.Context) ([]store.Secret, error)
	RemoveSecret(ctx context.Context, function, name string) error
	RemoveSecrets(ctx context.Context, function string) error
}

var _ Store = (*store.Store)(nil)

// Vault seals and opens. It may be used from any goroutine. Values are in
// memory only while they are asked for.
type Vault struct {
	store Store
	file  string
	log   *slog.Logger

	change sync.Mutex // held through a whole change, before mu

	mu     sync.RWMutex // guards what follows
	keys   *keyring
	fault  error // the key file is there and cannot be read: it is not replaced
	sealed map[address]store.Secret
}

type address struct{ function, name string }

// Open reads the key file, which need not be there yet, and the sealed secrets.
// With a key file that is damaged it opens too: functions that ask for secrets
// do not get them, and the others need not stop for that.
func Open(ctx context.Context, s Store, keyFile string, log *slog.Logger) (*Vault, error) {
	keys, tightened, fault := readKeys(keyFile)
	if fault != nil {
		log.Error("no secret can be opened: put the key file right, then reload", "error", fault)
		keys = &keyring{}
	}
	if tightened {
		log.Warn("others on this machine could read the key of the secrets: its file is closed now; 'headgate secret rekey' makes another key, and what they protect should be replaced", "file", keyFile)
	}
	v := &Vault{store: s, file: keyFile, log: log, keys: keys, fault: fault, sealed: map[address]store.Secret{}}
	all, err := s.Secrets(ctx)
	if err != nil {
		return nil, err
	}
	lost := 0
	for _, one := range all {
		v.sealed[address{one.Function, one.Name}] = one
		if keys.find(one.KeyID) == nil {
			lost++
		}
	}
	if lost > 0 {
		log.Error("secrets cannot be opened: put the key file back that they were sealed with, or set them again", "secrets", lost, "file", keyFile)
	}
	return v, nil
}

// Reload reads the key file again, for when it was put back.
func (v *Vault) Reload() error {
	v.change.Lock()
	defer v.change.Unlock()
	keys, _, err := readKeys(v.file)
	if err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.keys, v.fault = keys, nil
	return nil
}

// Lost counts the secrets that cannot be opened; err says so where the key file
// is to blame.
func (v *Vault) Lost() (lost, all int, err error) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	for _, s := range v.sealed {
		if v.keys.find(s.KeyID) == nil {
			lost++
		}
	}
	return lost, len(v.sealed), v.fault
}

// Info is what may be told of a secret.
type Info struct {
	Function, Name string
	Updated        time.Time
	// KeyID names the key that it is sealed with; Lost says that the key file
	// does not have it.
	KeyID string
	Lost  bool
}

// List returns the secrets of a function, or of all for "", without values.
func (v *Vault) List(fn string) []Info {
	v.mu.RLock()
	defer v.mu.RUnlock()
	out := []Info{}
	for a, s := range v.sealed {
		if fn == "" || a.function == fn {
			out = append(out, Info{Function: a.function, Name: a.name, Updated: s.Updated, KeyID: s.KeyID, Lost: v.keys.find(s.KeyID) == nil})
		}
	}
	sortInfos(out)
	return out
}

// Set stores a value. The function need not be there yet.
func (v *Vault) Set(ctx context.Context, fn, name string, value []byte) error {
	switch {
	case !function.ValidName(fn):
		return fmt.Errorf("%w: %q is not a function's name", ErrInvalid, fn)
	case !function.ValidSecret(name):
		return fmt.Errorf("%w: name %q: it starts with a letter and has letters, digits, _ and -, 63 at most", ErrInvalid, name)
	case len(value) == 0 || len(value) > MaxBytes:
		return fmt.Errorf("%w: the value has %d bytes: it has 1 to %d", ErrInvalid, len(value), MaxBytes)
	}
	v.change.Lock()
	defer v.change.Unlock()
	keys, err := v.needKeys()
	if err != nil {
		return err
	}
	row := seal(keys.current(), fn, name, value)
	if err := v.store.PutSecrets(ctx, row); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.sealed[address{fn, name}] = row
	return nil
}

// needKeys makes the first key when there is none. The caller holds change.
func (v *Vault) needKeys() (*keyring, error) {
	v.mu.RLock()
	keys, fault := v.keys, v.fault
	v.mu.RUnlock()
	if fault != nil {
		return nil, fmt.Errorf("%w: %w", ErrSealed, fault)
	}
	if len(keys.keys) > 0 {
		return keys, nil
	}
	return v.useKeys(keys.with(newKey()))
}

func (v *Vault) useKeys(keys *keyring) (*keyring, error) {
	if err := keys.write(v.file); err != nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.keys = keys
	return keys, nil
}

// Has reports whether there is a secret that can be opened.
func (v *Vault) Has(fn, name string) bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	s, ok := v.sealed[address{fn, name}]
	return ok && v.keys.find(s.KeyID) != nil
}

// Remove deletes a secret, or returns store.ErrNotFound.
func (v *Vault) Remove(ctx context.Context, fn, name string) error {
	v.change.Lock()
	defer v.change.Unlock()
	if err := v.store.RemoveSecret(ctx, fn, name); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.sealed, address{fn, name})
	return nil
}

// RemoveFunction deletes all secrets of a function that is gone: the next one
// of that name, maybe somebody else's, must not find them.
func (v *Vault) RemoveFunction(ctx context.Context, fn string) error {
	v.change.Lock()
	defer v.change.Unlock()
	if len(v.List(fn)) == 0 {
		return nil
	}
	if err := v.store.RemoveSecrets(ctx, fn); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for a := range v.sealed {
		if a.function == fn {
			delete(v.sealed, a)
		}
	}
	return nil
}

// Rekey makes a new key, seals every secret with it and forgets the old ones.
// Interrupted at any point it leaves a key file that opens every secret.
func (v *Vault) Rekey(ctx context.Context) (resealed int, err error) {
	v.change.Lock()
	defer v.change.Unlock()
	v.mu.RLock()
	if v.fault != nil {
		defer v.mu.RUnlock()
		return 0, fmt.Errorf("%w: %w", ErrSealed, v.fault)
	}
	old, rows := v.keys, make([]store.Secret, 0, len(v.sealed))
	for a, s := range v.sealed {
		key := old.find(s.KeyID)
		if key == nil {
			v.mu.RUnlock()
			return 0, fmt.Errorf("%w: %s of function %s: remove it or set it again, then rekey", ErrSealed, a.name, a.function)
		}
		rows = append(rows, s)
	}
	v.mu.RUnlock()
	both, err := v.useKeys(old.with(newKey()))
	if err != nil {
		return 0, err
	}
	for i := range rows {
		value, err := open(both.find(rows[i].KeyID), &rows[i])
		if err != nil {
			return 0, err
		}
		updated := rows[i].Updated
		rows[i] = seal(both.current(), rows[i].Function, rows[i].Name, value)
		rows[i].Updated = updated
		clear(value)
	}
	if err := v.store.PutSecrets(ctx, rows...); err != nil {
		return 0, err
	}
	v.mu.Lock()
	for _, r := range rows {
		v.sealed[address{r.Function, r.Name}] = r
	}
	v.mu.Unlock()
	_, err = v.useKeys(both.last())
	return len(rows), err
}

// For is what one function may ask.
func (v *Vault) For(fn string) host.Secrets { return ofFunction{v, fn} }

type ofFunction struct {
	vault    *Vault
	function string
}

var _ host.Secrets = ofFunction{}

// Secret opens one secret of the function.
func (o ofFunction) Secret(name string) ([]byte, bool, error) {
	o.vault.mu.RLock()
	row, ok := o.vault.sealed[address{o.function, name}]
	keys := o.vault.keys
	o.vault.mu.RUnlock()
	if !ok {
		return nil, false, nil
	}
	value, err := open(keys.find(row.KeyID), &row)
	return value, err == nil, err
}

// associated binds a sealed value to its place.
func associated(fn, name string) []byte {
	return []byte("headgate secret v1\x00" + fn + "\x00" + name)
}

func seal(k *key, fn, name string, value []byte) store.Secret {
	nonce := make([]byte, chacha20poly1305.NonceSizeX, chacha20poly1305.NonceSizeX+len(value)+chacha20poly1305.Overhead)
	_, _ = rand.Read(nonce) // never fails (crypto/rand)
	return store.Secret{
		Function: fn, Name: name, KeyID: k.id, Updated: time.Now(),
		Sealed: k.aead.Seal(nonce, nonce, value, associated(fn, name)),
	}
}

func open(k *key, row *store.Secret) ([]byte, error) {
	if k == nil || len(row.Sealed) < chacha20poly1305.NonceSizeX {
		return nil, ErrSealed
	}
	nonce, box := row.Sealed[:chacha20poly1305.NonceSizeX], row.Sealed[chacha20poly1305.NonceSizeX:]
	value, err := k.aead.Open(nil, nonce, box, associated(row.Function, row.Name))
	if err != nil {
		return nil, ErrSealed // the library's error says no more
	}
	return value, nil
}

// key is one key of the key file.
type key struct {
	id   string
	raw  []byte
	aead cipher.AEAD
}
