package content

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/headgate-io/headgate/sync/ota/repository"
)

// ErrRefused is wrapped by what the owner has to mend.
var ErrRefused = errors.New("refused")

// ErrChanged is a change of what is not the newest any more: to be made again of
// what is.
var ErrChanged = repository.ErrChanged

// ErrFirst is a first root from somebody who may not decide whom gateways
// believe.
var ErrFirst = errors.New("the first root decides whom the gateways believe: it takes a token with the scope content:init")

type refusal struct{ text string }

func (r *refusal) Error() string        { return r.text }
func (r *refusal) Is(target error) bool { return target == ErrRefused }

func refuse(format string, args ...any) error { return &refusal{fmt.Sprintf(format, args...)} }

// open opens a tenant's repository, where there is none an empty one.
func (k *Keeper) open(tenant string) (*repository.Repository, error) {
	dir := filepath.Join(k.dir, tenant)
	if _, err := os.Stat(filepath.Join(dir, "metadata")); errors.Is(err, fs.ErrNotExist) {
		return repository.Empty(dir, k.now)
	}
	return repository.Open(dir, k.now)
}

// View is a repository as somebody sees it who is going to change it.
type View struct {
	repository.Files
	// Roots are those after the version that was asked from, in order.
	Roots [][]byte
}

// maxRoots bounds the roots of one View.
const maxRoots = 64

// View reads a tenant's repository, with the roots after version after.
func (k *Keeper) View(tenant string, after int64) (v View, err error) {
	k.changing.Lock()
	defer k.changing.Unlock()
	r, err := k.open(tenant)
	if err != nil {
		return v, err
	}
	if v.Files, err = r.Files(); err != nil {
		return v, err
	}
	for n := after + 1; len(v.Roots) < maxRoots; n++ {
		raw, err := os.ReadFile(filepath.Join(k.dir, tenant, "metadata", fmt.Sprintf("%d.root.json", n)))
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return v, err
		}
		v.Roots = append(v.Roots, raw)
	}
	return v, nil
}

// Change is metadata that an owner has signed.
type Change struct {
	// Base is the state (repository.Files.State) that it was made of.
	Base          string
	Root, Targets []byte
	// Init permits a first root.
	Init bool
}

// Outcome is what became of a change.
type Outcome struct {
	// Published says that gateways get it; otherwise it waits for signatures, or
	// for the online key.
	Published bool
	Waiting   []repository.Waiting
	// Root and Targets are the versions of what is published.
	Root, Targets int64
}

// Take verifies what an owner has signed against what is published, and publishes
// it where it has all of its signatures. Otherwise it is staged.
func (k *Keeper) Take(tenant string, c Change) (out Outcome, err error) {
	k.changing.Lock()
	defer k.changing.Unlock()
	defer func() {
		k.count(func(s *Stats) {
			if err != nil {
				s.Refused++
			} else if out.Published {
				s.Published++
			}
		})
	}()
	r, err := k.open(tenant)
	if err != nil {
		return out, err
	}
	keys, err := k.keys()
	if err != nil {
		return out, err
	}
	files, err := r.Files()
	if err != nil {
		return out, err
	}
	if r.First() && !c.Init && !r.Stages(c.Root) {
		return out, ErrFirst
	}
	fresh := files.State() == c.Base
	done, err := r.Take(c.Root, c.Targets)
	switch {
	case done: // an answer was lost, or the database had the request run again
		return outcome(r, true), nil
	case !fresh:
		return out, errors.Join(ErrChanged, r.Restage(&files))
	case errors.Is(err, repository.ErrInvalid), errors.Is(err, repository.ErrUnsigned):
		return out, refuse("%v", err)
	case err != nil:
		return out, err
	}
	if err := k.uploaded(tenant, r); err != nil {
		return out, errors.Join(err, r.Restage(&files))
	}
	if !r.Complete() {
		return outcome(r, false), nil
	}
	key := keys.of(tenant, r)
	if key == nil {
		return out, errors.Join(refuse("the root does not name an online key of this controller ('headgate keys init' and 'headgate keys rotate online' ask it for one)"), r.Restage(&files))
	}
	if err := k.place(tenant, r); err != nil {
		return out, err
	}
	if err := r.Commit(key); err != nil {
		return out, err
	}
	k.log.Info("published", "tenant", tenant, "root", r.RootVersion(), "targets", r.TargetsVersion())
	return outcome(r, true), nil
}

func outcome(r *repository.Repository, published bool) Outcome {
	return Outcome{Published: published, Waiting: r.Waiting(), Root: r.RootVersion(), Targets: r.TargetsVersion()}
}

// Discard throws away what waits for signatures in a tenant's repository.
func (k *Keeper) Discard(tenant string) error {
	k.changing.Lock()
	defer k.changing.Unlock()
	r, err := k.open(tenant)
	if err != nil {
		return err
	}
	return r.Discard()
}
