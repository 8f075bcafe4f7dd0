// Package keyring keeps the signing keys of the people who own a fleet, each in
// a file of its own that a passphrase opens.
package keyring

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
)

// The kinds of files. What is encrypted has NaCl's secretbox around the seed,
// under a key that scrypt makes of the passphrase (N=2^17, r=8).
const (
	pemEncrypted = "HEADGATE ENCRYPTED KEY"
	pemPlain     = "HEADGATE ONLINE KEY"
	suffix       = ".key"
	maxBytes     = 16 << 10
)

// The faults of a key.
var (
	// ErrPassphrase does not open the key.
	ErrPassphrase = errors.New("the passphrase does not open it")
	// ErrExists is a key that is there already.
	ErrExists = errors.New("there is a key of that name already")
	// ErrNotFound is a key that is not there.
	ErrNotFound = errors.New("there is no key of that name")
)

var validName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)

// Ring is a folder of keys.
type Ring struct{ Dir string }

func (r Ring) file(name string) (string, error) {
	if !validName.MatchString(name) {
		return "", fmt.Errorf("%q cannot be a key's name: it has a-z, 0-9, '.', '_' and '-', 64 at most", name)
	}
	return filepath.Join(r.Dir, name+suffix), nil
}

// Create makes a key. An empty passphrase leaves it readable by whoever can
// read the file: for online keys alone.
func (r Ring) Create(name string, passphrase []byte) (ed25519.PrivateKey, error) {
	file, err := r.file(name)
	if err != nil {
		return nil, err
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	block := &pem.Block{Type: pemPlain, Bytes: key.Seed(), Headers: map[string]string{"Public": PublicString(key.Public().(ed25519.PublicKey))}}
	if len(passphrase) > 0 {
		block.Type = pemEncrypted
		if block.Bytes, err = encrypted.EncryptWithCustomKDFParameters(key.Seed(), passphrase, encrypted.OWASP); err != nil {
			return nil, fmt.Errorf("key %s: %w", name, err)
		}
	}
	if err := os.MkdirAll(r.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("key %s: %w", name, err)
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("key %s: %w (%s)", name, ErrExists, file)
	}
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", name, err)
	}
	if err := errors.Join(pem.Encode(f, block), f.Sync(), f.Close()); err != nil {
		return nil, fmt.Errorf("key %s: %w", name, err)
	}
	return key, nil
}

// block reads a key's file.
func (r Ring) block(name string) (*pem.Block, error) {
	file, err := r.file(name)
	if err != nil {
		return nil, err
	}
	raw, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("key %s: %w (%s)", name, ErrNotFound, file)
	}
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", name, err)
	}
	block, _ := pem.Decode(raw)
	if block == nil || len(raw) > maxBytes || block.Type != pemEncrypted && block.Type != pemPlain {
		return nil, fmt.Errorf("key %s: %s is not a key of headgate: restore it from your backup", name, file)
	}
	return block, nil
}

// Locked reports whether a key takes a passphrase.
func (r Ring) Locked(name string) (bool, error) {
	b, err := r.block(name)
	return err == nil && b.Type == pemEncrypted, err
}

// Public returns the public half, without a passphrase.
func (r Ring) Public(name string) (ed25519.PublicKey, error) {
	b, err := r.block(name)
	if err != nil {
		return nil, err
	}
	return ParsePublic(b.Headers["Public"])
}

// Open returns a key.
func (r Ring) Open(name string, passphrase []byte) (ed25519.PrivateKey, error) {
	b, err := r.block(name)
	if err != nil {
		return nil, err
	}
	seed := b.Bytes
	if b.Type == pemEncrypted {
		if seed, err = encrypted.Decrypt(b.Bytes, passphrase); err != nil {
			return nil, fmt.Errorf("key %s: %w", name, ErrPassphrase)
		}
	}
	if len(seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("key %s: it is damaged: restore it from your backup", name)
	}
	key := ed25519.NewKeyFromSeed(seed)
	if PublicString(key.Public().(ed25519.PublicKey)) != b.Headers["Public"] {
		return nil, fmt.Errorf("key %s: the public key beside it is another one's: restore it from your backup", name)
	}
	return key, nil
}

// Names lists the keys, in order.
func (r Ring) Names() ([]string, error) {
	all, err := os.ReadDir(r.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	var names []string
	for _, e := range all {
		if name, ok := strings.CutSuffix(e.Name(), suffix); ok && validName.MatchString(name) {
			names = append(names, name)
		}
	}
	return names, nil
}

// PublicString writes a public key as people pass it on.
func PublicString(k ed25519.PublicKey) string { return hex.EncodeToString(k) }

// ParsePublic reads what PublicString wrote.
func ParsePublic(s string) (ed25519.PublicKey, error) {
	raw, err := hex.DecodeString(s)
	if err != nil || len(raw) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("%q is not a public key: it has %d hex digits ('headgate keys list' prints them)", s, 2*ed25519.PublicKeySize)
	}
	return raw, nil
}
