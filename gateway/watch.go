package gateway

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/dispatch"
	"github.com/headgate-io/headgate/mqtt/broker"
	"github.com/headgate-io/headgate/mqtt/topic"
)

// watchers are operators who look at messages as subscribers get them. With
// none, messages pass at the cost of one atomic load.
type watchers struct {
	count atomic.Int32
	mu    sync.Mutex
	all   map[*watcher]struct{}
}

type watcher struct {
	filter string
	fn     func(api.Message)
}

func (w *watchers) any() bool { return w.count.Load() > 0 }

// add lets fn see what matches filter until cancel.
func (w *watchers) add(filter string, fn func(api.Message)) (cancel func()) {
	one := &watcher{filter, fn}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all == nil {
		w.all = map[*watcher]struct{}{}
	}
	w.all[one] = struct{}{}
	w.count.Add(1)
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.all, one)
		w.count.Add(-1)
	}
}

func (w *watchers) seen(m *broker.Message) {
	if !w.any() {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for one := range w.all {
		if topic.Match(one.filter, m.Topic) {
			one.fn(message(m))
		}
	}
}

func message(m *broker.Message) api.Message {
	return api.Message{Time: time.Now(), Topic: m.Topic, Payload: m.Payload, QoS: int(m.QoS), Retain: m.Retain}
}

// watched shows a message to the watchers when it is released to subscribers.
type watched struct {
	dispatch.Releaser
	m *broker.Message
	g *Gateway
}

// Release passes the release on and shows the message.
func (w *watched) Release(code broker.ReasonCode) {
	w.Releaser.Release(code)
	if code == broker.Success {
		w.g.watchers.seen(w.m)
	}
}
