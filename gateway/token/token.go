// Package token keeps the tokens of the admin API: who may do what over the
// network. A token is 256 random bits, so its SHA-256 is all that is kept: there
// is nothing to guess that a slow hash would protect.
package token

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/store"
)

// Scope is what a token may do.
type Scope string

// The scopes. Each but Read includes Read; Admin includes all of them.
const (
	// Read shows everything that the gateway shows: lists, states, logs and
	// messages.
	Read Scope = "read"
	// Deploy changes which functions there are.
	Deploy Scope = "deploy"
	// Operate changes what is under way: states, messages, dead letters,
	// devices.
	Operate Scope = "operate"
	// Admin changes who may do what: tokens, secrets and backups.
	Admin Scope = "admin"
	// Local is nobody's scope: only the socket on the gateway itself has it.
	Local Scope = "local"
)

// callPrefix starts the scopes of keys: tokens that may call functions over
// HTTP, and nothing else.
const callPrefix = "call:"

// Call is the scope of a key that may call the function; * is every function.
func Call(function string) Scope { return Scope(callPrefix + function) }

// Prefixes of the scopes of keys for objects.
const (
	readPrefix  = "read:"
	writePrefix = "write:"
)

// ReadObjects is the scope of a key that may read and list the objects of a
// bucket; * is every bucket.
func ReadObjects(bucket string) Scope { return Scope(readPrefix + bucket) }

// WriteObjects is the scope of a key that may put and delete them.
func WriteObjects(bucket string) Scope { return Scope(writePrefix + bucket) }

// key reports whether the scope is that of a key, and whether what it names can
// be.
func (s Scope) key() (valid, key bool) {
	if name, ok := s.calls(); ok {
		return name == "*" || function.ValidName(name), true
	}
	for _, prefix := range []string{readPrefix, writePrefix} {
		if name, ok := strings.CutPrefix(string(s), prefix); ok {
			return name == "*" || function.ValidBucket(name), true
		}
	}
	return false, false
}

// calls is the function that a key's scope names.
func (s Scope) calls() (function string, ok bool) {
	return strings.CutPrefix(string(s), callPrefix)
}

// Scopes are those that a token may have.
var scopes = []Scope{Read, Deploy, Operate, Admin}

// Faults that a caller may branch on.
var (
	// ErrInvalid is wrapped by errors about a name, a scope or a lifetime.
	ErrInvalid = errors.New("invalid token")
	// ErrUnknown is a token that was never given, or revoked, or has expired.
	ErrUnknown = errors.New("unknown token")
)

// ErrRevoked ends the context of requests whose token has gone.
var ErrRevoked = errors.New("the token was revoked or has expired")

// FileName is the name of the token in the token file.
const FileName = "token-file"

// Store keeps tokens; gateway/store implements it.
type Store interface {
	AddToken(ctx context.Context, t store.Token) error
	Tokens(ctx context.Context) ([]store.Token, error)
	TokenUsed(ctx context.Context, name string, at time.Time) error
	RemoveToken(ctx context.Context, name string) error
}

var _ Store = (*store.Store)(nil)

// Registry knows the tokens. It may be used from any goroutine.
type Registry struct {
	store Store
	log   *slog.Logger
	now   func() time.Time

	change sync.Mutex // held through a whole change, before mu

	mu     sync.Mutex // guards what follows, and the holders
	byHash map[[sha256.Size]byte]*holder
	byName map[string]*holder
}

// holder is a token and the requests that it admitted and that go on.
type holder struct {
	hash  [sha256.Size]byte
	info  Info
	saved time.Time // LastUsed as it is stored
	uses  map[*use]struct{}
}

type use struct{ cancel context.CancelCauseFunc }

// Info is what may be told of a token.
type Info struct {
	Name   string
	Scopes []Scope
	// Expires and LastUsed are zero for never. LastUsed is kept in memory and
	// written once an hour.
	Created, Expires, LastUsed time.Time
}

// Open loads the tokens. A nil now is time.Now.
func Open(ctx context.Context, s Store, log *slog.Logger, now func() time.Time) (*Registry, error) {
	if now == nil {
		now = time.Now
	}
	r := &Registry{store: s, log: log, now: now, byHash: map[[sha256.Size]byte]*holder{}, byName: map[string]*holder{}}
	all, err := s.Tokens(ctx)
	if err != nil {
		return nil, err
	}
	for _, t := range all {
		if len(t.Hash) != sha256.Size {
			log.Error("token left out: its hash is damaged", "token", t.Name)
			continue
		}
		h := &holder{
			hash:  [sha256.Size]byte(t.Hash),
			info:  Info{Name: t.Name, Created: t.Created, Expires: t.Expires, LastUsed: t.LastUsed},
			saved: t.LastUsed,
		}
		for _, s := range t.Scopes {
			h.info.Scopes = append(h.info.Scopes, Scope(s))
		}
		r.insertLocked(h)
	}
	return r, nil
}

func (r *Registry) insertLocked(h *holder) {
	h.uses = map[*use]struct{}{}
	r.byHash[h.hash], r.byName[h.info.Name] = h, h
}

// UseFile makes secret, the content of the token file, a token that may do
// everything, in place of the one before.
func (r *Registry) UseFile(secret string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	hash := sha256.Sum256([]byte(secret))
	if old := r.byName[FileName]; old != nil {
		if old.hash == hash {
			return
		}
		r.dropLocked(old)
	}
	r.insertLocked(&holder{hash: hash, info: Info{Name: FileName, Scopes: []Scope{Admin}}})
}

var validName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// Add makes a token that lives for ttl, or for ever with 0, and returns it, the
// one time that it is known. A name that is taken wraps store.ErrExists.
func (r *Registry) Add(ctx context.Context, name string, want []Scope, ttl time.Duration) (string, Info, error) {
	if err := check(name, want, ttl); err != nil {
		return "", Info{}, err
	}
	r.change.Lock()
	defer r.change.Unlock()
	want = slices.Clone(want)
	slices.SortFunc(want, func(a, b Scope) int {
		return cmp.Or(cmp.Compare(slices.Index(scopes, a), slices.Index(scopes, b)), cmp.Compare(a, b))
	})
	h := &holder{info: Info{Name: name, Scopes: slices.Compact(want), Created: r.now()}}
	if ttl > 0 {
		h.info.Expires = h.info.Created.Add(ttl)
	}
	secret := Make()
	h.hash = sha256.Sum256([]byte(secret))
	row := store.Token{Name: name, Hash: h.hash[:], Created: h.info.Created, Expires: h.info.Expires}
	for _, s := range h.info.Scopes {
		row.Scopes = append(row.Scopes, string(s))
	}
	if err := r.store.AddToken(ctx, row); err != nil {
		if errors.Is(err, store.ErrExists) {
			err = fmt.Errorf("%w: choose another name, or revoke it first", err)
		}
		return "", Info{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.insertLocked(h)
	return secret, h.info, nil
}

// Make returns 256 random bits that say what they are, so that scanners for
// leaked secrets can find them.
func Make() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return "headgate_" + base64.RawURLEncoding.EncodeToString(b)
}

func check(name string, want []Scope, ttl time.Duration) error {
	var faults []error
	if !validName.MatchString(name) || name == FileName {
		faults = append(faults, fmt.Errorf("%w: name %q: it has letters, digits and . _ -, 64 at most, starts with a letter or digit, and is not %s", ErrInvalid, name, FileName))
	}
	if len(want) == 0 {
		faults = append(faults, fmt.Errorf("%w: it may do nothing: name its scopes with --scope, of %s", ErrInvalid, list(scopes)))
	}
	keys := 0
	for _, s := range want {
		valid, key := s.key()
		switch {
		case key && valid:
			keys++
		case !slices.Contains(scopes, s):
			faults = append(faults, fmt.Errorf("%w: scope %q: it is one of %s, or of a key: call: and the name of a function, read: or write: and that of a bucket", ErrInvalid, s, list(scopes)))
		}
	}
	if keys > 0 && keys < len(want) {
		faults = append(faults, fmt.Errorf("%w: a key that calls functions or is for buckets is for that alone: make another token for the admin API", ErrInvalid))
	}
	if len(want) > maxScopes {
		faults = append(faults, fmt.Errorf("%w: %d scopes, more than the %d a token may have", ErrInvalid, len(want), maxScopes))
	}
	if ttl < 0 {
		faults = append(faults, fmt.Errorf("%w: it would have expired already", ErrInvalid))
	}
	return errors.Join(faults...)
}

// maxScopes bounds the scopes of one token.
const maxScopes = 64

func list(all []Scope) string {
	names := make([]string, len(all))
	for i, s := range all {
		names[i] = string(s)
	}
	return strings.Join(names, ", ")
}

// List returns the tokens by name.
func (r *Registry) List() []Info {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]Info, 0, len(r.byName))
	for _, h := range r.byName {
		out = append(out, h.info)
	}
	slices.SortFunc(out, func(a, b Info) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// Revoke ends a token and everything that goes on in its name.
func (r *Registry) Revoke(ctx context.Context, name string) error {
	if name == FileName {
		return fmt.Errorf("%w: %s is the token in the file admin.token_file: write another there, or delete it to have one made, and reload the gateway", ErrInvalid, name)
	}
	r.change.Lock()
	defer r.change.Unlock()
	if err := r.store.RemoveToken(ctx, name); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if h := r.byName[name]; h != nil {
		r.dropLocked(h)
	}
	return nil
}

func (r *Registry) dropLocked(h *holder) {
	delete(r.byHash, h.hash)
	delete(r.byName, h.info.Name)
	for u := range h.uses {
		u.cancel(ErrRevoked)
	}
}

// Grant is a request that a token admitted.
type Grant struct {
	Info
	// Context ends with the request, with ErrRevoked when the token goes.
	Context context.Context
	// Done must be called at the end of the request.
	Done func()
}

// Lookup returns the token behind secret without using it, or ErrUnknown. The
// hash is looked up, so that the time tells nothing that could be built upon.
func (r *Registry) Lookup(secret string) (Info, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.findLocked(secret)
	if h == nil {
		return Info{}, ErrUnknown
	}
	return h.info, nil
}

func (r *Registry) findLocked(secret string) *holder {
	h := r.byHash[sha256.Sum256([]byte(secret))]
	if h == nil || !h.info.Expires.IsZero() && !r.now().Before(h.info.Expires) {
		return nil
	}
	return h
}

// writtenEvery is how old the stored time of the last use may be.
const writtenEvery = time.Hour

// Enter begins a request in the name of secret, or returns ErrUnknown.
func (r *Registry) Enter(ctx context.Context, secret string) (*Grant, error) {
	r.mu.Lock()
	h := r.findLocked(secret)
	if h == nil {
		r.mu.Unlock()
		return nil, ErrUnknown
	}
	now := r.now()
	h.info.LastUsed = now
	write := h.info.Name != FileName && now.Sub(h.saved) >= writtenEvery
	if write {
		h.saved = now
	}
	ctx, cancel := context.WithCancelCause(ctx)
	u := &use{cancel: cancel}
	h.uses[u] = struct{}{}
	info := h.info
	r.mu.Unlock()
	stop := func() bool { return true }
	if !info.Expires.IsZero() {
		stop = time.AfterFunc(info.Expires.Sub(now), func() { cancel(ErrRevoked) }).Stop
	}
	if write {
		if err := r.store.TokenUsed(ctx, info.Name, now); err != nil {
			r.log.Warn("note when a token was used", "token", info.Name, "error", err)
		}
	}
	return &Grant{Info: info, Context: ctx, Done: func() {
		stop()
		cancel(nil)
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(h.uses, u)
	}}, nil
}

// May reports whether a token with these scopes has s.
func (i Info) May(s Scope) bool {
	switch {
	case s == Local:
		return false
	case slices.Contains(i.Scopes, s):
		return true
	case slices.Contains(scopes, s) && slices.Contains(i.Scopes, Admin):
		return true
	}
	if _, key := s.key(); key || s != Read {
		return false
	}
	return slices.ContainsFunc(i.Scopes, func(have Scope) bool { return slices.Contains(scopes, have) })
}

// MayCall reports whether it is a key that may call the function.
func (i Info) MayCall(function string) bool {
	return slices.Contains(i.Scopes, Call(function)) || slices.Contains(i.Scopes, Call("*"))
}

// MayRead reports whether it is a key that may read the bucket's objects.
func (i Info) MayRead(bucket string) bool {
	return slices.Contains(i.Scopes, ReadObjects(bucket)) || slices.Contains(i.Scopes, ReadObjects("*"))
}

// MayWrite reports whether it is a key that may change them.
func (i Info) MayWrite(bucket string) bool {
	return slices.Contains(i.Scopes, WriteObjects(bucket)) || slices.Contains(i.Scopes, WriteObjects("*"))
}
