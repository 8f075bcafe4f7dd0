package ota

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sync/bundle"
)

// The bounds of what is signed.
const (
	// MaxTargets is how many targets a repository may have.
	MaxTargets = 4096
	// MaxSystemBytes bounds a gateway's binary.
	MaxSystemBytes = 128 << 20

	maxNameBytes    = 256
	maxVersionBytes = 64
)

// Kind is what a target is.
type Kind string

// The kinds of targets: a bundle of sync/bundle, and a gateway's binary.
const (
	Function Kind = "function"
	System   Kind = "system"
)

// Live is the alias whose bundle a function's triggers start.
const Live = "live"

// Release says in the signed metadata what a target is, and what it is to be on
// the gateways: the custom field of a target, under "headgate".
type Release struct {
	Kind Kind `json:"kind"`
	// Function and Digest are a bundle's: its function, its content.
	Function string `json:"function,omitempty"`
	Digest   string `json:"digest,omitempty"`
	// Arch is a binary's architecture, in Go's word.
	Arch string `json:"arch,omitempty"`
	// Version is what people call it.
	Version string `json:"version,omitempty"`
	// Aliases are those of its function, or of the system for its
	// architecture, that gateways shall point to it. None has it wait.
	Aliases []string `json:"aliases,omitempty"`
	// Published is when it was signed.
	Published time.Time `json:"published"`
}

// custom is the custom field as a whole.
type custom struct {
	Headgate *Release `json:"headgate"`
}

// Custom makes the custom field of a target.
func (r Release) Custom() (json.RawMessage, error) { return json.Marshal(custom{&r}) }

// Validate reports what is missing or too much.
func (r *Release) Validate() error {
	switch {
	case r.Kind == Function && !function.ValidName(r.Function):
		return fmt.Errorf("%q is not a function's name", r.Function)
	case r.Kind == Function && len(r.Digest) != 64:
		return fmt.Errorf("function %s: its digest has 64 hex digits, not %d", r.Function, len(r.Digest))
	case r.Kind == System && (r.Arch == "" || len(r.Arch) > maxVersionBytes):
		return fmt.Errorf("a binary has an architecture, such as arm64")
	case r.Kind != Function && r.Kind != System:
		return fmt.Errorf("kind %q: there is %s and %s", r.Kind, Function, System)
	case len(r.Version) > maxVersionBytes:
		return fmt.Errorf("a version has at most %d bytes", maxVersionBytes)
	}
	return nil
}

// maxBytes is how long a target of this kind may be.
func (r *Release) maxBytes() int64 {
	if r.Kind == System {
		return MaxSystemBytes
	}
	return bundle.MaxBytes
}

// Target is a file that the owner signed.
type Target struct {
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
	Release
}

// Path is where it is in the repository.
func (t *Target) Path() string {
	dir, base := path.Split(t.Name)
	return "targets/" + dir + t.SHA256 + "." + base
}

// ReadRelease reads what a target's custom field says of it.
func ReadRelease(t *metadata.TargetFiles) (*Release, error) {
	if t == nil || t.Custom == nil {
		return nil, fmt.Errorf("it does not say what it is")
	}
	var c custom
	if err := json.Unmarshal(*t.Custom, &c); err != nil {
		return nil, err
	}
	if c.Headgate == nil {
		return nil, fmt.Errorf("it does not say what it is")
	}
	return c.Headgate, c.Headgate.Validate()
}

// readTarget reads one entry of the targets metadata.
func readTarget(name string, f *metadata.TargetFiles) (Target, error) {
	r, err := ReadRelease(f)
	if err != nil {
		return Target{}, err
	}
	t := Target{Name: name, Bytes: f.Length, SHA256: hex.EncodeToString(f.Hashes["sha256"]), Release: *r}
	switch {
	case !fs.ValidPath(name) || name == "." || len(name) > maxNameBytes || strings.ContainsAny(name, "\\%?#"):
		return t, fmt.Errorf("its name leads elsewhere")
	case len(t.SHA256) != 64:
		return t, fmt.Errorf("it has no SHA-256")
	case t.Bytes <= 0 || t.Bytes > r.maxBytes():
		return t, fmt.Errorf("it has %d bytes, and may have %d", t.Bytes, r.maxBytes())
	}
	return t, nil
}

// Targets is what the owner has signed.
type Targets struct {
	// Root and Version are the versions of the root and of the targets
	// metadata.
	Root    int64 `json:"root"`
	Version int64 `json:"version"`
	// Expires is when the first of the set's metadata does.
	Expires time.Time `json:"expires"`
	// All are the targets, by name. What this version of headgate does not
	// understand is left out, and counted in Unknown.
	All     []Target `json:"targets"`
	Unknown int      `json:"unknown,omitempty"`
}

// ReadTargets reads what targets metadata names.
func ReadTargets(signed *metadata.TargetsType) (*Targets, error) {
	if len(signed.Targets) > MaxTargets {
		return nil, fmt.Errorf("targets: %w: %d targets, at most %d", ErrTooLarge, len(signed.Targets), MaxTargets)
	}
	out := &Targets{Version: signed.Version}
	for name, f := range signed.Targets {
		t, err := readTarget(name, f)
		if err != nil {
			out.Unknown++
			continue
		}
		out.All = append(out.All, t)
	}
	slices.SortFunc(out.All, func(a, b Target) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// Want is the newest target that an alias of a function shall point to; false
// leaves the alias alone.
func (t *Targets) Want(name, alias string) (Target, bool) {
	return t.newest(alias, func(r *Release) bool { return r.Kind == Function && r.Function == name })
}

// WantSystem is the same for the gateway's binary.
func (t *Targets) WantSystem(arch string) (Target, bool) {
	return t.newest(Live, func(r *Release) bool { return r.Kind == System && r.Arch == arch })
}

// Functions are the functions that an alias is named for, in order.
func (t *Targets) Functions(alias string) (names []string) {
	for i := range t.All {
		if r := &t.All[i].Release; r.Kind == Function && slices.Contains(r.Aliases, alias) {
			names = append(names, r.Function)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Signed is the target of a kind with this content.
func (t *Targets) Signed(kind Kind, sha256 string) (Target, bool) {
	for _, x := range t.All {
		if x.Kind == kind && x.SHA256 == sha256 {
			return x, true
		}
	}
	return Target{}, false
}

func (t *Targets) newest(alias string, is func(*Release) bool) (found Target, ok bool) {
	for _, x := range t.All {
		if is(&x.Release) && slices.Contains(x.Aliases, alias) && (!ok || x.Published.After(found.Published)) {
			found, ok = x, true
		}
	}
	return found, ok
}

// Aliases are the aliases that are named for functions, live first.
func (t *Targets) Aliases() []string {
	all := []string{Live}
	for i := range t.All {
		if t.All[i].Kind != Function {
			continue
		}
		for _, a := range t.All[i].Aliases {
			if !slices.Contains(all, a) {
				all = append(all, a)
			}
		}
	}
	slices.Sort(all[1:])
	return all
}
