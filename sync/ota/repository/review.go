package repository

import (
	"fmt"
	"slices"
	"strings"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/headgate-io/headgate/sync/ota"
)

// Changes says for eyes in what the staged metadata differs from what is
// published: what a holder signs.
func (r *Repository) Changes() ([]string, error) {
	out := r.keyChanges()
	before, err := r.Published(false)
	if err != nil {
		return nil, err
	}
	after, err := r.Published(true)
	if err != nil {
		return nil, err
	}
	return append(out, Compare(before, after)...), nil
}

// ReadTargets reads what targets metadata names, whoever signed it.
func ReadTargets(raw []byte) ([]ota.Target, error) {
	m, err := metadata.Targets().FromBytes(raw)
	if err != nil {
		return nil, fmt.Errorf("targets: %w", err)
	}
	t, err := ota.ReadTargets(&m.Signed)
	if err != nil {
		return nil, err
	}
	return t.All, nil
}

// Compare says in words what targets become of others.
func Compare(before, after []ota.Target) (out []string) {
	find := func(all []ota.Target, name string) *ota.Target {
		if i := slices.IndexFunc(all, func(t ota.Target) bool { return t.Name == name }); i >= 0 {
			return &all[i]
		}
		return nil
	}
	for i := range after {
		t, old := &after[i], find(before, after[i].Name)
		switch {
		case old == nil || old.SHA256 != t.SHA256 || old.Kind != t.Kind || old.Function != t.Function || old.Arch != t.Arch:
			out = append(out, fmt.Sprintf("new target %s, %d bytes, SHA-256 %s%s", t.Name, t.Bytes, t.SHA256, becomes(t)))
		case !slices.Equal(old.Aliases, t.Aliases):
			out = append(out, fmt.Sprintf("%s, which was %s%s", t.Name, aliases(old), becomes(t)))
		}
	}
	for i := range before {
		if find(after, before[i].Name) == nil {
			out = append(out, fmt.Sprintf("%s is withdrawn", before[i].Name))
		}
	}
	return out
}

func aliases(t *ota.Target) string {
	if len(t.Aliases) == 0 {
		return "held"
	}
	return strings.Join(t.Aliases, ", ")
}

func becomes(t *ota.Target) string { return ": becomes " + aliases(t) }

func (r *Repository) keyChanges() (out []string) {
	if r.newRoot == nil {
		return nil
	}
	for _, role := range []Role{Root, Targets, Online} {
		names, _ := role.names() // they are the known ones
		var old metadata.Role
		if r.root != nil {
			old = *r.root.Signed.Roles[names[0]]
		}
		now := r.newRoot.Signed.Roles[names[0]]
		for _, id := range now.KeyIDs {
			if !slices.Contains(old.KeyIDs, id) {
				out = append(out, fmt.Sprintf("the key %s may sign as %s", id, role))
			}
		}
		for _, id := range old.KeyIDs {
			if !slices.Contains(now.KeyIDs, id) {
				out = append(out, fmt.Sprintf("the key %s may not sign as %s any more", id, role))
			}
		}
		if old.Threshold != now.Threshold {
			out = append(out, fmt.Sprintf("%s takes %d of %d signatures", role, now.Threshold, len(now.KeyIDs)))
		}
	}
	return append(out, fmt.Sprintf("root version %d, until %s", r.newRoot.Signed.Version, r.newRoot.Signed.Expires.Format("2006-01-02")))
}

// Unknown are the staged pieces of metadata without the good signature of any
// of these keys: somebody else's, of which the holder of the keys knows nothing
// yet.
func (r *Repository) Unknown(keys []string) (out []Role) {
	mine := func(all []metadata.Signature) bool {
		return slices.ContainsFunc(all, func(s metadata.Signature) bool { return slices.Contains(keys, s.KeyID) })
	}
	if r.newRoot != nil && !mine(counting(r.newRoot, r.newRoot.Signatures, metadata.ROOT, r.root, r.newRoot)) {
		out = append(out, Root)
	}
	if r.newTargs != nil && !mine(counting(r.newTargs, r.newTargs.Signatures, metadata.TARGETS, r.next())) {
		out = append(out, Targets)
	}
	return out
}
