package ota_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/sync/ota"
	"github.com/headgate-io/headgate/sync/ota/repository"
)

// clock is a board's.
type clock struct {
	now   time.Time
	trust event.Trust
}

func (c *clock) Now() time.Time     { return c.now }
func (c *clock) Trust() event.Trust { return c.trust }

var began = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// owner has a repository and all its keys. Its clock is the true one.
type owner struct {
	t   testing.TB
	dir string
	now time.Time
	root, targets,
	online ed25519.PrivateKey
}

var keys atomic.Uint64

func newKey() ed25519.PrivateKey {
	seed := make([]byte, ed25519.SeedSize)
	copy(seed, fmt.Sprint("test key ", keys.Add(1)))
	return ed25519.NewKeyFromSeed(seed)
}

func public(k ed25519.PrivateKey) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }

func newOwner(t testing.TB) *owner {
	t.Helper()
	o := &owner{t: t, dir: t.TempDir(), now: began, root: newKey(), targets: newKey(), online: newKey()}
	r, err := repository.Create(o.dir, func() time.Time { return o.now }, repository.Plan{
		Root: []ed25519.PublicKey{public(o.root)}, Targets: []ed25519.PublicKey{public(o.targets)}, Online: public(o.online),
		RootThreshold: 1, TargetsThreshold: 1,
	})
	o.must(err)
	o.commit(r)
	return o
}

func (o *owner) must(err error) {
	o.t.Helper()
	if err != nil {
		o.t.Fatal(err)
	}
}

func (o *owner) repo() *repository.Repository {
	o.t.Helper()
	r, err := repository.Open(o.dir, func() time.Time { return o.now })
	o.must(err)
	return r
}

func (o *owner) commit(r *repository.Repository) {
	o.t.Helper()
	_, err := r.Sign(o.root, o.targets)
	o.must(err)
	o.must(r.Commit(o.online))
}

// publish signs content as irrigate's live bundle.
func (o *owner) publish(content string) ota.Target {
	o.t.Helper()
	r := o.repo()
	t, err := r.Add(strings.NewReader(content), release(content))
	o.must(err)
	o.commit(r)
	return t
}

// rotateOnline takes the online key from whoever has it.
func (o *owner) rotateOnline() {
	o.t.Helper()
	old, r := o.online, o.repo()
	o.online = newKey()
	o.must(r.ChangeKeys(repository.Change{Role: repository.Online, Add: []ed25519.PublicKey{public(o.online)}, Remove: []ed25519.PublicKey{public(old)}}))
	o.commit(r)
}

func release(content string) ota.Release {
	return ota.Release{Kind: ota.Function, Function: "irrigate", Digest: fmt.Sprintf("%064x", content[:min(len(content), 32)]), Aliases: []string{ota.Live}}
}

// copy is the repository as it is now: what an attacker has kept.
func (o *owner) copy() string {
	o.t.Helper()
	dir := o.t.TempDir()
	o.must(os.CopyFS(dir, os.DirFS(o.dir)))
	return dir
}

// gateway pins the owner's first root and reads from a folder that may be
// another's.
type gateway struct {
	t      testing.TB
	clock  *clock
	cfg    ota.Config
	client *ota.Client
}

func (o *owner) gateway() *gateway {
	o.t.Helper()
	root, err := os.ReadFile(filepath.Join(o.dir, "metadata/1.root.json"))
	o.must(err)
	g := &gateway{t: o.t, clock: &clock{now: o.now, trust: event.TimeSynchronised}}
	g.cfg = ota.Config{Dir: o.t.TempDir(), Root: root, Source: ota.Folder(o.dir), Clock: g.clock}
	g.open()
	return g
}

func (g *gateway) open() {
	g.t.Helper()
	c, err := ota.Open(g.cfg)
	if err != nil {
		g.t.Fatal(err)
	}
	g.client = c
}

// reads has the gateway restarted, and read from another place.
func (g *gateway) reads(s ota.Source) {
	g.t.Helper()
	g.cfg.Source = s
	g.open()
}

func (g *gateway) refresh() (*ota.Targets, error) { return g.client.Refresh(context.Background()) }

// live is the content that the gateway would run, or a fatal fault.
func (g *gateway) live() string {
	g.t.Helper()
	all, err := g.refresh()
	if err != nil {
		g.t.Fatal(err)
	}
	t, ok := all.Want("irrigate", ota.Live)
	if !ok {
		g.t.Fatal("irrigate is not signed")
	}
	file, err := g.client.Fetch(context.Background(), t)
	if err != nil {
		g.t.Fatal(err)
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		g.t.Fatal(err)
	}
	return string(raw)
}

// edit changes a piece of metadata in a folder, and signs it with keys that an
// attacker has.
func edit[T metadata.Roles](t testing.TB, from, to string, change func(*T), with ...ed25519.PrivateKey) []byte {
	t.Helper()
	raw, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	var m metadata.Metadata[T]
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	change(&m.Signed)
	if len(with) > 0 {
		m.Signatures = nil
	}
	for _, key := range with {
		s, err := signature.LoadED25519Signer(key)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Sign(s); err != nil {
			t.Fatal(err)
		}
	}
	if raw, err = json.Marshal(&m); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return raw
}

// nextSet makes of a repository a newer one around targets metadata, signed with
// the online key.
func nextSet(t testing.TB, dir string, targets []byte, version int64, online ed25519.PrivateKey) {
	t.Helper()
	file := func(name string) string { return filepath.Join(dir, "metadata", name) }
	if err := os.WriteFile(file(fmt.Sprintf("%d.targets.json", version)), targets, 0o600); err != nil {
		t.Fatal(err)
	}
	snapshot := edit(t, newest(t, dir, "snapshot"), file("900.snapshot.json"), func(s *metadata.SnapshotType) {
		s.Version, s.Meta["targets.json"] = 900, &metadata.MetaFiles{Version: version}
	}, online)
	edit(t, file("timestamp.json"), file("timestamp.json"), func(s *metadata.TimestampType) {
		s.Version, s.Meta["snapshot.json"] = 900, &metadata.MetaFiles{Version: 900, Length: int64(len(snapshot))}
	}, online)
}

func newest(t testing.TB, dir, role string) string {
	t.Helper()
	for n := 100; n > 0; n-- {
		file := filepath.Join(dir, "metadata", fmt.Sprintf("%d.%s.json", n, role))
		if _, err := os.Stat(file); err == nil {
			return file
		}
	}
	t.Fatalf("no %s in %s", role, dir)
	return ""
}

func read(t testing.TB, file string) []byte {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(raw)
}
