package dispatch_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/dispatch"
	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/internal/testdb"
	"github.com/headgate-io/headgate/mqtt/broker"
	"github.com/headgate-io/headgate/sandbox/host"
)

func millis(n int) function.Duration { return function.Duration(time.Duration(n) * time.Millisecond) }

// A storm of events that nobody can handle leaves the queue when its time is
// over, though the breaker lets none of them run; what is on disk alone keeps
// its data, and a disk that fails meanwhile loses none.
func TestEventsExpireWhilePaused(t *testing.T) {
	for _, memory := range []int64{1, 1 << 20} {
		t.Run(strconv.FormatInt(memory, 10), func(t *testing.T) {
			var expiring atomic.Bool
			var failures atomic.Int32
			r := newRig(t, options{
				quiet: true,
				dispatch: func(c *dispatch.Config) {
					c.SpillAfter, c.MemoryBytes = time.Millisecond, memory
				},
				store: func(c *store.Config) {
					c.Inject = func(s store.Step) error {
						if s == store.StepCommit && expiring.Load() && failures.Add(1)%3 == 2 && failures.Load() < 9 {
							return errors.New("disk I/O error (injected)")
						}
						return nil
					}
				},
			})
			const n = 400
			var ran atomic.Int32
			gate := make(chan struct{})
			r.deploy("f", func(context.Context, *host.Calls) error {
				<-gate
				ran.Add(1)
				return errors.New("boom")
			}, deploy{
				triggers: []function.Trigger{{MQTT: "a/{key}", OrderBy: "key"}, {MQTT: "b/+"}}, limits: function.Limits{Concurrency: 4},
				retry: function.Retry{Attempts: 100, Backoff: millis(3_600_000), MaxBackoff: millis(3_600_000), MaxAge: millis(700)},
			})
			for i := range n {
				topic := "a/" + strconv.Itoa(i%100)
				if i%2 == 0 {
					topic = "b/x"
				}
				r.send(topic, "payload "+strconv.Itoa(i), 1).wait(t, broker.Success)
			}
			close(gate)
			expiring.Store(true)
			until(t, "all are given up", func() bool {
				_, letters, err := r.store.LastDeadLetter(t.Context(), store.DeadLetterQuery{})
				rows, _ := r.store.QueueLen()
				return err == nil && letters == n && rows == 0
			})
			fs := r.d.FunctionStats("f")
			if int(ran.Load()) > n/2 || fs.Expired < n/2 || fs.Queued+fs.Waiting+fs.Running+fs.Keys != 0 {
				t.Errorf("%d ran, stats %+v", ran.Load(), fs)
			}
			seen := map[string]bool{}
			letters, err := r.store.DeadLetters(t.Context(), "f", 0, n+1)
			if err != nil {
				t.Fatal(err)
			}
			for i := range letters {
				l, err := r.store.DeadLetter(t.Context(), letters[i].ID)
				if err != nil || l.Reason != "max_age" || l.Error == "" {
					t.Fatalf("%+v %v", l, err)
				}
				seen[string(l.Event.Data)] = true
			}
			if len(seen) != n || !seen["payload 399"] {
				t.Errorf("%d payloads are left of %d", len(seen), n)
			}
		})
	}
}

// What was old when the gateway started is not tried either.
func TestRowsExpireAfterARestart(t *testing.T) {
	r := newRig(t, options{dispatch: func(c *dispatch.Config) { c.SpillAfter = time.Millisecond }})
	gate := make(chan struct{})
	defer close(gate)
	r.deploy("f", func(context.Context, *host.Calls) error { <-gate; return nil }, deploy{triggers: byKey})
	for i := range 10 {
		r.send("a/k", strconv.Itoa(i), 1).wait(t, broker.Success)
	}
	c := newRig(t, options{path: testdb.Copy(t, r.path), dispatch: func(c *dispatch.Config) {
		c.Now = func() time.Time { return time.Now().Add(2 * time.Hour) }
	}})
	var f diary
	c.deploy("f", f.run, deploy{triggers: byKey})
	until(t, "all are given up", func() bool { return len(c.letters()) == 10 })
	if l := c.letters(); len(l) != 10 || l[0].Attempt != 0 || !strings.Contains(l[0].Error, "longer than retry.max_age, 1h0m0s") {
		t.Errorf("%d dead letters: %+v", len(l), l)
	}
	if got := f.all(); len(got) != 0 {
		t.Errorf("ran %v", got)
	}
}

// Events behind a dead letter that blocks their key expire too, and each of
// them blocks it in its turn.
func TestBlockedEventsExpire(t *testing.T) {
	r := newRig(t, options{dispatch: func(c *dispatch.Config) { c.SpillAfter = time.Millisecond }})
	var f diary
	f.bad.Store(true)
	r.deploy("f", f.run, deploy{triggers: byKey, retry: function.Retry{Attempts: 1, MaxAge: millis(300), ThenKey: function.ThenBlock}})
	for i := range 3 {
		r.send("a/k", strconv.Itoa(i), 1).wait(t, broker.Success)
	}
	until(t, "all are given up", func() bool { return len(r.letters()) == 3 })
	f.bad.Store(false)
	letters := r.letters()
	if _, err := r.d.Redrive(t.Context(), store.DeadLetterQuery{ID: letters[0].ID}); err != nil {
		t.Fatal(err)
	}
	until(t, "it expires again, for the others still hold the key", func() bool {
		l := r.letters()
		return len(l) == 3 && l[2].ID > letters[2].ID
	})
	if got := f.all(); len(got) != 0 {
		t.Errorf("ran %v", got)
	}
	r.deploy("f", f.run, deploy{version: 2, triggers: byKey})
	if n, err := r.d.Redrive(t.Context(), store.DeadLetterQuery{}); n != 3 || err != nil {
		t.Fatalf("redrove %d, %v", n, err)
	}
	until(t, "all have run", func() bool { return len(f.all()) == 3 })
}
