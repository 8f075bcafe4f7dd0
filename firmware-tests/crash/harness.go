package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

const publishers = 8

// harness is one gateway, killed again and again, and its publishers.
type harness struct {
	binary, fault, dir string
	random             *rand.Rand
	gateway            *gateway
	publishers         []*publisher
	result             *result
}

func (h *harness) run(ctx context.Context, rounds int) error {
	began := time.Now()
	defer func() { h.result.took = time.Since(began) }()
	if err := h.prepare(ctx); err != nil {
		return errors.Join(err, h.stop())
	}
	for round := range rounds {
		if err := h.round(ctx, round); err != nil {
			return errors.Join(fmt.Errorf("round %d: %w", round, err), h.stop())
		}
		if len(h.result.violations) > 0 {
			h.tally()
			return h.stop()
		}
	}
	err := h.finish(ctx)
	h.tally()
	return errors.Join(err, h.stop())
}

func (h *harness) stop() error {
	if h.gateway == nil {
		return nil
	}
	return h.gateway.Kill()
}

func (h *harness) tally() {
	for _, p := range h.publishers {
		h.result.sent += p.sent
		h.result.redelivered += p.redelivered
		h.result.acknowledged += len(p.acknowledged)
		h.result.events += p.next - 1
	}
}

// prepare starts the gateway for the first time, with its devices and
// functions.
func (h *harness) prepare(ctx context.Context) (err error) {
	h.gateway, err = newGateway(h.binary, h.fault, h.dir)
	if err != nil {
		return err
	}
	if err := h.gateway.Start(ctx); err != nil {
		return err
	}
	for i := range publishers {
		p := newPublisher(fmt.Sprintf("pub-%d", i), byte(1+i%2))
		if p.password, err = h.gateway.AddDevice(ctx, p.name, []string{"count/{client}"}, nil); err != nil {
			return err
		}
		h.publishers = append(h.publishers, p)
	}
	return h.gateway.deploy(ctx)
}

// round lets the publishers publish for a moment, kills the gateway, starts it
// again and looks at what it knows before anything is redelivered.
func (h *harness) round(ctx context.Context, round int) error {
	life := time.Duration(20+h.random.IntN(400)) * time.Millisecond
	publishing, stop := context.WithTimeout(ctx, life)
	h.publish(publishing, false)
	stop()
	// The publishers' sockets are still open: the kill comes while packets are
	// on their way.
	if err := h.gateway.Kill(); err != nil {
		return err
	}
	for _, p := range h.publishers {
		p.disconnect()
	}
	h.result.kills++
	for _, p := range h.publishers {
		if errors.Is(p.err, errForgotten) {
			h.violate("kill %d: %s: %v", round+1, p.name, p.err)
		}
	}
	if err := h.gateway.Start(ctx); err != nil {
		return err
	}
	if err := h.gateway.Drain(ctx, time.Minute); err != nil {
		return err
	}
	return h.check(ctx, fmt.Sprintf("after kill %d", round+1), false)
}

// finish redelivers what is still unacknowledged and looks a last time.
func (h *harness) finish(ctx context.Context) error {
	publishing, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	h.publish(publishing, true)
	for _, p := range h.publishers {
		if n := len(p.inflight); n > 0 {
			h.violate("%s: %d events were never acknowledged, though the gateway stayed up (%v)", p.name, n, p.err)
		}
		p.disconnect()
	}
	if err := h.gateway.Drain(ctx, time.Minute); err != nil {
		return err
	}
	return h.check(ctx, "at the end", true)
}

// publish runs every publisher until ctx ends, or with settle until nothing of
// it is unacknowledged.
func (h *harness) publish(ctx context.Context, settle bool) {
	var wg sync.WaitGroup
	for _, p := range h.publishers {
		wg.Go(func() { p.run(ctx, h.gateway.Address, settle) })
	}
	wg.Wait()
}

func (h *harness) violate(format string, args ...any) {
	h.result.violations = append(h.result.violations, fmt.Sprintf(format, args...))
}

// check compares what the functions kept with the ledger. Before redelivery
// every acknowledged event must be there; at the end every event, once.
func (h *harness) check(ctx context.Context, when string, final bool) error {
	for _, p := range h.publishers {
		for _, name := range []string{"counter", "flaky"} {
			s, err := h.gateway.seen(ctx, name, p.name)
			if err != nil {
				return err
			}
			h.judge(p, name, when, s, final)
		}
	}
	return h.gateway.checkClean(ctx, func(format string, args ...any) { h.violate(when+": "+format, args...) })
}

func (h *harness) judge(p *publisher, function, when string, s seen, final bool) {
	sent := p.next - 1
	highest := 0
	for n := range p.acknowledged {
		highest = max(highest, n)
		if !s.has(n) {
			h.violate("%s: %s: event %d of %s was acknowledged and is missing", when, function, n, p.name)
			return
		}
	}
	if s.Count != s.distinct() {
		h.violate("%s: %s: %d events of %s ran %d times", when, function, s.distinct(), p.name, s.Count)
	}
	if s.Disorder > 0 {
		h.violate("%s: %s: %d events of %s ran out of order", when, function, s.Disorder, p.name)
	}
	if final && s.distinct() != sent {
		h.violate("%s: %s: %d of %d events of %s have an effect", when, function, s.distinct(), sent, p.name)
	}
}
