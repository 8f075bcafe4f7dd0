package ota_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/sync/ota"
	"github.com/headgate-io/headgate/sync/ota/repository"
)

// stillSafe shows that what an attack left is good: from the owner's repository
// the gateway gets the owner's newest.
func stillSafe(t *testing.T, g *gateway, o *owner, want string) {
	t.Helper()
	g.reads(ota.Folder(o.dir))
	if got := g.live(); got != want {
		t.Errorf("after the attack the gateway runs %q, want %q", got, want)
	}
}

func wantRefused(t *testing.T, g *gateway, want error) {
	t.Helper()
	if _, err := g.refresh(); !errors.Is(err, want) {
		t.Errorf("refresh: %v, want %v", err, want)
	}
}

// TestForgedMetadata has an attacker who holds no key write what he likes.
func TestForgedMetadata(t *testing.T) {
	for name, forge := range map[string]func(t *testing.T, dir string, thief ed25519.PrivateKey){
		"timestamp": func(t *testing.T, dir string, thief ed25519.PrivateKey) {
			edit(t, dir+"/metadata/timestamp.json", dir+"/metadata/timestamp.json", func(s *metadata.TimestampType) { s.Version = 99 }, thief)
		},
		"timestamp with the old signature": func(t *testing.T, dir string, _ ed25519.PrivateKey) {
			edit(t, dir+"/metadata/timestamp.json", dir+"/metadata/timestamp.json", func(s *metadata.TimestampType) { s.Version = 99 })
		},
		"root": func(t *testing.T, dir string, thief ed25519.PrivateKey) {
			edit(t, dir+"/metadata/1.root.json", dir+"/metadata/2.root.json", func(s *metadata.RootType) {
				s.Version = 2
				k, err := metadata.KeyFromPublicKey(public(thief))
				if err != nil {
					t.Fatal(err)
				}
				for _, role := range []string{"root", "targets", "snapshot", "timestamp"} {
					s.Roles[role].KeyIDs = nil
					if err := s.AddKey(k, role); err != nil {
						t.Fatal(err)
					}
				}
			}, thief)
		},
		"root with no threshold": func(t *testing.T, dir string, thief ed25519.PrivateKey) {
			edit(t, dir+"/metadata/1.root.json", dir+"/metadata/2.root.json", func(s *metadata.RootType) {
				s.Version = 2
				for _, r := range s.Roles {
					r.Threshold = 0
				}
			}, thief)
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOwner(t)
			o.publish("v1")
			g := o.gateway()
			dir := o.copy()
			forge(t, dir, newKey())
			g.reads(ota.Folder(dir))
			wantRefused(t, g, ota.ErrForged)
			if n := g.client.Stats().Forged; n != 1 {
				t.Errorf("%d forgeries were counted", n)
			}
			stillSafe(t, g, o, "v1")
		})
	}
}

// TestReplayedAndRolledBackMetadata serves an older state of the repository,
// whole and well signed, to a gateway that has seen a newer one.
func TestReplayedAndRolledBackMetadata(t *testing.T) {
	o := newOwner(t)
	o.publish("v1")
	old := o.copy()
	o.publish("v2")
	g := o.gateway()
	if got := g.live(); got != "v2" {
		t.Fatalf("runs %q", got)
	}
	g.reads(ota.Folder(old))
	wantRefused(t, g, ota.ErrRollback)
	stillSafe(t, g, o, "v2")

	// Where the online key is stolen the timestamp can be a new one; the
	// snapshot still cannot go back to older targets.
	nextSet(t, old, read(t, newest(t, old, "targets")), 2, o.online)
	g.reads(ota.Folder(old))
	wantRefused(t, g, ota.ErrRollback)
	o.rotateOnline()
	stillSafe(t, g, o, "v2")
}

// TestFrozenMetadata keeps a gateway from hearing of v2: what is served is well
// signed, and expires.
func TestFrozenMetadata(t *testing.T) {
	o := newOwner(t)
	o.publish("v1")
	g := o.gateway()
	g.live()
	frozen := o.copy()
	o.publish("v2")
	g.reads(ota.Folder(frozen))
	if _, err := g.refresh(); err != nil {
		t.Errorf("within its time: %v", err)
	}
	g.clock.now = o.now.Add(repository.TimestampFor + time.Hour)
	wantRefused(t, g, ota.ErrExpired)
	if _, err := g.client.Trusted(context.Background()); !errors.Is(err, ota.ErrExpired) {
		t.Errorf("what was trusted: %v", err)
	}
	o.now = g.clock.now
	if done, err := o.repo().Refresh(o.online); err != nil || !done {
		t.Fatalf("sign the timestamp anew: %v, %v", done, err)
	}
	stillSafe(t, g, o, "v2")
}

// TestMixedUpMetadata puts together what was never signed together.
func TestMixedUpMetadata(t *testing.T) {
	o := newOwner(t)
	o.publish("v1")
	old := o.copy()
	o.publish("v2")
	g := o.gateway()
	mixed := o.copy()
	for _, role := range []string{"snapshot", "targets"} {
		if err := os.WriteFile(newest(t, mixed, role), read(t, newest(t, old, role)), 0o600); err != nil {
			t.Fatal(err)
		}
		g.reads(ota.Folder(mixed))
		wantRefused(t, g, ota.ErrMixed)
		if err := os.WriteFile(newest(t, mixed, role), read(t, newest(t, o.dir, role)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	stillSafe(t, g, o, "v2")
}

// endless answers one path with bytes without end.
type endless struct {
	ota.Source
	path string
	read int64
}

func (e *endless) Open(ctx context.Context, path string, offset int64) (ota.Content, error) {
	if path != e.path {
		return e.Source.Open(ctx, path, offset)
	}
	return ota.Content{Body: e}, nil
}

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	e.read += int64(len(p))
	return len(p), nil
}

func (*endless) Close() error { return nil }

// TestEndlessMetadata has a server that never stops sending.
func TestEndlessMetadata(t *testing.T) {
	o := newOwner(t)
	o.publish("v1")
	g := o.gateway()
	for _, path := range []string{"metadata/2.root.json", "metadata/timestamp.json", "metadata/2.snapshot.json", "metadata/2.targets.json"} {
		e := &endless{Source: ota.Folder(o.dir), path: path}
		g.reads(e)
		wantRefused(t, g, ota.ErrTooLarge)
		if e.read > 5<<20 {
			t.Errorf("%s: %d bytes were read", path, e.read)
		}
	}
	stillSafe(t, g, o, "v1")
}

// TestTruncatedMetadata serves every prefix of each piece of metadata.
func TestTruncatedMetadata(t *testing.T) {
	o := newOwner(t)
	o.publish("v1")
	for _, name := range []string{"timestamp.json", "2.snapshot.json", "2.targets.json", "2.root.json"} {
		whole, err := os.ReadFile(filepath.Join(o.dir, "metadata", name))
		if err != nil { // a second root that is the first, cut off
			whole = read(t, filepath.Join(o.dir, "metadata/1.root.json"))
		}
		g, dir := o.gateway(), o.copy()
		g.reads(ota.Folder(dir))
		for n := 0; n < len(whole); n += 1 + len(whole)/12 {
			if err := os.WriteFile(filepath.Join(dir, "metadata", name), whole[:n], 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := g.refresh(); !errors.Is(err, ota.ErrMalformed) && !errors.Is(err, ota.ErrMixed) {
				t.Errorf("%s, %d of %d bytes: %v", name, n, len(whole), err)
			}
		}
		stillSafe(t, g, o, "v1")
	}
}

// TestNonsenseMetadata is JSON that the library does not expect.
func TestNonsenseMetadata(t *testing.T) {
	o := newOwner(t)
	o.publish("v1")
	g, dir := o.gateway(), o.copy()
	g.reads(ota.Folder(dir))
	for _, raw := range []string{
		"", "null", "[]", "{}", `{"signed":null}`, `{"signed":{"_type":7}}`, `{"signed":{"_type":"timestamp"},"signatures":null}`,
		`{"signed":{"_type":"timestamp","meta":{"snapshot.json":null}},"signatures":[{}]}`, strings.Repeat("[", 9000),
	} {
		if err := os.WriteFile(dir+"/metadata/timestamp.json", []byte(raw), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := g.refresh(); !errors.Is(err, ota.ErrMalformed) && !errors.Is(err, ota.ErrForged) {
			t.Errorf("%.40s: %v", raw, err)
		}
	}
	// The same, signed by a stolen online key.
	edit(t, o.dir+"/metadata/timestamp.json", dir+"/metadata/timestamp.json", func(s *metadata.TimestampType) {
		s.Version, s.Meta = 99, map[string]*metadata.MetaFiles{"snapshot.json": nil}
	}, o.online)
	wantRefused(t, g, ota.ErrMalformed)
	stillSafe(t, g, o, "v1")
}

// TestStolenTargetsKeyIsRotatedOut has a thief sign code with the owner's
// targets key and publish it with the online key; then the owner changes both.
func TestStolenTargetsKeyIsRotatedOut(t *testing.T) {
	o := newOwner(t)
	o.publish("v1")
	stolen, stolenOnline := o.targets, o.online
	evil := o.copy()
	thief := &owner{t: t, dir: evil, now: o.now, root: newKey(), targets: stolen, online: stolenOnline}
	thief.publish("evil")

	g := o.gateway()
	g.reads(ota.Folder(evil))
	if got := g.live(); got != "evil" {
		t.Fatalf("a stolen targets key signs what it likes until it is rotated out, got %q", got)
	}

	o.targets, o.online = newKey(), newKey()
	r := o.repo()
	o.must(r.ChangeKeys(
		repository.Change{Role: repository.Targets, Add: []ed25519.PublicKey{public(o.targets)}, Remove: []ed25519.PublicKey{public(stolen)}},
		repository.Change{Role: repository.Online, Add: []ed25519.PublicKey{public(o.online)}, Remove: []ed25519.PublicKey{public(stolenOnline)}},
	))
	o.commit(r)
	o.publish("v2")
	stillSafe(t, g, o, "v2") // though the thief's versions were as high
	// The new root is enough: nothing that the thief signs counts again.
	for _, name := range []string{"2.root.json", "root.json"} {
		o.must(os.WriteFile(filepath.Join(evil, "metadata", name), read(t, filepath.Join(o.dir, "metadata/2.root.json")), 0o600))
	}
	g.reads(ota.Folder(evil))
	wantRefused(t, g, ota.ErrForged)
	// Nor for a gateway that sees the repository for the first time.
	fresh := o.gateway()
	fresh.reads(ota.Folder(evil))
	wantRefused(t, fresh, ota.ErrForged)
	stillSafe(t, g, o, "v2")
}

// TestStolenOnlineKeyRunsNoCode gives the attacker the snapshot and timestamp
// key and the server: a stolen controller.
func TestStolenOnlineKeyRunsNoCode(t *testing.T) {
	o := newOwner(t)
	o.publish("v1")
	g := o.gateway()
	g.live()
	dir := o.copy()
	// He signs targets with the only key that he has.
	raw := edit(t, newest(t, dir, "targets"), filepath.Join(dir, "metadata/50.targets.json"), func(s *metadata.TargetsType) {
		s.Version = 50
	}, o.online)
	nextSet(t, dir, raw, 50, o.online)
	g.reads(ota.Folder(dir))
	wantRefused(t, g, ota.ErrForged)
	// His timestamp counts until his key is rotated out: he can keep a gateway
	// from what is new, and then no longer.
	o.rotateOnline()
	stillSafe(t, g, o, "v1")

	// He puts other bytes under the name of a signed target.
	dir = o.copy()
	all, err := g.refresh()
	if err != nil {
		t.Fatal(err)
	}
	target, _ := all.Want("irrigate", ota.Live)
	o.must(g.client.Drop(target))
	for _, content := range []string{"no", "evil", "v1 and more"} {
		o.must(os.WriteFile(filepath.Join(dir, target.Path()), []byte(content), 0o600))
		g.reads(ota.Folder(dir))
		if file, err := g.client.Fetch(context.Background(), target); err == nil {
			t.Errorf("%q was taken, in %s", content, file)
		}
	}
	stillSafe(t, g, o, "v1")
}

// TestThreshold has two of three holders sign, and one.
func TestThreshold(t *testing.T) {
	o := newOwner(t)
	bob, eve := newKey(), newKey()
	r := o.repo()
	o.must(r.ChangeKeys(repository.Change{Role: repository.Targets, Add: []ed25519.PublicKey{public(bob), public(eve)}, Threshold: 2}))
	if _, err := r.Sign(o.root, o.targets); err != nil {
		t.Fatal(err)
	}
	if err := r.Commit(o.online); !errors.Is(err, repository.ErrUnsigned) {
		t.Fatalf("one of two: %v", err)
	}
	// The next holder does it on another day.
	r = o.repo()
	if n, err := r.Sign(bob); err != nil || n != 1 {
		t.Fatalf("bob signed %d, %v", n, err)
	}
	if n, err := r.Sign(bob); err != nil || n != 0 {
		t.Fatalf("again, bob signed %d, %v", n, err)
	}
	o.must(r.Commit(o.online))
	r = o.repo()
	_, err := r.Add(strings.NewReader("v1"), release("v1"))
	o.must(err)
	_, err = r.Sign(o.targets, eve)
	o.must(err)
	o.must(r.Commit(o.online))
	g := o.gateway()
	if got := g.live(); got != "v1" {
		t.Fatalf("runs %q", got)
	}
	// One alone, behind the repository's back.
	raw := edit(t, newest(t, o.dir, "targets"), filepath.Join(t.TempDir(), "x"), func(s *metadata.TargetsType) { s.Version = 60 }, eve)
	dir := o.copy()
	nextSet(t, dir, raw, 60, o.online)
	g.reads(ota.Folder(dir))
	wantRefused(t, g, ota.ErrForged)
	// Nor the same one twice: that is no metadata at all.
	raw = edit(t, newest(t, o.dir, "targets"), filepath.Join(t.TempDir(), "x"), func(s *metadata.TargetsType) { s.Version = 60 }, eve, eve)
	nextSet(t, dir, raw, 60, o.online)
	wantRefused(t, g, ota.ErrMalformed)
	o.rotateOnline()
	stillSafe(t, g, o, "v1")
}

// TestClock decides by how far the clock can be relied on.
func TestClock(t *testing.T) {
	o := newOwner(t)
	o.publish("v1")
	g := o.gateway()
	g.clock.trust, g.clock.now = event.TimeUnknown, time.Unix(0, 0)
	wantRefused(t, g, ota.ErrClock)
	// Far ahead, and unknown: not taken for expired, nor for fresh.
	g.clock.now = o.now.AddDate(50, 0, 0)
	wantRefused(t, g, ota.ErrClock)
	// Changed keys count all the same: a stolen one is of no use any more.
	old := o.targets
	o.targets = newKey()
	r := o.repo()
	o.must(r.ChangeKeys(repository.Change{Role: repository.Targets, Add: []ed25519.PublicKey{public(o.targets)}, Remove: []ed25519.PublicKey{public(old)}}))
	o.commit(r)
	wantRefused(t, g, ota.ErrClock)
	g.clock.trust, g.clock.now = event.TimeEstimated, o.now
	all, err := g.refresh()
	if err != nil || all.Root != 2 {
		t.Fatalf("with an estimate: %+v, %v", all, err)
	}
	// The estimate counts on: nothing is fresh for ever.
	g.clock.now = o.now.Add(repository.TimestampFor + time.Minute)
	wantRefused(t, g, ota.ErrExpired)
}

// TestRootsAfterYears brings a gateway back that missed five changes of keys,
// and the ends of all that it knows.
func TestRootsAfterYears(t *testing.T) {
	o := newOwner(t)
	o.publish("v1")
	g := o.gateway()
	g.live()
	for range 5 {
		o.now = o.now.AddDate(1, 0, 0)
		r := o.repo()
		old := o.root
		o.root = newKey()
		o.must(r.ChangeKeys(repository.Change{Role: repository.Root, Add: []ed25519.PublicKey{public(o.root)}, Remove: []ed25519.PublicKey{public(old)}}))
		if _, err := r.Sign(old); err != nil {
			t.Fatal(err)
		}
		o.must(r.Renew())
		if _, err := r.Sign(old); err != nil {
			t.Fatal(err)
		}
		o.commit(r)
	}
	o.publish("v6")
	g.clock.now = o.now
	if got := g.live(); got != "v6" {
		t.Errorf("runs %q", got)
	}
}

// TestPin lets nobody but the owner's configuration change whom a gateway
// believes.
func TestPin(t *testing.T) {
	mine, other := newOwner(t), newOwner(t)
	dir := t.TempDir()
	root, otherRoot := read(t, mine.dir+"/metadata/root.json"), read(t, other.dir+"/metadata/root.json")
	if _, err := ota.Open(ota.Config{Dir: dir}); !errors.Is(err, ota.ErrNoRoot) {
		t.Errorf("without a root: %v", err)
	}
	if err := ota.Pin(dir, []byte("{}")); !errors.Is(err, ota.ErrMalformed) && !errors.Is(err, ota.ErrForged) {
		t.Errorf("nonsense: %v", err)
	}
	for range 2 {
		if err := ota.Pin(dir, root); err != nil {
			t.Fatal(err)
		}
	}
	if err := ota.Pin(dir, otherRoot); !errors.Is(err, ota.ErrPinned) {
		t.Errorf("another root at a second enrolment: %v", err)
	}
	if !ota.Pinned(dir) {
		t.Error("it is not pinned")
	}
	// The configuration may: what was trusted is forgotten.
	mine.publish("mine")
	other.publish("other")
	g := mine.gateway()
	g.live()
	g.cfg.Root = otherRoot
	g.reads(ota.Folder(other.dir))
	if got := g.live(); got != "other" {
		t.Errorf("runs %q", got)
	}
}

// TestPowerCutAtEveryWrite ends a refresh at each of its writes, and before the
// rename of each: the next one goes on from what is there.
func TestPowerCutAtEveryWrite(t *testing.T) {
	o := newOwner(t)
	o.publish("v1")
	g := o.gateway()
	g.live()
	r := o.repo()
	o.must(r.Renew())
	o.commit(r)
	o.publish("v2")
	before := t.TempDir()
	o.must(os.CopyFS(before, os.DirFS(g.cfg.Dir)))
	for cut := range 5 {
		dir := t.TempDir()
		o.must(os.CopyFS(dir, os.DirFS(before)))
		g.cfg.Dir = dir
		g.open()
		writes := 0
		ota.ReplaceWith(g.client, func(file string, content []byte) error {
			if writes++; writes > cut {
				// What durable.Replace leaves when the power goes.
				return errors.Join(os.WriteFile(file+".new", content[:len(content)/2], 0o600), io.ErrClosedPipe)
			}
			return os.WriteFile(file, content, 0o600)
		})
		_, err := g.refresh()
		if cut < 4 && !errors.Is(err, io.ErrClosedPipe) || cut == 4 && err != nil {
			t.Fatalf("cut after %d writes: %v", cut, err)
		}
		g.open()
		if got := g.live(); got != "v2" {
			t.Errorf("cut after %d writes: runs %q", cut, got)
		}
	}
}

// TestDamagedFiles has the disk lose each file of what is trusted.
func TestDamagedFiles(t *testing.T) {
	o := newOwner(t)
	o.publish("v1")
	for _, name := range []string{"root.json", "timestamp.json", "snapshot.json", "targets.json"} {
		for _, content := range []string{"", "\x00\x00\x00", "{}"} {
			g := o.gateway()
			g.live()
			o.must(os.WriteFile(filepath.Join(g.cfg.Dir, name), []byte(content), 0o600))
			stillSafe(t, g, o, "v1")
		}
	}
}
