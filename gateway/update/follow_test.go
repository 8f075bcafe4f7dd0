package update

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sync/bundle"
	"github.com/headgate-io/headgate/sync/ota"
)

// shelf is a repository of several versions of the function f, and what a
// controller wants of them.
type shelf struct {
	mu      sync.Mutex // guards what follows
	targets []ota.Target
	files   map[string]string
	fetches int
	hold    bool // the next fetch never ends
	desired Desired
	offline bool
}

func newShelf(t *testing.T, sources ...string) *shelf {
	t.Helper()
	s := &shelf{files: map[string]string{}}
	for i, source := range sources {
		spec := function.Spec{Name: "f", Main: "f.js"}
		raw, err := bundle.Pack(spec, map[string][]byte{"f.js": []byte(source)}, ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
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
		r := ota.Release{Kind: ota.Function, Function: "f", Digest: b.Digest}
		target := ota.Target{Name: "functions/f/" + source, SHA256: fmt.Sprintf("%064d", i), Bytes: int64(len(raw)), Release: r}
		s.targets, s.files[target.SHA256] = append(s.targets, target), file
	}
	return s
}

func (s *shelf) Refresh(ctx context.Context) (*ota.Targets, error) {
	if s.offline {
		return nil, ota.ErrUnreachable
	}
	return s.Trusted(ctx)
}

func (s *shelf) Trusted(context.Context) (*ota.Targets, error) {
	return &ota.Targets{All: s.targets}, nil
}

func (s *shelf) Fetch(ctx context.Context, t ota.Target) (string, error) {
	s.mu.Lock()
	s.fetches++
	held := s.hold
	s.hold = false
	s.mu.Unlock()
	if held {
		<-ctx.Done()
		return "", ctx.Err()
	}
	return s.files[t.SHA256], nil
}
func (*shelf) Drop(ota.Target) error { return nil }

func (s *shelf) want(context.Context, *ota.Targets) (Desired, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.desired, nil
}

// follower is a gateway that a controller leads.
type follower struct {
	*testing.T
	*disk
	shelf *shelf
	p     *Pipeline
	bad   string // the digest of the version that fails
	stop  func()
}

func (f *follower) start() {
	f.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var err error
	f.p, err = New(ctx, Config{
		Client: f.shelf, Functions: f.disk, Trial: untried{}, Memory: f.disk, Missing: errMissing, Clock: wallClock{}, Logger: slog.New(slog.DiscardHandler),
		Desired: f.shelf.want, Interval: time.Hour, LookEvery: time.Second,
		Canary: Canary{Percent: 10, For: 10 * time.Minute, Sample: 20, Within: time.Hour},
	})
	if err != nil {
		f.Fatal(err)
	}
	var group sync.WaitGroup
	group.Go(func() { f.p.Run(ctx) })
	group.Go(func() { f.traffic(ctx) })
	f.stop = func() { cancel(); group.Wait() }
}

// traffic has an event twice a second, for each version that gets any.
func (f *follower) traffic(ctx context.Context) {
	tick := time.NewTicker(500*time.Millisecond + time.Microsecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		f.mu.Lock()
		versions := []int{f.live}
		if f.split {
			versions = append(versions, f.update)
		}
		digests := f.versions
		f.mu.Unlock()
		for _, v := range versions {
			outcome := function.OK
			if v > 0 && digests[v-1] == f.bad {
				outcome = function.Trapped
			}
			f.p.Observe("f", v, outcome, time.Millisecond)
		}
	}
}

func (f *follower) want(n int, attempt string) {
	f.shelf.mu.Lock()
	f.shelf.desired = Desired{Functions: []Want{{Alias: ota.Live, Target: f.shelf.targets[n], Attempt: attempt}}}
	f.shelf.mu.Unlock()
	f.p.Changed()
}

// is waits for a stage of an attempt, for so long at most.
func (f *follower) is(attempt string, stage Stage, within time.Duration) *Progress {
	f.Helper()
	var last []Progress
	for range within/time.Second + 1 {
		time.Sleep(time.Second)
		synctest.Wait()
		if last = f.p.Status().All; len(last) == 1 && last[0].Attempt == attempt && last[0].Stage == stage {
			return &last[0]
		}
	}
	for _, x := range last {
		f.Errorf("%+v", x.Rollout)
	}
	f.Fatalf("attempt %s is not %s within %v", attempt, stage, within)
	return nil
}

// runs wants a version live, with all of the traffic.
func (f *follower) runs(n, versions int) {
	f.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.live == 0 || f.versions[f.live-1] != f.shelf.targets[n].Digest || f.split || f.update != 0 || len(f.versions) != versions {
		f.Errorf("version %d of %d runs, split %v, %d: want target %d", f.live, len(f.versions), f.split, f.update, n)
	}
}

func (f *follower) fetched(n int) {
	f.Helper()
	f.shelf.mu.Lock()
	defer f.shelf.mu.Unlock()
	if f.shelf.fetches != n {
		f.Errorf("%d fetches, want %d", f.shelf.fetches, n)
	}
}

func newFollower(t *testing.T, sources ...string) *follower {
	t.Helper()
	s := newShelf(t, sources...)
	return &follower{T: t, shelf: s, disk: &disk{t: t, versions: []string{s.targets[0].Digest}, live: 1, facts: map[string][]byte{}}}
}

// TestFollowsWhatIsWanted goes back and forth between versions as a controller
// has them wanted.
func TestFollowsWhatIsWanted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollower(t, "a", "b", "c")
		f.bad = f.shelf.targets[2].Digest
		f.start()
		defer func() { f.stop() }()
		f.want(0, "0")
		f.is("0", LiveNow, 5*time.Second)
		f.fetched(0)
		f.want(1, "1")
		f.is("1", InCanary, 5*time.Second)
		// It is taken back in the middle of its canary, at once.
		f.want(0, "2")
		f.is("2", LiveNow, 5*time.Second)
		f.runs(0, 2)
		// Another try of the same target begins anew, and goes through.
		f.want(1, "3")
		f.is("3", InCanary, 5*time.Second)
		f.want(1, "4") // the same, by another name: it goes on
		p := f.is("4", LiveNow, time.Hour)
		if p.New.Invocations < 1000 || p.Old.Invocations == 0 || p.New.Failures != 0 {
			t.Errorf("its counts at the end: %+v, before %+v", p.New, p.Old)
		}
		f.runs(1, 3)
		// Back to what ran here before: at once, with nothing fetched, off the
		// network too.
		fetches := f.shelf.fetches
		f.shelf.offline = true
		f.want(0, "5")
		f.is("5", Watched, 5*time.Second)
		f.runs(0, 3)
		f.is("5", LiveNow, time.Hour)
		f.fetched(fetches)
		f.shelf.offline = false
		// A bad one takes itself back; another try of it is made, and ends the
		// same way.
		f.want(2, "6")
		p = f.is("6", RolledBack, time.Hour)
		if p.New.Crashes < 3 || p.New.Crashes != p.New.Failures {
			t.Errorf("its counts at the end: %+v", p.New)
		}
		f.want(0, "back")
		if p = f.is("back", LiveNow, 5*time.Second); p.Steps[0].Stage != RolledBack || !strings.HasPrefix(p.Steps[0].Note, f.shelf.targets[2].Name+": ") {
			t.Errorf("it does not say why: %+v", p.Steps)
		}
		f.want(2, "7")
		f.is("7", RolledBack, time.Hour)
		f.runs(0, 5)
	})
}

// TestSomethingElseIsWanted has a download that never ends set aside for it.
func TestSomethingElseIsWanted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollower(t, "a", "b", "c")
		f.start()
		defer func() { f.stop() }()
		f.shelf.hold = true
		f.want(1, "1")
		f.is("1", Fetching, 5*time.Second)
		f.want(2, "2")
		f.is("2", InCanary, 5*time.Second)
		f.fetched(2)
	})
}

// TestCountsOutliveARestart has a canary judged by all that it did.
func TestCountsOutliveARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollower(t, "a", "b")
		f.start()
		f.want(1, "1")
		f.is("1", InCanary, 5*time.Second)
		time.Sleep(5 * time.Minute)
		f.stop()
		before := f.p.Status().All[0]
		f.start()
		defer func() { f.stop() }()
		synctest.Wait()
		after := f.p.Status().All[0]
		if after.New.Invocations < before.New.Invocations*3/4 || after.Old.Invocations < before.Old.Invocations*3/4 {
			t.Errorf("after the restart %+v and %+v, before %+v and %+v", after.Old, after.New, before.Old, before.New)
		}
		f.is("1", LiveNow, time.Hour)
	})
}

// TestRemovesWhatIsNotWanted in the middle of its canary.
func TestRemovesWhatIsNotWanted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollower(t, "a", "b")
		f.start()
		f.want(1, "1")
		f.is("1", InCanary, 5*time.Second)
		f.shelf.mu.Lock()
		f.shelf.desired = Desired{Removed: []string{"f"}}
		f.shelf.mu.Unlock()
		f.p.Changed()
		time.Sleep(time.Minute)
		f.shelf.mu.Lock()
		f.shelf.desired = Desired{}
		f.shelf.mu.Unlock()
		f.stop()
		f.start()
		defer func() { f.stop() }()
		time.Sleep(time.Minute)
		if s := f.p.Status(); len(s.All) != 0 || s.Error != "" || f.live != 0 {
			t.Errorf("%+v, version %d is live", s, f.live)
		}
		// Wanted again it is there again.
		f.want(1, "2")
		f.is("2", LiveNow, time.Minute)
	})
}
