package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/dispatch"
	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/internal/testdb"
	"github.com/headgate-io/headgate/mqtt/broker"
	"github.com/headgate-io/headgate/sandbox/host"
)

// brokerOutbox is a real broker behind the outbox.
type brokerOutbox struct{ atomic.Pointer[broker.Server] }

func (o *brokerOutbox) Plan(p *function.Publish, joins bool) *broker.Plan {
	return o.Load().Plan(&broker.Message{Topic: p.Topic, Payload: p.Payload, QoS: p.QoS, Retain: p.Retain}, joins)
}

func (o *brokerOutbox) Publish(_ *event.Event, _ string, p function.Publish, plan *broker.Plan) {
	if plan != nil {
		o.Load().Deliver(plan, nil)
		return
	}
	o.Load().Publish(&broker.Message{Topic: p.Topic, Payload: p.Payload, QoS: p.QoS, Retain: p.Retain})
}

// away is a durable session, as the broker stores it, that subscribes to "out"
// with QoS 2.
func away(t *testing.T, s *store.Store) {
	t.Helper()
	done := make(chan error, 1)
	s.SaveSession(broker.SessionRecord{
		Client: "away", Epoch: 1, Expiry: broker.NeverExpires, Subscriptions: []byte{1, 1, 0, 3, 'o', 'u', 't', 2, 0},
	}, func(err error) { done <- err })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// A function's count and what it publishes to a subscriber who is away stay
// together while the disk fails at any step: every message is stored once, in
// order, and no place of a commit that was not stays behind.
func TestDeliveriesSurviveCommitErrors(t *testing.T) {
	for _, step := range []store.Step{store.StepBegin, store.StepWrite, store.StepCommit, store.StepAfterCommit} {
		t.Run(string(step), func(t *testing.T) {
			var armed atomic.Bool
			var calls, failed atomic.Int32
			box := &brokerOutbox{}
			r := newRig(t, options{
				quiet:    true,
				dispatch: func(c *dispatch.Config) { c.Outbox, c.RefuseAfter = box, time.Minute },
				store: func(c *store.Config) {
					c.Inject = func(s store.Step) error {
						if armed.Load() && s == step && calls.Add(1)%5 == 3 && failed.Add(1) <= 10 {
							return errors.New("disk I/O error (injected)")
						}
						return nil
					}
				},
			})
			away(t, r.store)
			cfg := broker.DefaultConfig()
			cfg.SysInterval = 0
			srv, err := broker.New(cfg, broker.Deps{
				Authenticator: broker.AllowAll{}, Sessions: r.store, Messages: r.store, Logger: slog.New(slog.DiscardHandler),
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = srv.Close(context.Background()) })
			box.Store(srv)
			r.deploy("f", func(_ context.Context, c *host.Calls) error {
				v, _ := c.KVGet([]byte("n"))
				n, _ := strconv.Atoi(string(v))
				next := []byte(strconv.Itoa(n + 1))
				_ = c.KVSet([]byte("n"), next, 0)
				_ = c.Publish([]byte("out"), next, 2, 0)
				return nil
			}, deploy{
				triggers: []function.Trigger{{MQTT: "in/{key}", OrderBy: "key"}},
				retry:    function.Retry{Attempts: 1000, Backoff: function.Duration(1e6), MaxBackoff: function.Duration(4e6)},
			})
			armed.Store(true)
			const events = 60
			var all []release
			for i := range events {
				rel := make(release, 1)
				r.submit("in/one", fmt.Sprint(i), 1, rel, nil, store.DedupeKey{})
				if all = append(all, rel); i%4 == 3 {
					rel <- <-rel // some wait for their answer, others come together
				}
			}
			accepted := 0
			for _, rel := range all {
				if <-rel == broker.Success {
					accepted++
				}
			}
			armed.Store(false)
			until(t, "every event has an effect", func() bool { return r.get("f", "n") == strconv.Itoa(accepted) })
			r.sync()
			total, _ := strconv.Atoi(r.get("f", "n"))
			c := newRig(t, options{path: testdb.Copy(t, r.path), dispatch: func(c *dispatch.Config) { c.Outbox = box }})
			if n := c.get("f", "n"); n != strconv.Itoa(total) {
				t.Errorf("counted %s on disk, %d in memory", n, total)
			}
			checkStored(t, c.store, total)
			until(t, "no place waits", func() bool {
				clients := srv.Clients()
				return len(clients) == 1 && clients[0].Queued+clients[0].InFlight == total
			})
		})
	}
}

// checkStored compares what waits for "away" with 1 to total.
func checkStored(t *testing.T, s *store.Store, total int) {
	t.Helper()
	ctx := context.Background()
	bodies := map[uint64]string{}
	err := s.LoadMessages(ctx, func(id uint64, body []byte) { bodies[id] = string(body) })
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	err = s.LoadOutgoing(ctx, func(r broker.OutgoingRecord) {
		n++
		want := string(broker.AppendMessage(nil, &broker.Message{Topic: "out", Payload: []byte(strconv.Itoa(n)), QoS: 2}, time.Time{}))
		if bodies[r.Message] != want {
			t.Errorf("message %d is %q, want %q", n, bodies[r.Message], want)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if n != total || len(bodies) != total {
		t.Errorf("%d rows of %d messages are stored, want %d", n, len(bodies), total)
	}
}
