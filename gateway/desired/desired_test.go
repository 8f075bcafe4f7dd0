package desired_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hpke"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headgate-io/headgate/gateway/desired"
	"github.com/headgate-io/headgate/sync/ota"
	"github.com/headgate-io/headgate/sync/wire"
)

var (
	errGone = errors.New("not there")
	errCut  = errors.New("the power is gone")
)

// disk is what outlives a power cut: the record, the vault, and nothing of the
// functions' configuration, which the record brings back. Each change may be the
// last one, or the first that is lost.
type disk struct {
	mu sync.Mutex // guards all of it

	facts, vault   map[string][]byte
	config         map[string]string
	changes, cutAt int
	written        int // bytes of facts
	after, dark    bool
	misfit         string
}

func newDisk() *disk {
	return &disk{facts: map[string][]byte{}, vault: map[string][]byte{}, config: map[string]string{}}
}

func (d *disk) change(do func()) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dark {
		return errCut
	}
	if d.changes++; d.changes == d.cutAt {
		if d.dark = true; d.after {
			do()
		}
		return errCut
	}
	do()
	return nil
}

func (d *disk) Meta(_ context.Context, key string) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if v, ok := d.facts[key]; ok {
		return v, nil
	}
	return nil, errGone
}

func (d *disk) SetMeta(_ context.Context, key string, v []byte) error {
	return d.change(func() { d.facts[key] = bytes.Clone(v); d.written += len(v) })
}

func (d *disk) Has(function, name string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.vault[function+"/"+name] != nil
}

func (d *disk) Set(_ context.Context, function, name string, v []byte) error {
	return d.change(func() { d.vault[function+"/"+name] = bytes.Clone(v) })
}

func (d *disk) Remove(_ context.Context, function, name string) error {
	if !d.Has(function, name) {
		return errGone
	}
	return d.change(func() { delete(d.vault, function+"/"+name) })
}

func (d *disk) Configure(_ context.Context, name string, overlay []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.misfit == name {
		return fmt.Errorf("%s: it does not fit", name)
	}
	if d.config[name] = string(overlay); len(overlay) == 0 {
		delete(d.config, name)
	}
	return nil
}

// rig is a follower on a disk.
type rig struct {
	*testing.T
	*disk
	key     *ecdsa.PrivateKey
	member  string
	f       *desired.Follower
	reports int
	stop    func()
}

func newRig(t *testing.T, d *disk, key *ecdsa.PrivateKey) *rig {
	t.Helper()
	return newMember(t, d, key, "gw")
}

func newMember(t *testing.T, d *disk, key *ecdsa.PrivateKey, member string) *rig {
	t.Helper()
	r := &rig{T: t, disk: d, key: key, member: member}
	var err error
	r.f, err = desired.Open(t.Context(), desired.Config{
		Functions: d, Vault: d, Memory: d, Missing: errGone, Gone: errGone, Arch: "arm64", Logger: slog.New(slog.DiscardHandler),
		Member:  func() *desired.Member { return &desired.Member{Gateway: r.member, Key: r.key} },
		Changed: func() {},
		Report:  func() { d.mu.Lock(); defer d.mu.Unlock(); r.reports++ },
	})
	if err != nil {
		t.Fatal(err)
	}
	d.mu.Lock()
	d.config = map[string]string{} // as the registry is told at its start
	for name, overlay := range r.f.Overlays() {
		d.config[name] = string(overlay)
	}
	d.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); r.f.Run(ctx) }()
	r.stop = func() { cancel(); <-ended }
	t.Cleanup(r.stop)
	return r
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (r *rig) sealed(name, value string, revision uint64) wire.SealedSecret {
	r.Helper()
	s := wire.SealedSecret{Function: "f", Name: name, Revision: revision}
	public, err := r.key.PublicKey.ECDH()
	if err != nil {
		r.Fatal(err)
	}
	to, err := hpke.NewDHKEMPublicKey(public)
	if err == nil {
		s.Sealed, err = hpke.Seal(to, hpke.HKDFSHA256(), hpke.AES256GCM(), wire.SecretInfo("gw", "f", name), []byte(value))
	}
	if err != nil {
		r.Fatal(err)
	}
	return s
}

// handled waits until what was taken was looked at.
func (r *rig) handled(d *wire.Desired) {
	r.Helper()
	before := r.f.Stats()
	r.f.Take(d)
	r.until(func() bool {
		s := r.f.Stats()
		return s.Taken+s.Stale+s.Refused > before.Taken+before.Stale+before.Refused
	})
}

func (r *rig) until(ok func() bool) {
	r.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			r.Fatalf("it does not come to it: %+v %s", r.f.Stats(), r.f.Fault())
		}
	}
}

func (r *rig) has(config, secret string) bool {
	r.disk.mu.Lock()
	defer r.disk.mu.Unlock()
	return r.config["f"] == config && string(r.vault["f/key"]) == secret
}

func state(r *rig, revision uint64, config, secret string) *wire.Desired {
	return &wire.Desired{
		Revision: revision, Functions: []wire.DesiredFunction{{Name: "f", Target: "functions/f", SHA256: make([]byte, 32), Config: []byte(config)}},
		Secrets: []wire.SealedSecret{r.sealed("key", secret, revision)},
	}
}

// TestPowerCutAtEveryChange ends the gateway at each change of its disk, in the
// course of one desired state after another: whatever is left, the newest that
// was kept is followed in the end, and one that was not is taken again.
func TestPowerCutAtEveryChange(t *testing.T) {
	key, cuts := newKey(t), 0
	for cut := 1; ; cut++ {
		before := cuts
		for _, after := range []bool{false, true} {
			d := newDisk()
			d.cutAt, d.after = cut, after
			r := newRig(t, d, key)
			for n := uint64(1); n <= 3; n++ {
				r.f.Take(state(r, n, fmt.Sprintf(`{"n":%d}`, n), fmt.Sprint("secret", n)))
				r.until(func() bool {
					d.mu.Lock()
					defer d.mu.Unlock()
					return d.dark || r.f.Revision() == n && d.config["f"] == fmt.Sprintf(`{"n":%d}`, n) && string(d.vault["f/key"]) == fmt.Sprint("secret", n)
				})
			}
			r.stop()
			d.mu.Lock()
			if d.dark {
				cuts++
			}
			d.dark, d.cutAt = false, 0
			d.mu.Unlock()
			r = newRig(t, d, key)
			if n := r.f.Revision(); n > 0 {
				r.until(func() bool { return r.has(fmt.Sprintf(`{"n":%d}`, n), fmt.Sprint("secret", n)) })
			}
			r.f.Take(state(r, 4, `{"n":4}`, "secret4"))
			r.until(func() bool { return r.f.Revision() == 4 && r.has(`{"n":4}`, "secret4") && r.f.Fault() == "" })
			r.stop()
		}
		if cuts == before {
			break
		}
	}
	if cuts < 10 {
		t.Errorf("only %d cuts", cuts)
	}
}

// TestOlderStatesChangeNothing, but those of another membership.
func TestOlderStatesChangeNothing(t *testing.T) {
	r := newRig(t, newDisk(), newKey(t))
	r.handled(state(r, 9, `{"n":9}`, "nine"))
	r.until(func() bool { return r.has(`{"n":9}`, "nine") })
	for _, n := range []uint64{1, 8, 9} {
		r.handled(state(r, n, `{"n":1}`, "one"))
	}
	if s := r.f.Stats(); s.Stale != 3 || r.f.Revision() != 9 || !r.has(`{"n":9}`, "nine") {
		t.Errorf("%+v", s)
	}
	r.handled(&wire.Desired{Revision: 10})
	r.until(func() bool { return r.has("", "") })
	// A secret and a configuration that only its operator set stay.
	r.disk.mu.Lock()
	r.vault["f/own"] = []byte("x")
	r.disk.mu.Unlock()
	r.stop()
	r.member = "other"
	if r.f.Revision() != 0 {
		t.Errorf("as another member it follows %d", r.f.Revision())
	}
	next := newMember(t, r.disk, r.key, "other")
	next.handled(&wire.Desired{Revision: 2})
	if next.f.Revision() != 2 || !next.Has("f", "own") {
		t.Errorf("follows %d", next.f.Revision())
	}
}

// TestWanted says which versions shall run, of what is signed.
func TestWanted(t *testing.T) {
	r := newRig(t, newDisk(), newKey(t))
	signed := func(name, fn, sum string, aliases ...string) ota.Target {
		return ota.Target{Name: name, SHA256: strings.Repeat(sum, 64), Release: ota.Release{Kind: ota.Function, Function: fn, Aliases: aliases}}
	}
	targets := &ota.Targets{Version: 4, All: []ota.Target{
		signed("f/1", "f", "0", ota.Live), signed("f/2", "f", "1"), signed("g/1", "g", "2", ota.Live), signed("h/1", "h", "3"),
		{Name: "system/arm", Release: ota.Release{Kind: ota.System, Arch: "arm"}},
		{Name: "system/arm64", Release: ota.Release{Kind: ota.System, Arch: "arm64"}},
	}}
	sum := bytes.Repeat([]byte{0x11}, 32)
	want := func(revision uint64, system string, list ...wire.DesiredFunction) string {
		t.Helper()
		r.handled(&wire.Desired{Revision: revision, Functions: list, System: system})
		d, err := r.f.Wanted(t.Context(), targets)
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, w := range d.Functions {
			out = append(out, w.Target.Name+"@"+w.Attempt)
		}
		if d.System != nil {
			out = append(out, d.System.Name)
		}
		for _, m := range d.Missing {
			out = append(out, "missing "+m.Target+": "+m.Why)
		}
		return strings.Join(append(out, d.Removed...), ", ")
	}
	f2 := wire.DesiredFunction{Name: "f", Target: "f/2", SHA256: sum, Attempt: "a"}
	h := wire.DesiredFunction{Name: "h", Target: "h/1", SHA256: bytes.Repeat([]byte{0x33}, 32), Attempt: "b"}
	for i, x := range []struct {
		system string
		list   []wire.DesiredFunction
		want   string
	}{
		{"", nil, "f/1@, g/1@"},
		{"system/arm64", []wire.DesiredFunction{f2, h}, "g/1@, f/2@a, h/1@b, system/arm64"},
		{"system/arm", []wire.DesiredFunction{h}, "f/1@, g/1@, h/1@b, missing system/arm: system/arm is for arm, and this gateway is arm64"},
		{"", []wire.DesiredFunction{{Name: "h", Config: []byte("{}")}}, "f/1@, g/1@, h"},
		{"f/1", []wire.DesiredFunction{h}, "f/1@, g/1@, h/1@b, missing f/1: f/1 is not a gateway's binary"},
		{"", []wire.DesiredFunction{{Name: "f", Target: "g/1", SHA256: sum}}, "g/1@, missing g/1: g/1 is not a version of f, h"},
		{"", []wire.DesiredFunction{{Name: "f", Target: "f/1", SHA256: sum}}, "g/1@, missing f/1: f/1 has another content than the controller says, h"},
		{"", []wire.DesiredFunction{{Name: "f", Target: "f/9", SHA256: sum}}, "g/1@, missing f/9: f/9 is not among what the owner signed (version 4), h"},
	} {
		if got := want(uint64(i+1), x.system, x.list...); got != x.want {
			t.Errorf("%d: %s\nwant %s", i, got, x.want)
		}
	}
	if err := r.f.Removed(t.Context(), "h"); err != nil {
		t.Fatal(err)
	}
	if got := want(100, ""); got != "f/1@, g/1@" {
		t.Errorf("after the removal: %s", got)
	}
}

// TestFaultsAreTold has the rest done, and what failed tried again with the next
// state.
func TestFaultsAreTold(t *testing.T) {
	r := newRig(t, newDisk(), newKey(t))
	r.misfit = "g"
	d := state(r, 1, `{"n":1}`, "one")
	bad := d.Secrets[0]
	bad.Name = "moved"
	d.Secrets = append([]wire.SealedSecret{bad, {Function: "f", Name: "short", Sealed: []byte("x")}}, d.Secrets...)
	d.Functions = append(d.Functions, wire.DesiredFunction{Name: "g", Config: []byte(`{"a":1}`)})
	r.handled(d)
	r.until(func() bool { return r.has(`{"n":1}`, "one") && r.f.Stats().Faults == 3 })
	for _, part := range []string{"secret moved of f: it cannot be opened", "secret short of f", "g: it does not fit"} {
		if !strings.Contains(r.f.Fault(), part) {
			t.Errorf("%q is not in %q", part, r.f.Fault())
		}
	}
	r.disk.mu.Lock()
	r.misfit = ""
	reports := r.reports
	r.disk.mu.Unlock()
	d = state(r, 2, `{"n":2}`, "two")
	d.Functions = append(d.Functions, wire.DesiredFunction{Name: "g", Config: []byte(`{"a":1}`)})
	d.Every = 1
	r.handled(d)
	r.until(func() bool { return r.has(`{"n":2}`, "two") && r.f.Fault() == "" })
	r.until(func() bool { r.disk.mu.Lock(); defer r.disk.mu.Unlock(); return r.reports > reports+3 }) // every second
}

// TestFloodWearsNoFlash has a new state every moment: few of them are written,
// and the newest is followed in the end.
func TestFloodWearsNoFlash(t *testing.T) {
	r := newRig(t, newDisk(), newKey(t))
	const last = 2000
	for n := uint64(1); n <= last; n++ {
		r.f.Take(&wire.Desired{Revision: n, Functions: []wire.DesiredFunction{{Name: "f", Config: fmt.Appendf(nil, `{"n":%d}`, n)}}})
		time.Sleep(100 * time.Microsecond)
	}
	r.until(func() bool { return r.f.Revision() == last && r.has(fmt.Sprintf(`{"n":%d}`, last), "") })
	if s := r.f.Stats(); s.Taken > 30 {
		t.Errorf("%d of %d were taken", s.Taken, last)
	}
}

// TestLargeFloodWearsNoFlash has the largest state that there may be sent again
// and again for hours, each time a little different.
func TestLargeFloodWearsNoFlash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, newDisk(), newKey(t))
		config := bytes.Repeat([]byte("x"), 60<<10)
		for n := uint64(1); n <= 4*60; n++ {
			d := &wire.Desired{Revision: n, Functions: []wire.DesiredFunction{{Name: "f", Config: fmt.Appendf(nil, "%d", n)}}}
			for i := range 30 {
				d.Functions = append(d.Functions, wire.DesiredFunction{Name: fmt.Sprint("f", i), Config: config})
			}
			r.f.Take(d)
			time.Sleep(time.Minute)
		}
		r.stop()
		if mib := r.written >> 20; mib > 64 {
			t.Errorf("%d MiB are written in four hours", mib)
		}
		if n := r.f.Stats().Taken; n < 4 {
			t.Errorf("%d were taken", n)
		}
	})
}

// TestRevisionsDoNotRunOut: whoever holds the controller for a while leaves its
// owner revisions enough, above what the gateway follows.
func TestRevisionsDoNotRunOut(t *testing.T) {
	r := newRig(t, newDisk(), newKey(t))
	for _, n := range []uint64{math.MaxUint64, 1 << 63, 1 << 53, 1<<52 + 1} {
		r.handled(&wire.Desired{Revision: n})
	}
	if s := r.f.Stats(); s.Refused != 4 || !strings.Contains(r.f.Fault(), "revision") {
		t.Fatalf("%+v %q", s, r.f.Fault())
	}
	r.handled(&wire.Desired{Revision: 7})
	r.handled(&wire.Desired{Revision: 1 << 50})
	if n := r.f.Revision(); n != 7 {
		t.Fatalf("it follows %d", n)
	}
	r.handled(&wire.Desired{Revision: 1 << 32})
	r.handled(&wire.Desired{Revision: 1<<32 + 1})
	if n := r.f.Revision(); n != 1<<32+1 || r.f.Fault() != "" {
		t.Errorf("it follows %d: %s", n, r.f.Fault())
	}
	r.stop()
	// One that an earlier version believed is forgotten.
	codec, err := wire.NewCodec()
	if err != nil {
		t.Fatal(err)
	}
	document, err := codec.Encode(&wire.Desired{Revision: math.MaxUint64})
	if err != nil {
		t.Fatal(err)
	}
	kept, err := json.Marshal(map[string]any{"gateway": "gw", "desired": document})
	if err != nil {
		t.Fatal(err)
	}
	r.facts["desired"] = kept
	r = newRig(t, r.disk, r.key)
	r.handled(&wire.Desired{Revision: 8})
	if n := r.f.Revision(); n != 8 {
		t.Errorf("it follows %d", n)
	}
}

// FuzzDesired has whatever decodes taken: nothing but what was checked reaches
// functions and vault.
func FuzzDesired(f *testing.F) {
	codec, err := wire.NewCodec()
	if err != nil {
		f.Fatal(err)
	}
	for _, d := range []*wire.Desired{
		{Revision: 1, Functions: []wire.DesiredFunction{{Name: "f", Target: "t", SHA256: make([]byte, 32), Config: []byte(`{"a":1}`)}}},
		{Revision: 2, Functions: []wire.DesiredFunction{{Name: "../f"}}, Secrets: []wire.SealedSecret{{Function: "f", Name: "k", Sealed: []byte("x")}}, Every: -1},
	} {
		b, err := codec.Encode(d)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := codec.Decode(b)
		d, ok := m.(*wire.Desired)
		if err != nil || !ok {
			return
		}
		r := newRig(t, newDisk(), newKey(t))
		r.handled(d)
		r.stop()
		for name, overlay := range r.config {
			if strings.ContainsAny(name, "./\\ ") || len(overlay) > 64<<10 {
				t.Errorf("%q is configured", name)
			}
		}
		if raw := r.facts["desired"]; raw != nil && !json.Valid(raw) {
			t.Errorf("kept %q", raw)
		}
	})
}
