package dispatch_test

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/dispatch"
	"github.com/headgate-io/headgate/gateway/trigger"
	"github.com/headgate-io/headgate/mqtt/broker"
	"github.com/headgate-io/headgate/sandbox/host"
)

func cpuTime(b *testing.B) time.Duration {
	var ru unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &ru); err != nil {
		b.Fatal(err)
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// countingOutbox counts instead of delivering.
type countingOutbox struct{ n atomic.Int64 }

func (o *countingOutbox) Plan(*function.Publish, bool) *broker.Plan { return nil }

func (o *countingOutbox) Publish(*event.Event, string, function.Publish, *broker.Plan) { o.n.Add(1) }

type released struct{}

func (released) Release(broker.ReasonCode) {}

var out = []byte("farm/3/valve")

// threshold is what a small handler does, without its sandbox.
func threshold(_ context.Context, c *host.Calls) error {
	_ = c.Publish(out, c.Input(), 0, 0)
	return nil
}

// BenchmarkDispatchVolatile is a QoS 0 event from its match to its publish:
// everything but the broker and the sandbox.
func BenchmarkDispatchVolatile(b *testing.B) {
	for _, key := range []string{"", "field"} {
		b.Run(fmt.Sprintf("key=%t", key != ""), func(b *testing.B) {
			box := &countingOutbox{}
			r := newRig(b, options{quiet: true, dispatch: func(c *dispatch.Config) { c.Outbox = box }})
			r.deploy("f", threshold, deploy{triggers: []function.Trigger{{MQTT: "farm/{field}/moisture", OrderBy: key}}, limits: function.Limits{Concurrency: 1}})
			payload := []byte(`{"moisture":27.5}`)
			m := &trigger.Message{Topic: "farm/3/moisture", Payload: payload}
			var matches []trigger.Match
			cpu := cpuTime(b)
			b.ReportAllocs()
			n := int64(0)
			for b.Loop() {
				n++
				for n-box.n.Load() > 1000 {
					runtime.Gosched()
				}
				ev := &event.Event{ID: "x", Source: "/mqtt/soil-3", Type: event.TypeMQTT, Subject: m.Topic, Data: payload}
				matches = r.table.Match(m, matches[:0])
				r.d.Submit(dispatch.Arrival{Event: ev, Matches: matches, Release: released{}})
			}
			for box.n.Load() < n {
				runtime.Gosched()
			}
			b.ReportMetric(float64(cpuTime(b)-cpu)/float64(n)/1e3, "cpu-µs/op")
		})
	}
}

// BenchmarkDispatchDurable is a QoS 1 event that writes state and publishes,
// from its match to its release, with 160 of 8 sessions in flight.
func BenchmarkDispatchDurable(b *testing.B) {
	box := &countingOutbox{}
	r := newRig(b, options{quiet: true, dispatch: func(c *dispatch.Config) { c.Outbox = box }})
	r.deploy("f", func(_ context.Context, c *host.Calls) error {
		_, _ = c.KVGet(out)
		_ = c.KVSet(out, c.Input(), 0)
		_ = c.Publish(out, c.Input(), 0, 0)
		return nil
	}, deploy{triggers: []function.Trigger{{MQTT: "farm/{field}/moisture", OrderBy: "field"}}})
	const sessions = 8
	names := make([]string, sessions)
	for i := range names {
		names[i] = fmt.Sprint("client-", i)
		done := make(chan error, 1)
		r.store.SaveSession(broker.SessionRecord{Client: names[i], Epoch: uint64(i + 1)}, func(err error) { done <- err })
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	payload := []byte(`{"moisture":27.5}`)
	window := make(chan struct{}, 160)
	rel := releaseFunc(func(broker.ReasonCode) { <-window })
	cpu := cpuTime(b)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		n++
		window <- struct{}{}
		m := &trigger.Message{Topic: "farm/3/moisture", Payload: payload, QoS: 1}
		ev := &event.Event{ID: "x", Source: "/mqtt/soil-3", Type: event.TypeMQTT, Subject: m.Topic, Data: payload}
		in := &broker.InboundRecord{Client: names[n%sessions], Epoch: uint64(n%sessions + 1), QoS: 1, Slot: uint32(n / sessions % 1024), PacketID: uint16(n), Hash: uint64(n)}
		r.d.Submit(dispatch.Arrival{Event: ev, Matches: r.table.Match(m, nil), Release: rel, Inbound: in})
	}
	for len(window) > 0 {
		runtime.Gosched()
	}
	st := r.store.Stats()
	b.ReportMetric(float64(cpuTime(b)-cpu)/float64(n)/1e3, "cpu-µs/op")
	b.ReportMetric(float64(st.Units)/float64(st.Commits), "units/commit")
	b.ReportMetric(float64(r.d.Stats().Spilled)/float64(n), "spilled/op")
}
