package repository

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// KeyID is the name of a public key in the metadata.
func KeyID(public ed25519.PublicKey) (string, error) {
	k, err := metadata.KeyFromPublicKey(public)
	if err != nil {
		return "", err
	}
	return k.ID()
}

func (r *Repository) addKey(role Role, public ed25519.PublicKey) error {
	if len(public) != ed25519.PublicKeySize {
		return fmt.Errorf("a key of %s has %d bytes, not %d", role, ed25519.PublicKeySize, len(public))
	}
	k, err := metadata.KeyFromPublicKey(public)
	if err != nil {
		return err
	}
	names, err := role.names()
	for _, name := range names {
		err = errors.Join(err, r.newRoot.Signed.AddKey(k, name))
	}
	return err
}

func (r *Repository) setThreshold(role Role, n int) error {
	names, err := role.names()
	if err != nil {
		return err
	}
	for _, name := range names {
		keys := len(r.newRoot.Signed.Roles[name].KeyIDs)
		if n < 1 || n > keys {
			return fmt.Errorf("%s: %d signatures of %d keys cannot be asked for", role, n, keys)
		}
		r.newRoot.Signed.Roles[name].Threshold = n
	}
	return nil
}

// Change is a change of who may sign. It is staged, and waits for the
// signatures of the holders of the old and of the new root keys.
type Change struct {
	Role        Role
	Add, Remove []ed25519.PublicKey
	// Threshold is how many signatures the role takes; 0 leaves it.
	Threshold int
}

// ChangeKeys stages changes of the root. The targets are staged with it where
// their keys change, to be signed anew.
func (r *Repository) ChangeKeys(changes ...Change) error {
	if err := r.stageRoot(); err != nil {
		return err
	}
	for _, c := range changes {
		if err := r.change(c); err != nil {
			return err
		}
		if c.Role != Targets {
			continue
		}
		if err := r.stageTargets(); err != nil {
			return err
		}
	}
	return r.saveStaged()
}

func (r *Repository) change(c Change) error {
	names, err := c.Role.names()
	if err != nil {
		return err
	}
	for _, k := range c.Add {
		if err := r.addKey(c.Role, k); err != nil {
			return err
		}
	}
	for _, k := range c.Remove {
		id, err := KeyID(k)
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := r.newRoot.Signed.RevokeKey(id, name); err != nil {
				return fmt.Errorf("%s has no key %s: 'headgate keys list' shows them", c.Role, id)
			}
		}
	}
	threshold := c.Threshold
	if threshold == 0 {
		threshold = r.newRoot.Signed.Roles[names[0]].Threshold
	}
	return r.setThreshold(c.Role, threshold)
}

// Renew stages root and targets with a new end, otherwise as they are.
func (r *Repository) Renew() error {
	if err := errors.Join(r.stageRoot(), r.stageTargets()); err != nil {
		return err
	}
	return r.saveStaged()
}

// Sign adds signatures to what is staged, for each key that may sign it. It
// returns how many were added.
func (r *Repository) Sign(keys ...ed25519.PrivateKey) (added int, err error) {
	for _, key := range keys {
		id, err := KeyID(key.Public().(ed25519.PublicKey))
		if err != nil {
			return added, err
		}
		signer, err := signature.LoadED25519Signer(key)
		if err != nil {
			return added, err
		}
		if r.newRoot != nil && r.wants(Root, id) && !signedBy(r.newRoot.Signatures, id) {
			if _, err := r.newRoot.Sign(signer); err != nil {
				return added, err
			}
			added++
		}
		if r.newTargs != nil && r.wants(Targets, id) && !signedBy(r.newTargs.Signatures, id) {
			if _, err := r.newTargs.Sign(signer); err != nil {
				return added, err
			}
			added++
		}
	}
	if added > 0 {
		err = r.saveStaged()
	}
	return added, err
}

// wants reports whether a key's signature counts for what is staged: for a root
// by the old keys and by the new.
func (r *Repository) wants(role Role, id string) bool {
	has := func(root *metadata.Metadata[metadata.RootType]) bool {
		return root != nil && slices.Contains(root.Signed.Roles[string(role)].KeyIDs, id)
	}
	if role == Root {
		return has(r.newRoot) || has(r.root)
	}
	return has(r.next())
}

func signedBy(all []metadata.Signature, id string) bool {
	return slices.ContainsFunc(all, func(s metadata.Signature) bool { return s.KeyID == id })
}

// next is the root that counts when what is staged is published.
func (r *Repository) next() *metadata.Metadata[metadata.RootType] {
	if r.newRoot != nil {
		return r.newRoot
	}
	return r.root
}

// Waiting is a piece of metadata that waits for signatures.
type Waiting struct {
	Role    Role  `json:"role"`
	Version int64 `json:"version"`
	// Signed are the keys that have signed it, Missing says what is short.
	Signed  []string `json:"signed"`
	Missing string   `json:"missing,omitempty"`
}

// Waiting is what is staged.
func (r *Repository) Waiting() (all []Waiting) {
	ids := func(s []metadata.Signature) []string {
		out := []string{}
		for _, x := range s {
			out = append(out, x.KeyID)
		}
		return out
	}
	if r.newRoot != nil {
		w := Waiting{Role: Root, Version: r.newRoot.Signed.Version, Signed: ids(r.newRoot.Signatures)}
		if err := r.rootSigned(); err != nil {
			w.Missing = err.Error()
		}
		all = append(all, w)
	}
	if r.newTargs != nil {
		w := Waiting{Role: Targets, Version: r.newTargs.Signed.Version, Signed: ids(r.newTargs.Signatures)}
		if err := r.next().VerifyDelegate(metadata.TARGETS, r.newTargs); err != nil {
			w.Missing = err.Error()
		}
		all = append(all, w)
	}
	return all
}

// rootSigned reports what a staged root is short of.
func (r *Repository) rootSigned() error {
	if r.root != nil {
		if err := r.root.VerifyDelegate(metadata.ROOT, r.newRoot); err != nil {
			return fmt.Errorf("by the keys that count now: %w", err)
		}
	}
	return r.newRoot.VerifyDelegate(metadata.ROOT, r.newRoot)
}

// Keys is who may sign what.
type Keys struct {
	Role      Role      `json:"role"`
	Threshold int       `json:"threshold"`
	IDs       []string  `json:"keys"`
	Expires   time.Time `json:"expires,omitzero"`
}

// Keys lists the published root's roles, or the staged one's before the first.
func (r *Repository) Keys() []Keys {
	root := r.root
	if root == nil {
		root = r.newRoot
	}
	out := []Keys{}
	for _, role := range []Role{Root, Targets, Online} {
		names, _ := role.names() // they are the known ones
		x := root.Signed.Roles[names[0]]
		k := Keys{Role: role, Threshold: x.Threshold, IDs: x.KeyIDs}
		switch {
		case role == Root:
			k.Expires = root.Signed.Expires
		case role == Targets && r.targets != nil:
			k.Expires = r.targets.Signed.Expires
		}
		out = append(out, k)
	}
	return out
}

// Public returns the public key of an id that the published or staged root
// knows.
func (r *Repository) Public(id string) (ed25519.PublicKey, error) {
	for _, root := range []*metadata.Metadata[metadata.RootType]{r.newRoot, r.root} {
		if root == nil {
			continue
		}
		for _, known := range slices.Sorted(maps.Keys(root.Signed.Keys)) {
			if known != id {
				continue
			}
			public, err := root.Signed.Keys[known].ToPublicKey()
			if key, ok := public.(ed25519.PublicKey); ok && err == nil {
				return key, nil
			}
		}
	}
	return nil, fmt.Errorf("no key %s: 'headgate keys list' shows them", id)
}

// Wants reports whether what is staged waits for a key's signature.
func (r *Repository) Wants(id string) bool {
	return r.newRoot != nil && r.wants(Root, id) && !signedBy(r.newRoot.Signatures, id) ||
		r.newTargs != nil && r.wants(Targets, id) && !signedBy(r.newTargs.Signatures, id)
}

// Online reports whether a key is the online key, or will be.
func (r *Repository) Online(id string) bool {
	return slices.Contains(r.next().Signed.Roles[metadata.TIMESTAMP].KeyIDs, id)
}

// SignsOnline reports whether a key is the online key of what is published.
func (r *Repository) SignsOnline(id string) bool {
	return r.root != nil && slices.Contains(r.root.Signed.Roles[metadata.TIMESTAMP].KeyIDs, id)
}

// Knew reports whether an earlier root named a key as the online one: it may have
// been taken out of use because it was stolen.
func (r *Repository) Knew(id string) bool {
	for n := int64(1); r.root != nil && n < r.root.Signed.Version; n++ {
		var old *metadata.Metadata[metadata.RootType]
		if err := r.load(&old, fmt.Sprintf("metadata/%d.root.json", n)); err != nil || old == nil {
			continue // what is not there says nothing
		}
		if role := old.Signed.Roles[metadata.TIMESTAMP]; role != nil && slices.Contains(role.KeyIDs, id) {
			return true
		}
	}
	return false
}
