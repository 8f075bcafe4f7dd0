package device

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"
	"sync"

	"golang.org/x/crypto/argon2"
)

// A secret is stored as scheme$salt$hash. Passwords made here have 120 random
// bits, which a fast hash protects; those that people choose get Argon2id with
// the memory that RFC 9106 section 4 allows for small machines.
const (
	schemeSHA256   = "sha256"
	schemeArgon2id = "argon2id"
)

const (
	argonTime    = 3
	argonMemory  = 16 << 10 // KiB
	argonThreads = 1
)

// decoySecret is checked for names that do not exist.
const decoySecret = schemeSHA256 + "$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

var encoding = base64.RawStdEncoding

// hashFor returns the password (a made one for "") and the secret to store.
func hashFor(password string) (plain, secret string, err error) {
	scheme := schemeArgon2id
	if password == "" {
		password, scheme = newPassword(), schemeSHA256
	}
	salt := make([]byte, 16)
	if _, err := rand.Read(salt); err != nil {
		return "", "", fmt.Errorf("make a salt: %w", err)
	}
	sum := digest(scheme, salt, []byte(password))
	return password, scheme + "$" + encoding.EncodeToString(salt) + "$" + encoding.EncodeToString(sum), nil
}

func digest(scheme string, salt, password []byte) []byte {
	switch scheme {
	case schemeArgon2id:
		return argon2.IDKey(password, salt, argonTime, argonMemory, argonThreads, 32)
	case schemeSHA256:
		mac := hmac.New(sha256.New, salt)
		mac.Write(password)
		return mac.Sum(nil)
	}
	return nil
}

// verify reports whether password belongs to secret, in constant time.
func verify(secret string, password []byte) bool {
	parts := strings.Split(secret, "$")
	if len(parts) != 3 {
		return false
	}
	salt, err1 := encoding.DecodeString(parts[1])
	want, err2 := encoding.DecodeString(parts[2])
	got := digest(parts[0], salt, password)
	return err1 == nil && err2 == nil && len(got) > 0 && subtle.ConstantTimeCompare(got, want) == 1
}

// verifiedCache remembers which passwords were right for which Argon2 secrets,
// under a key of this process, so that a thousand devices that reconnect at
// once do not cost a thousand slow hashes. A changed secret is another entry.
type verifiedCache struct {
	key []byte
	mu  *sync.Mutex
	ok  map[[sha256.Size]byte]struct{}
}

const maxVerified = 4096

func newVerifiedCache() verifiedCache {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails (crypto/rand)
	return verifiedCache{key: key, mu: new(sync.Mutex), ok: map[[sha256.Size]byte]struct{}{}}
}

func (v verifiedCache) check(secret string, password []byte) bool {
	if !strings.HasPrefix(secret, schemeArgon2id) {
		return verify(secret, password)
	}
	mac := hmac.New(sha256.New, v.key)
	fmt.Fprintf(mac, "%d:%s", len(secret), secret)
	mac.Write(password)
	tag := [sha256.Size]byte(mac.Sum(nil))
	v.mu.Lock()
	_, known := v.ok[tag]
	v.mu.Unlock()
	if known {
		return true
	}
	if !verify(secret, password) {
		return false
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.ok) >= maxVerified {
		clear(v.ok)
	}
	v.ok[tag] = struct{}{}
	return true
}
