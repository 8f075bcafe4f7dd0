package secret

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/headgate-io/headgate/internal/durable"
)

// keyring is the content of the key file: one key a line in base64, the last of
// which seals. There are two only while Rekey is at work. It is immutable.
type keyring struct{ keys []*key }

const keyFileHeader = "# Headgate: keys of the functions' secrets. Back it up, apart from the database.\n"

// maxKeyFile bounds the file, and so the keys in it.
const maxKeyFile = 4096

// readKeys reads the key file; one that is missing has no keys. A file that
// others than its owner could read is closed to them, which tightened tells.
func readKeys(file string) (k *keyring, tightened bool, err error) {
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return &keyring{}, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("key of the secrets: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxKeyFile {
		return nil, false, fmt.Errorf("key of the secrets: %s is not a file of at most %d bytes", file, maxKeyFile)
	}
	if info.Mode().Perm()&0o077 != 0 {
		if err := os.Chmod(file, 0o600); err != nil {
			return nil, false, fmt.Errorf("key of the secrets: others can read %s: %w", file, err)
		}
		tightened = true
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, false, fmt.Errorf("key of the secrets: %w", err)
	}
	k = &keyring{}
	for i, line := range strings.Split(string(raw), "\n") {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		b, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(b) != chacha20poly1305.KeySize {
			// The line itself must not get into a log.
			return nil, false, fmt.Errorf("key of the secrets: %s:%d is not a key: restore the file from its backup", file, i+1)
		}
		k.keys = append(k.keys, makeKey(b))
	}
	return k, tightened, nil
}

func newKey() *key {
	raw := make([]byte, chacha20poly1305.KeySize)
	_, _ = rand.Read(raw) // never fails (crypto/rand)
	return makeKey(raw)
}

func makeKey(raw []byte) *key {
	aead, err := chacha20poly1305.NewX(raw)
	if err != nil {
		panic(err) // the size is right
	}
	sum := sha256.Sum256(append([]byte("headgate secret key id\x00"), raw...))
	return &key{id: hex.EncodeToString(sum[:6]), raw: raw, aead: aead}
}

func (k *keyring) find(id string) *key {
	for _, one := range k.keys {
		if one.id == id {
			return one
		}
	}
	return nil
}

// current is the key that seals.
func (k *keyring) current() *key { return k.keys[len(k.keys)-1] }

func (k *keyring) with(added *key) *keyring { return &keyring{append(slices.Clone(k.keys), added)} }

// last has the current key alone.
func (k *keyring) last() *keyring { return &keyring{[]*key{k.current()}} }

// write replaces the key file in one step that outlives a power cut.
func (k *keyring) write(file string) error {
	var b bytes.Buffer
	b.WriteString(keyFileHeader)
	for _, one := range k.keys {
		b.WriteString(base64.StdEncoding.EncodeToString(one.raw) + "\n")
	}
	if err := durable.Replace(file, b.Bytes()); err != nil {
		return fmt.Errorf("key of the secrets: %w", err)
	}
	return nil
}

func sortInfos(all []Info) {
	slices.SortFunc(all, func(a, b Info) int {
		return cmp.Or(cmp.Compare(a.Function, b.Function), cmp.Compare(a.Name, b.Name))
	})
}
