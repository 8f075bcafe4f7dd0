package update

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sync/bundle"
	"github.com/headgate-io/headgate/sync/ota"
)

var (
	errCut     = errors.New("the power is gone")
	errMissing = errors.New("not there")
)

// disk is what outlives a power cut: the versions of one function, its aliases,
// and what the pipeline wrote down. Each change of it may be the last one before
// the cut, or the first one that the cut swallows.
type disk struct {
	t  *testing.T
	mu sync.Mutex // guards all of it

	versions []string // digests, the first has the number 1
	live     int
	update   int // the version that the alias points to; 0 is none
	split    bool
	facts    map[string][]byte

	changes, cutAt int
	after, dark    bool
	cut            func()
	// held is a version that must not go live.
	held bool
	// functions stands before the disk, where it is there.
	functions Functions
}

// change is one change of the disk.
func (d *disk) change(do func()) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dark {
		return errCut
	}
	d.changes++
	if d.changes == d.cutAt {
		d.dark = true
		if d.after {
			do()
		}
		d.cut()
		return errCut
	}
	do()
	return nil
}

func (d *disk) Live(string) (Live, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.live == 0 {
		return Live{}, false
	}
	return Live{Version: d.live, Digest: d.versions[d.live-1], Spec: function.Spec{Name: "f"}}, true
}

func (d *disk) Aliased(context.Context, string, string) (string, error) {
	if d.update == 0 {
		return "", nil
	}
	return d.versions[d.update-1], nil
}

func (d *disk) Check(context.Context, []byte) error { return nil }

func (d *disk) Install(_ context.Context, raw []byte, alias string, percent float64) (int, error) {
	b, err := bundle.Open(raw)
	if err != nil {
		return 0, err
	}
	err = d.change(func() {
		d.versions = append(d.versions, b.Digest)
		if alias == "" {
			d.live = len(d.versions)
			return
		}
		d.update, d.split = len(d.versions), percent > 0
	})
	return len(d.versions), err
}

func (d *disk) Go(_ context.Context, _ string, version int) error {
	if d.held && version > 1 {
		d.t.Errorf("version %d, which is bad and had a part of the traffic, went live", version)
	}
	return d.change(func() { d.live, d.split = version, false })
}

func (d *disk) Drop(context.Context, string, string) error {
	return d.change(func() { d.update = 0 })
}

func (d *disk) Stored(_ context.Context, _, digest string) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return 1 + slices.Index(d.versions, digest), nil
}

func (d *disk) Remove(context.Context, string) error {
	return d.change(func() { d.live, d.update, d.split = 0, 0, false })
}

func (d *disk) Meta(_ context.Context, key string) ([]byte, error) {
	if v, ok := d.facts[key]; ok {
		return v, nil
	}
	return nil, errMissing
}

func (d *disk) SetMeta(_ context.Context, key string, value []byte) error {
	return d.change(func() { d.facts[key] = bytes.Clone(value) })
}

// signed is a repository with one target, which is here already.
type signed struct {
	target  ota.Target
	file    string
	offline bool
}

func (s signed) Refresh(context.Context) (*ota.Targets, error) {
	if s.offline {
		return nil, ota.ErrUnreachable
	}
	return &ota.Targets{All: []ota.Target{s.target}}, nil
}

func (s signed) Trusted(context.Context) (*ota.Targets, error) {
	return &ota.Targets{All: []ota.Target{s.target}}, nil
}
func (s signed) Fetch(context.Context, ota.Target) (string, error) { return s.file, nil }
func (signed) Drop(ota.Target) error                               { return nil }

type untried struct{}

func (untried) Try(context.Context, *bundle.Bundle) (Tried, error) { return Tried{}, nil }

type wallClock struct{}

func (wallClock) Now() time.Time    { return time.Now() }
func (wallClock) Steady() time.Time { return time.Now() }

// newSigned is a second version of the function f.
func newSigned(t *testing.T) signed {
	t.Helper()
	spec := function.Spec{Name: "f", Main: "f.js"}
	raw, err := bundle.Pack(spec, map[string][]byte{"f.js": []byte("2")}, ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	b, err := bundle.Open(raw)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	r := ota.Release{Kind: ota.Function, Function: "f", Digest: b.Digest, Aliases: []string{ota.Live}}
	return signed{target: ota.Target{Name: "functions/f", SHA256: fmt.Sprintf("%064d", 2), Bytes: int64(len(raw)), Release: r}, file: file}
}

// live runs a gateway on a disk until the power is gone, or for a while: events
// come all the time, and those that the new version gets fail where it is bad.
func (d *disk) run(s signed, percent float64, bad bool, long time.Duration) {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), long)
	defer cancel()
	d.cut = cancel
	functions := d.functions
	if functions == nil {
		functions = d
	}
	p, err := New(ctx, Config{
		Client: s, Functions: functions, Trial: untried{}, Memory: d, Missing: errMissing, Clock: wallClock{}, Logger: slog.New(slog.DiscardHandler),
		Interval: time.Minute, LookEvery: time.Second, Canary: Canary{Percent: percent, For: time.Minute, Sample: 20, Within: 10 * time.Minute},
	})
	if err != nil {
		d.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); p.Run(ctx) }()
	for tick := time.NewTicker(500*time.Millisecond + time.Microsecond); ; {
		select {
		case <-done:
			tick.Stop()
			return
		case <-tick.C:
		}
		synctest.Wait()
		d.mu.Lock()
		versions := []int{d.live}
		if d.split {
			versions = append(versions, d.update)
		}
		d.mu.Unlock()
		for _, v := range versions {
			outcome := function.OK
			if bad && v > 1 {
				outcome = function.Failed
			}
			p.Observe("f", v, outcome, time.Millisecond)
		}
	}
}

// TestPowerCutAtEveryChange ends the gateway at each change of its disk in the
// course of a good and of a bad update: in the end the good version is live and
// the bad one is not, nothing is left half done, and a bad version never gets
// more traffic than it had; whether or not the repository can be reached then.
func TestPowerCutAtEveryChange(t *testing.T) {
	s := newSigned(t)
	for _, bad := range []bool{false, true} {
		for _, percent := range []float64{10, 0} {
			cuts := 0
			for cut := 1; ; cut++ {
				before := cuts
				for variant := range 4 {
					synctest.Test(t, func(t *testing.T) {
						d := &disk{
							t: t, versions: []string{"one"}, live: 1, facts: map[string][]byte{}, cutAt: cut, after: variant&1 > 0,
							held: bad && percent > 0,
						}
						d.run(s, percent, bad, time.Hour)
						again := s
						if d.dark {
							cuts++
							again.offline = variant&2 > 0
							d.dark, d.cutAt = false, 0
							d.run(again, percent, bad, time.Hour)
						}
						isNew := d.versions[d.live-1] != "one"
						if bad && isNew || !bad && !isNew && !again.offline || d.update != 0 || d.split {
							t.Errorf("bad %v, %v %%, cut at change %d, variant %d: version %d of %d is live, the alias points to %d", bad, percent, cut, variant, d.live, len(d.versions), d.update)
						}
					})
				}
				if cuts == before {
					break
				}
			}
			if cuts < 10 {
				t.Errorf("bad %v, %v %%: only %d cuts", bad, percent, cuts)
			}
		}
	}
}
