package dispatch_test

import (
	"context"
	"errors"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/dispatch"
	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/gateway/trigger"
	"github.com/headgate-io/headgate/internal/testdb"
	"github.com/headgate-io/headgate/mqtt/broker"
	"github.com/headgate-io/headgate/sandbox/host"
)

func TestRetryThenDeadLetterThenRedrive(t *testing.T) {
	r := newRig(t, options{})
	var bad atomic.Bool
	bad.Store(true)
	var attempts atomic.Int32
	retry := function.Retry{Attempts: 3, Backoff: function.Duration(time.Millisecond), MaxBackoff: function.Duration(2 * time.Millisecond)}
	r.deploy("f", func(_ context.Context, c *host.Calls) error {
		attempts.Add(1)
		if bad.Load() {
			_ = c.KVSet([]byte("n"), []byte("wrong"), 0)
			return errors.New("boom")
		}
		return count(context.Background(), c)
	}, deploy{triggers: on("a/{x}"), retry: retry})
	r.send("a/b", "payload", 1).wait(t, broker.Success)
	until(t, "it is given up", func() bool { return len(r.letters()) == 1 })
	if n := attempts.Load(); n != 3 {
		t.Errorf("%d attempts, want 3", n)
	}
	if n, _ := r.store.QueueLen(); n != 0 || r.get("f", "n") != "" {
		t.Errorf("%d rows and state %q are left", n, r.get("f", "n"))
	}
	letters, err := r.store.DeadLetters(context.Background(), "", 0, 9)
	if err != nil || len(letters) != 1 || letters[0].Attempt != 3 || letters[0].Reason != "attempts" || letters[0].Error != "failed: boom" {
		t.Fatalf("dead letters %+v %v", letters, err)
	}
	bad.Store(false)
	if _, err := r.d.Redrive(context.Background(), store.DeadLetterQuery{ID: letters[0].ID}); err != nil {
		t.Fatal(err)
	}
	until(t, "the redriven event has run", func() bool { return r.get("f", "n") == "1" })
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, want := range []int{1, 2, 3, 1} {
		if rec := r.records[i]; rec.Attempt != want || rec.Dead != (i == 2) || (rec.Outcome == function.OK) != (i == 3) {
			t.Errorf("record %d: %+v", i, rec)
		}
	}
}

func TestBreakerPausesAndEnds(t *testing.T) {
	r := newRig(t, options{quiet: true})
	bad := func(context.Context, *host.Calls) error { return errors.New("boom") }
	r.deploy("f", bad, deploy{triggers: on("a"), limits: function.Limits{Concurrency: 1}})
	until(t, "it is paused", func() bool {
		r.send("a", "x", 0)
		return r.d.Stats().Functions[0].Paused
	})
	_, err := r.d.Invoke(context.Background(), "f", &event.Event{ID: "1", Source: "/cli", Type: event.TypeInvoke}, trigger.Params{})
	if !errors.Is(err, dispatch.ErrPaused) {
		t.Errorf("invoke while paused: %v", err)
	}
	b := r.d.FunctionStats("f").Breaker
	if b.State != dispatch.BreakerOpen || b.Failures < 32 || b.Reason != "failed: boom" || b.Since.IsZero() || !b.NextTrial.After(b.Since) {
		t.Errorf("breaker %+v", b)
	}
	until(t, "a trial is due", func() bool { return r.d.FunctionStats("f").Breaker.State == dispatch.BreakerTrial })
	// Durable events wait; a new version takes them up at once.
	rel := r.send("a", "x", 1)
	rel.wait(t, broker.Success)
	r.deploy("f", count, deploy{version: 2, triggers: on("a")})
	until(t, "the new version has run", func() bool { return r.get("f", "n") == "1" })
	if st := r.d.Stats().Functions[0]; st.Paused || st.Pauses == 0 || st.Breaker.State != dispatch.BreakerClosed || !st.Breaker.Since.IsZero() {
		t.Errorf("stats %+v", st)
	}
}

// An outcome that would break the state's quota is a failure with a reason.
func TestStateQuotaFailsTheAttempt(t *testing.T) {
	r := newRig(t, options{})
	r.deploy("f", func(_ context.Context, c *host.Calls) error {
		_ = c.KVSet([]byte("k"), make([]byte, 600), 0)
		_ = c.KVSet([]byte("l"), make([]byte, 600), 0)
		return nil
	}, deploy{triggers: on("a"), limits: function.Limits{State: 1000}, retry: function.Retry{Attempts: 1}})
	r.send("a", "x", 1).wait(t, broker.Success)
	l := r.letters()
	if len(l) != 1 || l[0].Error != "failed: state of f is full (1000 bytes): delete keys or raise limits.state" {
		t.Errorf("dead letters %+v", l)
	}
}

// Commits that fail are rerun: every event counts once, whatever the disk
// does, and what is acknowledged is there after a crash.
func TestCommitErrors(t *testing.T) {
	var n, commits atomic.Int32
	r := newRig(t, options{store: func(c *store.Config) {
		c.Inject = func(s store.Step) error {
			if s == store.StepCommit && commits.Add(1)%7 == 3 && n.Add(1) <= 8 {
				return errors.New("disk I/O error (injected)")
			}
			return nil
		}
	}, dispatch: func(c *dispatch.Config) { c.SpillAfter, c.RefuseAfter = 2*time.Millisecond, time.Minute }})
	r.deploy("f", count, deploy{triggers: on("a/+")})
	var flaky atomic.Int32
	r.deploy("g", func(_ context.Context, c *host.Calls) error {
		if flaky.Add(1)%5 == 0 {
			return errors.New("boom")
		}
		if flaky.Load()%11 == 0 {
			time.Sleep(4 * time.Millisecond)
		}
		return count(context.Background(), c)
	}, deploy{triggers: on("a/+"), retry: function.Retry{Backoff: function.Duration(time.Millisecond), Attempts: 50}})
	const events = 200
	window := make(chan struct{}, 8)
	for i := range events {
		window <- struct{}{}
		r.submit("a/b", strconv.Itoa(i), 1, releaseFunc(func(code broker.ReasonCode) {
			if code != broker.Success {
				t.Errorf("event %d released with %#x", i, code)
			}
			<-window
		}), nil, store.DedupeKey{})
	}
	until(t, "all have settled", func() bool {
		rows, _ := r.store.QueueLen()
		return rows == 0 && len(window) == 0
	})
	if f, g := r.get("f", "n"), r.get("g", "n"); f != strconv.Itoa(events) || g != f {
		t.Errorf("counted %s and %s, want %d", f, g, events)
	}
	r.sync()
	if r.store.Stats().Rollbacks == 0 {
		t.Error("no commit was rolled back")
	}
	c := newRig(t, options{path: testdb.Copy(t, r.path)})
	if f, g := c.get("f", "n"), c.get("g", "n"); f != strconv.Itoa(events) || g != f {
		t.Errorf("after a crash counted %s and %s, want %d", f, g, events)
	}
}

// A packet that starts nothing is recorded in spite of a failing disk.
func TestRecordAloneSurvivesCommitError(t *testing.T) {
	var armed atomic.Bool
	r := newRig(t, options{store: func(c *store.Config) {
		c.Inject = func(s store.Step) error {
			if s == store.StepCommit && armed.CompareAndSwap(true, false) {
				return errors.New("disk I/O error (injected)")
			}
			return nil
		}
	}})
	saved := make(chan error, 1)
	r.store.SaveSession(broker.SessionRecord{Client: "c"}, func(err error) { saved <- err })
	if err := <-saved; err != nil {
		t.Fatal(err)
	}
	armed.Store(true)
	rel := make(release, 1)
	r.submit("none", "1", 2, rel, &broker.InboundRecord{Client: "c", QoS: 2, PacketID: 10, Slot: 10, Hash: 78}, store.DedupeKey{})
	rel.wait(t, broker.Success)
	if r.store.Stats().Rollbacks != 1 {
		t.Error("nothing was rolled back")
	}
}

// While the disk takes no commit publishers are refused after a short wait, not
// held; what was accepted before runs once when the disk is back.
func TestFailingDiskRefusesPublishers(t *testing.T) {
	var broken atomic.Bool
	r := newRig(t, options{store: func(c *store.Config) {
		c.Inject = func(s store.Step) error {
			if s == store.StepCommit && broken.Load() {
				return errors.New("disk I/O error (injected)")
			}
			return nil
		}
	}})
	r.deploy("f", count, deploy{triggers: on("a")})
	gate := make(chan struct{})
	r.deploy("slow", func(context.Context, *host.Calls) error { <-gate; return nil }, deploy{triggers: on("slow")})
	r.send("slow", "spilled before", 1).wait(t, broker.Success)
	broken.Store(true)
	// The first finds the failure, those after it know at once.
	for range 50 {
		r.send("a", "x", 1).wait(t, broker.QuotaExceeded)
	}
	if !r.store.Stats().Failing || r.d.Stats().Refused != 50 {
		t.Errorf("refused %d, store %+v", r.d.Stats().Refused, r.store.Stats())
	}
	close(gate) // it settles when the disk is back
	if _, _, err := r.store.GetState(t.Context(), "f", "n"); err != nil {
		t.Errorf("reading meanwhile: %v", err)
	}
	broken.Store(false)
	until(t, "the disk is back", func() bool { return !r.store.Stats().Failing })
	r.send("a", "x", 1).wait(t, broker.Success)
	until(t, "what was spilled has settled", func() bool { n, _ := r.store.QueueLen(); return n == 0 })
	r.sync()
	if got := r.get("f", "n"); got != "1" {
		t.Errorf("counted %s, want the one that was accepted", got)
	}
}
