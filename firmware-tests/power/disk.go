package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// disk is what a power cut may leave: for every file what is certainly there,
// and the calls since its last sync, of which any may have arrived, in any order
// and in parts.
//
// A file's bytes are certain after its fsync; that it is there, is gone or has
// another name, after the fsync of its folder.
type disk struct {
	files map[string]*file // by name, as the running process sees them
	names []nameChange     // since the folder's last sync
}

type file struct {
	safe    []byte
	pending []pendingWrite
}

// pendingWrite is one call that is not certain yet.
type pendingWrite struct {
	at int // its place in the trace
	call
}

// nameChange is an opCreate, opUnlink or opRename that is not certain yet.
type nameChange struct {
	at   int
	kind kind
	name string
	to   string
	was  *file // what the name stood for before, or nil
	is   *file
}

// ignored are files whose content means nothing after a restart.
func ignored(name string) bool {
	return strings.HasSuffix(name, "-shm") || strings.HasSuffix(name, ".sock") || strings.HasPrefix(name, "cache/")
}

// newDisk takes everything in the folder as certain.
func newDisk(root string) (*disk, error) {
	d := &disk{files: map[string]*file{}}
	err := filepath.WalkDir(root, func(path string, e os.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil || ignored(name) {
			return err
		}
		data, err := os.ReadFile(path)
		d.files[name] = &file{safe: data}
		return err
	})
	return d, err
}

// apply follows the process by one call.
func (d *disk) apply(at int, c *call) {
	if c.kind == opAnswered || ignored(c.path) {
		return
	}
	switch c.kind {
	case opWrite, opTruncate:
		if f := d.files[c.path]; f != nil {
			f.pending = append(f.pending, pendingWrite{at, *c})
		}
	case opSync:
		d.sync(c)
	case opCreate:
		if d.files[c.path] == nil {
			f := &file{}
			d.names = append(d.names, nameChange{at: at, kind: opCreate, name: c.path, is: f})
			d.files[c.path] = f
		}
	case opUnlink:
		d.names = append(d.names, nameChange{at: at, kind: opUnlink, name: c.path, was: d.files[c.path]})
		delete(d.files, c.path)
	case opRename:
		d.names = append(d.names, nameChange{at: at, kind: opRename, name: c.path, to: c.to, was: d.files[c.to], is: d.files[c.path]})
		d.files[c.to] = d.files[c.path]
		delete(d.files, c.path)
	}
}

func (d *disk) sync(c *call) {
	if f := d.files[c.path]; f != nil {
		n := 0
		for n < len(f.pending) && f.pending[n].at < c.started {
			f.safe = f.pending[n].onto(f.safe)
			n++
		}
		f.pending = slices.Delete(f.pending, 0, n)
		return
	}
	// A folder. A file that moved from another one is there for certain with it.
	d.names = slices.DeleteFunc(d.names, func(n nameChange) bool {
		name := n.name
		if n.kind == opRename {
			name = n.to
		}
		return n.at < c.started && filepath.Dir(name) == filepath.Clean(c.path)
	})
}

// onto does the write, whole.
func (w *pendingWrite) onto(b []byte) []byte {
	if w.kind == opTruncate {
		if n := int(w.offset); n <= len(b) {
			return b[:n]
		}
		return append(b, make([]byte, int(w.offset)-len(b))...)
	}
	end := int(w.offset) + len(w.data)
	if end > len(b) {
		b = append(b, make([]byte, end-len(b))...)
	}
	copy(b[w.offset:], w.data)
	return b
}

// loss is which of the uncertain calls a power cut takes.
type loss struct {
	name string
	// keeps decides for one write; i counts from the oldest of n.
	keeps func(r *rand.Rand, i, n int) bool
	// torn lets only some of a write's 512-byte sectors arrive.
	torn bool
}

var losses = []loss{
	{name: "everything arrived", keeps: func(*rand.Rand, int, int) bool { return true }},
	{name: "nothing arrived", keeps: func(*rand.Rand, int, int) bool { return false }},
	{name: "any arrived", keeps: func(r *rand.Rand, _, _ int) bool { return r.IntN(2) == 0 }},
	{name: "torn", keeps: func(r *rand.Rand, _, _ int) bool { return r.IntN(4) > 0 }, torn: true},
	{name: "only the newest arrived", keeps: func(_ *rand.Rand, i, n int) bool { return i == n-1 }},
	{name: "all but one arrived", keeps: func(r *rand.Rand, _, n int) bool { return r.IntN(n) > 0 }},
}

const sector = 512

// after writes what is on the disk after a power cut to dir.
func (d *disk) after(r *rand.Rand, l *loss, dir string) error {
	for name, f := range d.visible(r, l) {
		b := slices.Clone(f.safe)
		for i := range f.pending {
			w := f.pending[i]
			switch {
			case !l.keeps(r, i, len(f.pending)):
			case l.torn && w.kind == opWrite:
				b = w.inSectors(r, b)
			default:
				b = w.onto(b)
			}
		}
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			return err
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (w *pendingWrite) inSectors(r *rand.Rand, b []byte) []byte {
	for from := 0; from < len(w.data); {
		to := min(len(w.data), from+sector-int(w.offset+int64(from))%sector)
		if r.IntN(4) > 0 {
			part := pendingWrite{call: call{kind: opWrite, offset: w.offset + int64(from), data: w.data[from:to]}}
			b = part.onto(b)
		}
		from = to
	}
	return b
}

// visible is which file each name stands for: the newest changes of names may
// be missing, from any point on.
func (d *disk) visible(r *rand.Rand, l *loss) map[string]*file {
	out := make(map[string]*file, len(d.files))
	for name, f := range d.files {
		out[name] = f
	}
	keep := 0
	for keep < len(d.names) && l.keeps(r, keep, len(d.names)) {
		keep++
	}
	for i := len(d.names) - 1; i >= keep; i-- {
		n := &d.names[i]
		set := func(name string, f *file) {
			if f == nil {
				delete(out, name)
			} else {
				out[name] = f
			}
		}
		switch n.kind {
		case opCreate:
			set(n.name, nil)
		case opUnlink:
			set(n.name, n.was)
		case opRename:
			set(n.name, n.is)
			set(n.to, n.was)
		}
	}
	return out
}

// same compares the disk, with everything arrived, with what is really there:
// the model has missed nothing.
func (d *disk) same(root string) error {
	real, err := newDisk(root)
	if err != nil {
		return err
	}
	for name, f := range d.files {
		was := real.files[name]
		if was == nil {
			return fmt.Errorf("the trace says that %s is there, and it is not", name)
		}
		b := f.whole()
		if i := mismatch(b, was.safe); i >= 0 {
			return fmt.Errorf("the trace does not explain %s from byte %d on (%d bytes, and %d in the trace)", name, i, len(was.safe), len(b))
		}
		delete(real.files, name)
	}
	for name := range real.files {
		return fmt.Errorf("%s is there, and the trace does not say so", name)
	}
	return nil
}

// whole is the file with all its writes.
func (f *file) whole() []byte {
	b := slices.Clone(f.safe)
	for i := range f.pending {
		b = f.pending[i].onto(b)
	}
	return b
}

func mismatch(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	if len(a) != len(b) {
		return min(len(a), len(b))
	}
	return -1
}
