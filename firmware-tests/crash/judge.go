package main

import (
	"context"
	"net/http"

	"github.com/headgate-io/headgate/firmware-tests/observer"
	"github.com/headgate-io/headgate/gateway/admin/api"
)

// check compares what the functions kept with the ledger. Before redelivery
// every acknowledged event must be there; at the end every event, once.
func (h *harness) check(ctx context.Context, when string, final bool) error {
	counted := 0
	for _, p := range h.publishers {
		for _, name := range observer.Functions {
			s, err := h.gateway.seen(ctx, name, p.Name)
			if err != nil {
				return err
			}
			h.judge(p, name, when, s, final)
			if name == "counter" {
				counted += s.Count
			}
		}
	}
	if err := h.checkUsage(ctx, when, counted); err != nil {
		return err
	}
	return h.gateway.checkClean(ctx, func(format string, args ...any) { h.violate(when+": "+format, args...) })
}

func (h *harness) judge(p *observer.Publisher, function, when string, s observer.Seen, final bool) {
	for _, n := range p.Acknowledged() {
		if !s.Has(n) {
			h.violate("%s: %s: event %d of %s was acknowledged and is missing", when, function, n, p.Name)
			return
		}
	}
	if s.Count != s.Distinct() {
		h.violate("%s: %s: %d events of %s ran %d times", when, function, s.Distinct(), p.Name, s.Count)
	}
	if s.Disorder > 0 {
		h.violate("%s: %s: %d events of %s ran out of order", when, function, s.Disorder, p.Name)
	}
	if final && s.Distinct() != p.Events() {
		h.violate("%s: %s: %d of %d events of %s have an effect", when, function, s.Distinct(), p.Events(), p.Name)
	}
}

// checkUsage compares what was metered with what ran: the usage record of an
// invocation commits with its effects.
func (h *harness) checkUsage(ctx context.Context, when string, counted int) error {
	var rows []api.Usage
	if err := h.gateway.Client.Do(ctx, http.MethodGet, "/v1/usage?function=counter", nil, &rows); err != nil {
		return err
	}
	var succeeded uint64
	for i := range rows {
		succeeded += rows[i].Requests
		for _, n := range rows[i].Errors {
			succeeded -= n
		}
	}
	if succeeded != uint64(counted) {
		h.violate("%s: counter: %d invocations have an effect, %d are metered", when, counted, succeeded)
	}
	return nil
}

// judgeSubscribers compares what the subscribers got with what was published:
// everything, in order where the publisher's order is kept, and once where
// QoS 2 promises it.
func (h *harness) judgeSubscribers() {
	for _, s := range h.subscribers {
		got := s.Received()
		for _, p := range h.publishers {
			h.judgeReceived(s, p.Topic, got[p.Topic], p.Events(), s.QoS == 2 && p.QoS == 2)
			if n := got[p.Topic].Disorder; n > 0 {
				h.violate("%s: %d messages of %s came out of order", s.Name, n, p.Topic)
			}
			out := "out/" + p.Name
			h.judgeReceived(s, out, got[out], p.Events(), s.QoS == 2)
		}
	}
}

func (h *harness) judgeReceived(s *observer.Subscriber, topic string, got observer.Received, events int, once bool) {
	missing, first, repeated := 0, 0, 0
	for n := 1; n <= events; n++ {
		switch times := got.Times[n]; {
		case times == 0:
			if missing++; missing == 1 {
				first = n
			}
		case times > 1:
			repeated++
		}
	}
	if missing > 0 {
		h.violate("%s: %d of %d messages of %s never came, the first is %d", s.Name, missing, events, topic, first)
	}
	if once && repeated > 0 {
		h.violate("%s: %d messages of %s came more than once at QoS 2", s.Name, repeated, topic)
	}
}
