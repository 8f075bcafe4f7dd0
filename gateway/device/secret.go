package device

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
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
	// slow lets one Argon2 hash run at a time, in takes in those that wait for
	// it: guesses at one chosen password must not keep all devices out.
	slow, in chan struct{}
}

const (
	maxVerified = 4096
	// maxSlow is below the broker's AuthConcurrency, so that devices with
	// made passwords always find a free place.
	maxSlow = 12
)

// errBusy refuses a password unchecked; a client tries again.
var errBusy = errors.New("too many chosen passwords to check at once: devices with made passwords do not need this")

func newVerifiedCache() verifiedCache {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails (crypto/rand)
	return verifiedCache{
		key: key, mu: new(sync.Mutex), ok: map[[sha256.Size]byte]struct{}{},
		slow: make(chan struct{}, 1), in: make(chan struct{}, maxSlow),
	}
}

// check reports whether password belongs to secret. The error is that there was
// no time to find out.
func (v verifiedCache) check(ctx context.Context, secret string, password []byte) (bool, error) {
	if !strings.HasPrefix(secret, schemeArgon2id) {
		return verify(secret, password), nil
	}
	mac := hmac.New(sha256.New, v.key)
	fmt.Fprintf(mac, "%d:%s", len(secret), secret)
	mac.Write(password)
	tag := [sha256.Size]byte(mac.Sum(nil))
	v.mu.Lock()
	_, known := v.ok[tag]
	v.mu.Unlock()
	if known {
		return true, nil
	}
	select {
	case v.in <- struct{}{}:
		defer func() { <-v.in }()
	default:
		return false, errBusy
	}
	select {
	case v.slow <- struct{}{}:
		defer func() { <-v.slow }()
	case <-ctx.Done():
		return false, ctx.Err()
	}
	if !verify(secret, password) {
		return false, nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.ok) >= maxVerified {
		clear(v.ok)
	}
	v.ok[tag] = struct{}{}
	return true, nil
}
