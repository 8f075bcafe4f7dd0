package desired

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sync/wire"
)

// metaKey is where the record is kept: one fact, so that a power cut leaves the
// old one or the new one.
const metaKey = "desired"

// record is what outlives a restart.
type record struct {
	// Gateway is the member of which Desired was wanted.
	Gateway string `json:"gateway"`
	// Desired is the newest, as it came.
	Desired []byte `json:"desired,omitempty"`
	// Given are functions that a desired state gave a target, and that are not
	// removed.
	Given []string `json:"given,omitempty"`
	// Laid are the configurations that functions run with.
	Laid map[string][]byte `json:"laid,omitempty"`
	// Secrets are the revisions of those that were put into the vault.
	Secrets map[string]uint64 `json:"secrets,omitempty"`
}

func (r *record) clone() record {
	out := *r
	out.Given, out.Laid, out.Secrets = slices.Clone(r.Given), maps.Clone(r.Laid), maps.Clone(r.Secrets)
	if out.Laid == nil {
		out.Laid = map[string][]byte{}
	}
	if out.Secrets == nil {
		out.Secrets = map[string]uint64{}
	}
	return out
}

// give notes which functions are given a target.
func (r *record) give(d *wire.Desired) {
	for i := range d.Functions {
		if d.Functions[i].Target != "" {
			r.Given = append(r.Given, d.Functions[i].Name)
		}
	}
	slices.Sort(r.Given)
	r.Given = slices.Compact(r.Given)
}

func (f *Follower) load(ctx context.Context) error {
	raw, err := f.cfg.Memory.Meta(ctx, metaKey)
	if errors.Is(err, f.cfg.Missing) {
		return nil
	}
	if err != nil {
		return err
	}
	var rec record
	if err = json.Unmarshal(raw, &rec); err == nil && len(rec.Desired) > 0 {
		var m any
		if m, err = f.codec.Decode(rec.Desired); err == nil {
			d, ok := m.(*wire.Desired)
			if !ok {
				err = fmt.Errorf("%T is no desired state", m)
			} else if err = check(d); err == nil {
				f.desired = d
			}
		}
	}
	if err != nil {
		f.cfg.Logger.Error("the desired state that was kept cannot be read: the controller is asked again", "error", err)
		return nil
	}
	f.rec = rec
	return nil
}

// keep writes a record and what it says is desired, and then follows it. The
// caller holds saving.
func (f *Follower) keep(ctx context.Context, rec *record, d *wire.Desired) error {
	if err := f.save(ctx, rec); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rec, f.desired = *rec, d
	return nil
}

// note writes down what was done. Which functions are given somebody else may
// have changed meanwhile.
func (f *Follower) note(ctx context.Context, done *record) error {
	return f.change(ctx, func(r *record) bool {
		if maps.EqualFunc(r.Laid, done.Laid, bytes.Equal) && maps.Equal(r.Secrets, done.Secrets) {
			return false
		}
		r.Laid, r.Secrets = done.Laid, done.Secrets
		return true
	})
}

// Removed notes that functions are gone, or somebody else's affair. One that was
// given a target again meanwhile is still followed, and gets its secrets back.
func (f *Follower) Removed(ctx context.Context, names ...string) error {
	f.mu.Lock()
	d := f.desired
	f.mu.Unlock()
	still := func(name string) bool {
		return d != nil && slices.ContainsFunc(d.Functions, func(w wire.DesiredFunction) bool { return w.Name == name && w.Target != "" })
	}
	if slices.ContainsFunc(names, still) {
		select {
		case f.redo <- struct{}{}:
		default:
		}
	}
	names = slices.DeleteFunc(slices.Clone(names), still)
	return f.change(ctx, func(r *record) bool {
		n := len(r.Given)
		r.Given = slices.DeleteFunc(r.Given, func(name string) bool { return slices.Contains(names, name) })
		return len(r.Given) < n
	})
}

// change changes the record, on the disk first.
func (f *Follower) change(ctx context.Context, do func(*record) (changed bool)) error {
	f.saving.Lock()
	defer f.saving.Unlock()
	f.mu.Lock()
	next := f.rec.clone()
	f.mu.Unlock()
	if !do(&next) {
		return nil
	}
	if err := f.save(ctx, &next); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rec = next
	return nil
}

func (f *Follower) save(ctx context.Context, rec *record) error {
	raw, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	if err := f.cfg.Memory.SetMeta(ctx, metaKey, raw); err != nil {
		return fmt.Errorf("keep what is desired: %w", err)
	}
	return nil
}

// sameVersions reports whether two desired states name the same versions.
func sameVersions(a, b *wire.Desired) bool {
	if a == nil || a.System != b.System || a.SystemAttempt != b.SystemAttempt {
		return false
	}
	versions := func(d *wire.Desired) map[string]string {
		out := map[string]string{}
		for i := range d.Functions {
			if w := &d.Functions[i]; w.Target != "" {
				out[w.Name] = w.Target + "\x00" + string(w.SHA256) + "\x00" + w.Attempt
			}
		}
		return out
	}
	return maps.Equal(versions(a), versions(b))
}

// Bounds of a desired state, beside those of wire.
const (
	maxGiven       = 4 * wire.MaxFunctions
	maxConfigBytes = 64 << 10
	maxTargetBytes = 256
	maxWordBytes   = 128
	maxSealedBytes = 20 << 10
)

// Bounds of revisions. A controller goes on above what a gateway follows, up to
// 2^53: one that was in a thief's hands may not have taken them all.
const (
	maxRevision = 1 << 53
	maxFirst    = 1 << 52
	maxLeap     = 1 << 32
)

// leaps says why a revision cannot follow another, of which 0 is none.
func leaps(from, to uint64) error {
	most := uint64(maxFirst)
	if from > 0 {
		most = from + maxLeap
	}
	if to > most {
		return fmt.Errorf("revision %d comes after %d: %d at most would be believed", to, from, most)
	}
	return nil
}

// check says why a desired state makes no sense.
func check(d *wire.Desired) error {
	switch {
	case d.Revision == 0:
		return errors.New("it has no revision")
	case d.Revision >= maxRevision:
		return fmt.Errorf("its revision is %d, %d at most", d.Revision, uint64(maxRevision-1))
	case len(d.Functions) > wire.MaxFunctions:
		return fmt.Errorf("%d functions, %d at most", len(d.Functions), wire.MaxFunctions)
	case len(d.Secrets) > wire.MaxSecrets:
		return fmt.Errorf("%d secrets, %d at most", len(d.Secrets), wire.MaxSecrets)
	case len(d.System) > maxTargetBytes:
		return fmt.Errorf("the name of the binary's target has %d bytes, %d at most", len(d.System), maxTargetBytes)
	case len(d.SystemAttempt) > maxWordBytes:
		return fmt.Errorf("the binary's attempt has %d bytes, %d at most", len(d.SystemAttempt), maxWordBytes)
	}
	seen := map[string]bool{}
	for i := range d.Functions {
		w := &d.Functions[i]
		if err := checkFunction(w); err != nil {
			return err
		}
		if seen[w.Name] {
			return fmt.Errorf("function %s is named twice", w.Name)
		}
		seen[w.Name] = true
	}
	for i := range d.Secrets {
		if err := checkSecret(&d.Secrets[i]); err != nil {
			return err
		}
	}
	return nil
}

func checkFunction(w *wire.DesiredFunction) error {
	switch {
	case !function.ValidName(w.Name):
		return fmt.Errorf("%.80q is not a function's name", w.Name)
	case w.Target != "" && len(w.SHA256) != 32:
		return fmt.Errorf("function %s: the SHA-256 of its target has %d bytes", w.Name, len(w.SHA256))
	case len(w.Target) > maxTargetBytes || len(w.Attempt) > maxWordBytes:
		return fmt.Errorf("function %s: the name of its target or attempt is too long", w.Name)
	case len(w.Config) > maxConfigBytes:
		return fmt.Errorf("function %s: its configuration has %d bytes, %d at most", w.Name, len(w.Config), maxConfigBytes)
	}
	return nil
}

func checkSecret(s *wire.SealedSecret) error {
	switch {
	case !function.ValidName(s.Function):
		return fmt.Errorf("secret of %.80q, which is not a function's name", s.Function)
	case !function.ValidSecret(s.Name):
		return fmt.Errorf("%.80q is not a secret's name", s.Name)
	case len(s.Sealed) > maxSealedBytes:
		return fmt.Errorf("secret %s of %s: it has %d bytes, %d at most", s.Name, s.Function, len(s.Sealed), maxSealedBytes)
	}
	return nil
}
