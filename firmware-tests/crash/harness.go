package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/headgate-io/headgate/firmware-tests/observer"
	"github.com/headgate-io/headgate/firmware-tests/rig"
	"github.com/headgate-io/headgate/internal/fault"
)

const publishers = 8

// harness is one gateway, killed again and again, its publishers, and the
// subscribers that are mostly away.
type harness struct {
	plan    plan
	dir     string
	random  *rand.Rand
	judge   observer.Judge
	result  *result
	uploads uploads
	step    fault.Step // that the running process was told to end at
}

// plan is what a trial does.
type plan struct {
	// binary is the program; seeded is the one built with the tag
	// seededfaults, for rounds that end at a step; empty has none of these.
	binary, seeded string
	// fault is the promise that the binary breaks.
	fault  fault.Fault
	rounds int
	seed   uint64
	keep   bool
}

func (h *harness) run(ctx context.Context) error {
	began := time.Now()
	defer func() { h.result.took = time.Since(began) }()
	if err := h.prepare(ctx); err != nil {
		return errors.Join(err, h.stop())
	}
	for h.result.total() < h.plan.rounds {
		if err := h.round(ctx); err != nil {
			return errors.Join(fmt.Errorf("after kill %d: %w", h.result.total(), err), h.stop())
		}
		if len(h.judge.Violations) > 0 {
			h.tally()
			return h.stop()
		}
	}
	err := h.finish(ctx)
	h.tally()
	return errors.Join(err, h.stop())
}

func (h *harness) stop() error {
	if h.judge.Gateway == nil {
		return nil
	}
	return h.judge.Gateway.Kill()
}

func (h *harness) tally() {
	h.result.violations = h.judge.Violations
	h.result.acknowledged = h.judge.Acknowledged()
	h.result.uploads, h.result.uploaded = h.uploads.last, len(h.uploads.acknowledged)
	for _, p := range h.judge.Publishers {
		h.result.sent += p.Sent
		h.result.redelivered += p.Redelivered
		h.result.events += p.Events()
	}
	for _, s := range h.judge.Subscribers {
		for _, r := range s.Received() {
			h.result.delivered += len(r.Times)
		}
	}
}

// prepare starts the gateway for the first time, with its devices and
// functions, and lets the subscribers subscribe and go.
func (h *harness) prepare(ctx context.Context) (err error) {
	h.judge.Gateway, err = observer.NewGateway(h.plan.binary, h.dir)
	if err != nil {
		return err
	}
	if err := h.judge.Gateway.Configure(buckets); err != nil {
		return err
	}
	if h.plan.fault != "" {
		h.judge.Gateway.Env = []string{"HEADGATE_FAULT=" + string(h.plan.fault)}
	}
	if err := h.judge.Gateway.Start(ctx); err != nil {
		return err
	}
	if h.judge.Publishers, err = observer.AddPublishers(ctx, h.judge.Gateway, publishers); err != nil {
		return err
	}
	for i := range 2 {
		s := observer.NewSubscriber(fmt.Sprintf("sub-%d", i), byte(1+i), "count/+", "out/+")
		if s.Password, err = h.judge.Gateway.AddDevice(ctx, s.Name, nil, s.Filters); err != nil {
			return err
		}
		if err := h.subscribe(ctx, s); err != nil {
			return err
		}
		h.judge.Subscribers = append(h.judge.Subscribers, s)
	}
	if err := observer.Deploy(ctx, h.judge.Gateway); err != nil {
		return err
	}
	return h.uploads.deploy(ctx, h.judge.Gateway)
}

// subscribe lets a subscriber subscribe and go. With a fault its device may
// take a moment to be known.
func (h *harness) subscribe(ctx context.Context, s *observer.Subscriber) (err error) {
	defer s.Disconnect()
	for range 20 {
		if err = s.Connect(ctx, h.judge.Gateway.Address); err == nil || h.plan.fault == "" {
			return err
		}
		s.Disconnect()
		time.Sleep(100 * time.Millisecond)
	}
	return err
}

// round publishes for a moment until the gateway is killed, or kills itself at
// a step; then it starts the gateway, with the next step, and looks at what it
// knows before anything is redelivered.
func (h *harness) round(ctx context.Context) error {
	life := time.Duration(20+h.random.IntN(300)) * time.Millisecond
	publishing, stop := context.WithTimeout(ctx, life)
	h.publish(publishing, false)
	stop()
	// The sockets are still open: the kill comes while packets are on their
	// way.
	if err := h.kill(); err != nil {
		return err
	}
	h.judge.Recognised(fmt.Sprintf("kill %d", h.result.total()))
	for {
		h.arm()
		err := h.look(ctx, fmt.Sprintf("after kill %d", h.result.total()))
		if err == nil || h.step == "" || !errors.Is(err, rig.ErrEnded) && !h.ended() {
			return err
		}
		// It came to its step while it recovered.
		h.result.kills[h.step]++
		if err := h.judge.Gateway.End(); err != nil {
			return err
		}
	}
}

// ended reports whether the process has come to its step: its connections break
// a moment before it is gone.
func (h *harness) ended() bool {
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if h.judge.Gateway.Ended() {
			return true
		}
	}
	return false
}

// kill ends the process, where it has not ended itself, and the connections.
func (h *harness) kill() error {
	err := h.judge.Gateway.Kill()
	switch {
	case h.step != "" && errors.Is(err, rig.ErrEnded):
		h.result.kills[h.step]++
	case err != nil:
		return err
	default:
		h.result.kills[anywhere]++
	}
	h.judge.Disconnect()
	return nil
}

// arm decides where the next process ends: every other one ends at a step of
// the event's way, in turn, after a few events or a few hundred.
func (h *harness) arm() {
	h.step = ""
	if h.plan.seeded == "" || h.plan.fault != "" {
		return
	}
	h.judge.Gateway.Binary, h.judge.Gateway.Env = h.plan.binary, nil
	if h.result.total()%3 == 0 {
		return
	}
	h.step = fault.Steps[h.result.armed%len(fault.Steps)]
	h.result.armed++
	h.judge.Gateway.Binary = h.plan.seeded
	h.judge.Gateway.Env = []string{fmt.Sprintf("HEADGATE_CRASH_AT=%s:%d", h.step, 1+h.random.IntN(1<<h.random.IntN(9)))}
}

// look starts the gateway and compares.
func (h *harness) look(ctx context.Context, when string) error {
	if err := h.judge.Gateway.Start(ctx); err != nil {
		return err
	}
	if h.plan.fault != "" { // what waits for what is not there would wait until the time is over
		if err := h.uploads.present(ctx, &h.judge, when); err != nil || len(h.judge.Violations) > 0 {
			return err
		}
	}
	if err := h.judge.Gateway.Drain(ctx, h.drainWithin()); err != nil {
		if h.plan.fault != "" && !h.judge.Gateway.Ended() {
			h.judge.Violate("%s: %v", when, err) // what they wait for is not there
			return nil
		}
		return err
	}
	if err := h.uploads.check(ctx, &h.judge, when); err != nil {
		return err
	}
	return h.judge.Check(ctx, when, false)
}

// drainWithin is how long what is queued may take. With a fault it may wait for
// ever, for content that is gone.
func (h *harness) drainWithin() time.Duration {
	if h.plan.fault != "" {
		return 20 * time.Second
	}
	return 3 * time.Minute
}

// finish redelivers what is still unacknowledged, lets the subscribers take
// all they have coming, and looks a last time.
func (h *harness) finish(ctx context.Context) error {
	if err := h.judge.Gateway.End(); err != nil {
		return err
	}
	h.step = ""
	h.judge.Gateway.Binary = h.plan.binary
	if h.plan.fault == "" {
		h.judge.Gateway.Env = nil
	}
	if err := h.judge.Gateway.Start(ctx); err != nil {
		return err
	}
	if err := h.judge.Settle(ctx, 3*time.Minute, 2*time.Second); err != nil {
		return err
	}
	if err := errors.Join(h.uploads.check(ctx, &h.judge, "at the end"), h.uploads.checkSwept(ctx, &h.judge, h.dir)); err != nil {
		return err
	}
	return h.judge.Check(ctx, "at the end", true)
}

// publish runs every publisher until ctx ends or the gateway does, while some
// subscribers come and take.
func (h *harness) publish(ctx context.Context, settle bool) {
	var wg sync.WaitGroup
	for _, p := range h.judge.Publishers {
		wg.Go(func() { p.Run(ctx, h.judge.Gateway.Address, settle) })
	}
	wg.Go(func() { h.uploads.run(ctx, h.judge.Gateway) })
	for _, s := range h.judge.Subscribers {
		needed := h.step == fault.Delivered || h.step == fault.Acknowledged
		if !needed && h.random.IntN(2) == 0 {
			continue
		}
		wait := time.Duration(h.random.IntN(100)) * time.Millisecond
		wg.Go(func() {
			time.Sleep(wait)
			s.Err = s.Connect(ctx, h.judge.Gateway.Address)
		})
	}
	wg.Wait()
}
