package content_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/cjson"

	"github.com/headgate-io/headgate/controller/content"
	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/sync/ota"
	"github.com/headgate-io/headgate/sync/ota/keyring"
	"github.com/headgate-io/headgate/sync/ota/repository"
)

const tenant = "acmeacme"

// rig is a controller's content and the owner of a tenant's repository, who
// works elsewhere.
type rig struct {
	t       *testing.T
	dir     string
	keeper  *content.Keeper
	now     time.Time
	root    ed25519.PrivateKey
	targets ed25519.PrivateKey
}

func seeded(n byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize))
}

func publicOf(k ed25519.PrivateKey) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }

func newRig(t *testing.T) *rig {
	r := &rig{t: t, dir: t.TempDir(), now: time.Now(), root: seeded(1), targets: seeded(2)}
	r.keeper = content.New(r.dir, keyring.Ring{Dir: t.TempDir()}, r.clock, slog.New(slog.DiscardHandler))
	return r
}

func (r *rig) clock() time.Time { return r.now }

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// create is a repository on the owner's machine with the controller's online key.
func (r *rig) create(threshold int, more ...ed25519.PrivateKey) *repository.Repository {
	r.t.Helper()
	key, err := r.keeper.OnlineKey(tenant)
	r.must(err)
	online, err := keyring.ParsePublic(key)
	r.must(err)
	p := repository.Plan{
		Root: []ed25519.PublicKey{publicOf(r.root)}, Targets: []ed25519.PublicKey{publicOf(r.targets)}, Online: online, RootThreshold: 1, TargetsThreshold: threshold,
	}
	for _, k := range more {
		p.Targets = append(p.Targets, publicOf(k))
	}
	repo, err := repository.Create(r.t.TempDir(), r.clock, p)
	r.must(err)
	_, err = repo.Sign(r.root, r.targets)
	r.must(err)
	return repo
}

// send hands over what is staged in a repository elsewhere.
func (r *rig) send(repo *repository.Repository, base string, change func(*content.Change)) (content.Outcome, error) {
	r.t.Helper()
	files, err := repo.Files()
	r.must(err)
	c := content.Change{Base: base, Root: files.StagedRoot, Targets: files.StagedTargets, Init: true}
	if change != nil {
		change(&c)
	}
	return r.keeper.Take(tenant, c)
}

func (r *rig) state() string {
	r.t.Helper()
	v, err := r.keeper.View(tenant, 0)
	r.must(err)
	return v.State()
}

// begin publishes the first root.
func (r *rig) begin() {
	r.t.Helper()
	out, err := r.send(r.create(1), r.state(), nil)
	if err != nil || !out.Published || out.Root != 1 || out.Targets != 1 {
		r.t.Fatal(out, err)
	}
}

// download is the repository elsewhere, as it is now, and its state.
func (r *rig) download() (*repository.Repository, string) {
	r.t.Helper()
	v, err := r.keeper.View(tenant, 0)
	r.must(err)
	dir := r.t.TempDir()
	r.must(v.Write(dir))
	repo, err := repository.Open(dir, r.clock)
	r.must(err)
	return repo, v.State()
}

// add uploads content and stages it elsewhere, signed by keys.
func (r *rig) add(repo *repository.Repository, text string, keys ...ed25519.PrivateKey) ota.Target {
	r.t.Helper()
	t, err := repo.Add(strings.NewReader(text), ota.Release{Kind: ota.Function, Function: "irrigate", Digest: fmt.Sprintf("%x", sha256.Sum256([]byte(text))), Aliases: []string{ota.Live}})
	r.must(err)
	_, err = repo.Sign(keys...)
	r.must(err)
	r.must(r.keeper.Upload(tenant, t.SHA256, strings.NewReader(text)))
	return t
}

type synchronised struct{ *rig }

func (s synchronised) Now() time.Time   { return s.now }
func (synchronised) Trust() event.Trust { return event.TimeSynchronised }

// gateway is what a gateway finds signed that has pinned the first root.
func (r *rig) gateway() (*ota.Client, *ota.Targets) {
	r.t.Helper()
	root, err := os.ReadFile(filepath.Join(r.dir, tenant, "metadata/1.root.json"))
	r.must(err)
	c, err := ota.Open(ota.Config{Dir: r.t.TempDir(), Root: root, Clock: synchronised{r}, Source: ota.Folder(filepath.Join(r.dir, tenant))})
	r.must(err)
	all, err := c.Refresh(r.t.Context())
	r.must(err)
	return c, all
}

// What an owner signs elsewhere is what gateways take; the key that says how new
// it is was made by the controller and stays there.
func TestPublishFromElsewhere(t *testing.T) {
	r := newRig(t)
	r.begin()
	repo, base := r.download()
	want := r.add(repo, "version one", r.targets)
	out, err := r.send(repo, base, nil)
	if err != nil || !out.Published || out.Targets != 2 || len(out.Waiting) != 0 {
		t.Fatal(out, err)
	}
	c, all := r.gateway()
	got, ok := all.Want("irrigate", ota.Live)
	if !ok || got.Name != want.Name {
		t.Fatalf("%+v", all)
	}
	if _, err := c.Fetch(context.Background(), got); err != nil {
		t.Error(err)
	}
	// The same again, because the answer was lost: done once.
	if out, err := r.send(repo, base, nil); err != nil || !out.Published || out.Targets != 2 {
		t.Error(out, err)
	}
	left, err := os.ReadDir(filepath.Join(r.dir, tenant, "staged/uploads"))
	if err != nil || len(left) != 0 {
		t.Error(left, err)
	}
	if s := r.keeper.Stats(); s.Published != 3 || s.Refused != 0 || s.Uploaded == 0 {
		t.Errorf("%+v", s)
	}
}

// Two publishers at once: one is told, and makes the change again of what is.
func TestTwoPublishers(t *testing.T) {
	r := newRig(t)
	r.begin()
	one, base := r.download()
	two, same := r.download()
	r.add(one, "one", r.targets)
	r.add(two, "two", r.targets)
	if _, err := r.send(one, base, nil); err != nil {
		t.Fatal(err)
	}
	if out, err := r.send(two, same, nil); !errors.Is(err, content.ErrRefused) && !errors.Is(err, content.ErrChanged) {
		t.Fatal(out, err)
	}
	two, base = r.download()
	r.add(two, "two", r.targets)
	if out, err := r.send(two, base, nil); err != nil || out.Targets != 3 {
		t.Fatal(out, err)
	}
	if _, all := r.gateway(); len(all.All) != 2 {
		t.Errorf("%+v", all.All)
	}
}

// The signatures of several holders are collected at the controller; who holds a
// token alone can take none of them away.
func TestHoldersSignAtTheController(t *testing.T) {
	r := newRig(t)
	bob := seeded(3)
	out, err := r.send(r.create(2, bob), r.state(), nil)
	if err != nil || out.Published || len(out.Waiting) != 2 {
		t.Fatal(out, err)
	}
	repo, base := r.download()
	if got := repo.Unknown([]string{keyID(t, bob)}); len(got) != 2 {
		t.Errorf("bob has signed nothing of it, and is asked about %v", got)
	}
	if _, err := repo.Sign(bob); err != nil {
		t.Fatal(err)
	}
	if out, err := r.send(repo, base, func(c *content.Change) { c.Init = false }); err != nil || !out.Published {
		t.Fatal(out, err)
	}
	repo, base = r.download()
	r.add(repo, "by two", r.targets)
	if out, err := r.send(repo, base, nil); err != nil || out.Published || len(out.Waiting) != 1 || out.Waiting[0].Missing == "" {
		t.Fatal(out, err)
	}
	// The first signature again with rubbish beside it, which must not stand in
	// the way of the real one.
	repo, base = r.download()
	if out, err := r.send(repo, base, func(c *content.Change) { c.Targets = signedFor(t, c.Targets, keyID(t, bob), "00") }); err != nil || out.Published {
		t.Fatal(out, err)
	}
	repo, base = r.download()
	changes, err := repo.Changes()
	if err != nil || len(changes) != 1 || !strings.Contains(changes[0], "new target functions/irrigate/") {
		t.Error(changes, err)
	}
	if n, err := repo.Sign(bob); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if out, err := r.send(repo, base, nil); err != nil || !out.Published {
		t.Fatal(out, err)
	}
	r.gateway()
}

func keyID(t *testing.T, k ed25519.PrivateKey) string {
	t.Helper()
	id, err := repository.KeyID(publicOf(k))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// signedFor adds a signature that is none.
func signedFor(t *testing.T, raw []byte, id, sig string) []byte {
	t.Helper()
	return edited(t, raw, func(m map[string]any) {
		all, _ := m["signatures"].([]any)
		m["signatures"] = append(all, map[string]any{"keyid": id, "sig": sig})
	})
}

func edited(t *testing.T, raw []byte, change func(map[string]any)) []byte {
	t.Helper()
	var m map[string]any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&m); err != nil {
		t.Fatal(err)
	}
	change(m)
	out, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// resigned signs targets metadata after an edit of what is signed.
func resigned(t *testing.T, raw []byte, key ed25519.PrivateKey, change func(map[string]any)) []byte {
	t.Helper()
	return edited(t, raw, func(m map[string]any) {
		signed := m["signed"].(map[string]any)
		change(signed)
		canonical, err := cjson.EncodeCanonical(signed)
		if err != nil {
			t.Fatal(err)
		}
		m["signatures"] = []any{map[string]any{"keyid": keyID(t, key), "sig": fmt.Sprintf("%x", ed25519.Sign(key, canonical))}}
	})
}

// Whoever holds a token and no targets key publishes nothing; nor does a holder
// publish what gateways would refuse.
func TestAttacksOnPublishing(t *testing.T) {
	r := newRig(t)
	r.begin()
	repo, base := r.download()
	first, err := repo.Files()
	r.must(err)
	r.add(repo, "good", r.targets)
	if _, err := r.send(repo, base, nil); err != nil {
		t.Fatal(err)
	}
	repo, base = r.download()
	good := r.add(repo, "better", r.targets)
	next, err := repo.Files()
	r.must(err)
	thief := seeded(66)
	stolen := func() *repository.Repository {
		mine, _ := r.download()
		r.must(mine.ChangeKeys(
			repository.Change{Role: repository.Root, Add: []ed25519.PublicKey{publicOf(thief)}, Remove: []ed25519.PublicKey{publicOf(r.root)}},
			repository.Change{Role: repository.Targets, Add: []ed25519.PublicKey{publicOf(thief)}, Remove: []ed25519.PublicKey{publicOf(r.targets)}},
		))
		_, err := mine.Sign(thief)
		r.must(err)
		return mine
	}
	ownRoot, err := stolen().Files()
	r.must(err)
	foreign, _ := r.download()
	other, err := r.keeper.OnlineKey("otherotr")
	r.must(err)
	otherKey, err := keyring.ParsePublic(other)
	r.must(err)
	r.must(foreign.ChangeKeys(repository.Change{Role: repository.Online, Add: []ed25519.PublicKey{otherKey}}))
	r.must(foreign.ChangeKeys(repository.Change{Role: repository.Online, Remove: []ed25519.PublicKey{r.online(repo)}}))
	_, err = foreign.Sign(r.root)
	r.must(err)
	foreignRoot, err := foreign.Files()
	r.must(err)
	sign := func(change func(map[string]any)) []byte {
		return resigned(t, next.StagedTargets, r.targets, change)
	}
	cases := []struct {
		name          string
		root, targets []byte
		want          string
	}{
		{"unsigned", nil, edited(t, next.StagedTargets, func(m map[string]any) { m["signatures"] = []any{} }), "no key that counts has signed it"},
		{"signed by a key that may not", nil, resigned(t, next.StagedTargets, thief, func(map[string]any) {}), "no key that counts has signed it"},
		{"changed after it was signed", nil, edited(t, next.StagedTargets, func(m map[string]any) { m["signed"].(map[string]any)["x"] = 1 }), "no key that counts has signed it"},
		{"replayed from before", nil, first.Targets, "does not follow"},
		{"a version that skips some", nil, sign(func(m map[string]any) { m["version"] = 1 << 20 }), "does not follow"},
		{"expired", nil, sign(func(m map[string]any) { m["expires"] = "2020-01-01T00:00:00Z" }), "expired"},
		{"delegations", nil, sign(func(m map[string]any) { m["delegations"] = map[string]any{"keys": map[string]any{}, "roles": []any{}} }), "delegations"},
		{"a target that is not here", nil, sign(func(m map[string]any) {
			entry(m, good.Name)["hashes"] = map[string]any{"sha256": strings.Repeat("07", 32)}
		}), "upload it before"},
		{"a target with another length", nil, sign(func(m map[string]any) { entry(m, good.Name)["length"] = 7 }), "upload it before"},
		{"a root that its own keys alone have signed", ownRoot.StagedRoot, ownRoot.StagedTargets, "no key that counts has signed it"},
		{"a root with another tenant's online key", foreignRoot.StagedRoot, nil, "does not name an online key"},
		{"a snapshot for a root", next.Snapshot, nil, "not a change of this repository"},
		{"rubbish", []byte("{}"), []byte(`{"signed":{"_type":"targets"},"signatures":[]}`), "not a change of this repository"},
		{"a malformed key", edited(t, ownRoot.StagedRoot, func(m map[string]any) {
			m["signed"].(map[string]any)["keys"] = map[string]any{"x": nil}
		}), nil, "not a change of this repository"},
		{"nothing", nil, nil, "neither"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			before := r.state()
			out, err := r.keeper.Take(tenant, content.Change{Base: before, Root: c.root, Targets: c.targets, Init: true})
			if !errors.Is(err, content.ErrRefused) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%+v, %v: want a refusal with %q", out, err, c.want)
			}
			if r.state() != before {
				t.Error("it has left something behind")
			}
		})
	}
	if _, all := r.gateway(); all.Version != 2 || len(all.All) != 1 {
		t.Errorf("gateways see %+v", all)
	}
	if out, err := r.send(repo, base, nil); err != nil || !out.Published {
		t.Error(out, err)
	}
}

func entry(signed map[string]any, name string) map[string]any {
	return signed["targets"].(map[string]any)[name].(map[string]any)
}

// online is the public key that the published root has for it.
func (r *rig) online(repo *repository.Repository) ed25519.PublicKey {
	r.t.Helper()
	for _, k := range repo.Keys() {
		if k.Role == repository.Online {
			key, err := repo.Public(k.IDs[0])
			r.must(err)
			return key
		}
	}
	r.t.Fatal("no online key")
	return nil
}

// The first root decides whom gateways believe: not everybody may bring it, nor
// put another in its place while it waits for signatures.
func TestFirstRootTakesARight(t *testing.T) {
	r := newRig(t)
	repo := r.create(2, seeded(3))
	without := func(c *content.Change) { c.Init = false }
	if _, err := r.send(repo, r.state(), without); !errors.Is(err, content.ErrFirst) {
		t.Error(err)
	}
	if out, err := r.send(repo, r.state(), nil); err != nil || out.Published {
		t.Fatal(out, err)
	}
	r.root, r.targets = seeded(66), seeded(67)
	if _, err := r.send(r.create(1), r.state(), without); !errors.Is(err, content.ErrFirst) {
		t.Error(err)
	}
}

// What has another digest, or has no end, is not kept, nor is more than may
// wait.
func TestUploadsAreBounded(t *testing.T) {
	r := newRig(t)
	sum := func(s string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(s))) }
	for name, try := range map[string]func() error{
		"another digest": func() error { return r.keeper.Upload(tenant, sum("a"), strings.NewReader("b")) },
		"no digest":      func() error { return r.keeper.Upload(tenant, "../../x", strings.NewReader("b")) },
		"without end":    func() error { return r.keeper.Upload(tenant, sum("a"), endless{}) },
	} {
		if err := try(); !errors.Is(err, content.ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var last error
	n := 0
	for ; n < 100 && last == nil; n++ {
		text := fmt.Sprint(n)
		last = r.keeper.Upload(tenant, sum(text), strings.NewReader(text))
	}
	if !errors.Is(last, content.ErrRefused) || n < 10 {
		t.Errorf("after %d: %v", n, last)
	}
	// What nothing named in time makes room.
	r.now = r.now.Add(8 * 24 * time.Hour)
	r.keeper.Keep()
	if err := r.keeper.Upload(tenant, sum("again"), strings.NewReader("again")); err != nil || r.keeper.Stats().Swept < 10 {
		t.Error(err, r.keeper.Stats())
	}
}

// What a killed upload has left is removed at the next look, and never one that is
// under way, however slow.
func TestPartsOfKilledUploads(t *testing.T) {
	r := newRig(t)
	slow, write := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- r.keeper.Upload(tenant, fmt.Sprintf("%x", sha256.Sum256([]byte("slow"))), slow) }()
	if _, err := write.Write([]byte("sl")); err != nil { // it has a file from here on
		t.Fatal(err)
	}
	folder := filepath.Join(r.dir, tenant, "staged", "uploads")
	dead := filepath.Join(folder, ".part-dead")
	r.must(os.WriteFile(dead, []byte("half"), 0o600))
	r.now = r.now.Add(9 * 24 * time.Hour)
	// Another replica's look is the same.
	content.New(r.dir, keyring.Ring{Dir: t.TempDir()}, r.clock, slog.New(slog.DiscardHandler)).Keep()
	if _, err := os.Stat(dead); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what was killed is there: %v", err)
	}
	_, err := write.Write([]byte("ow"))
	if err := errors.Join(err, write.Close(), <-ended); err != nil {
		t.Errorf("the one that is under way: %v", err)
	}
	left, err := os.ReadDir(folder)
	if err != nil || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

// A power cut while it is published: the next look publishes it whole.
func TestPublishAfterAPowerCut(t *testing.T) {
	r := newRig(t)
	r.begin()
	repo, _ := r.download()
	r.must(repo.ChangeKeys(repository.Change{Role: repository.Root, Add: []ed25519.PublicKey{publicOf(seeded(9))}}))
	r.add(repo, "one", r.root, r.targets)
	files, err := repo.Files()
	r.must(err)
	// The root is there, the targets are, the timestamp is the one before.
	dir := filepath.Join(r.dir, tenant)
	for name, raw := range map[string][]byte{
		"staged/root.json": files.StagedRoot, "staged/targets.json": files.StagedTargets, "metadata/2.targets.json": files.StagedTargets,
		"metadata/2.root.json": files.StagedRoot, "metadata/root.json": files.StagedRoot,
	} {
		r.must(os.WriteFile(filepath.Join(dir, name), raw, 0o600))
	}
	r.keeper.Keep()
	c, all := r.gateway()
	if all.Version != 2 || all.Root != 2 || len(all.All) != 1 {
		t.Fatalf("gateways see %+v", all)
	}
	if _, err := c.Fetch(t.Context(), all.All[0]); err != nil {
		t.Error(err)
	}
	if v, err := r.keeper.View(tenant, 1); err != nil || len(v.StagedRoot)+len(v.StagedTargets) != 0 || len(v.Roots) != 1 {
		t.Errorf("%+v, %v", v, err)
	}
	if s := r.keeper.Stats(); s.Failed != 0 {
		t.Errorf("%+v", s)
	}
}
