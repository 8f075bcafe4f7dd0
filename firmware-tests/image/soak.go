package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/headgate-io/headgate/firmware-tests/observer"
)

// How the gateway's database is synced.
const (
	full    = "full"
	relaxed = "relaxed"
)

// publishers is few enough for an emulated board.
const publishers = 4

const soakSetup = `gateway:
  log: {level: warn}
  store: {durability: %s}
  mqtt:
    listeners: [{name: field, network: tcp, address: ":1883"}]
    max_queued_messages: 1000000
    max_queued_bytes: 64MiB
    max_queued_bytes_total: 128MiB
`

// soak is one board whose power is cut, its publishers, and the subscribers
// that are away while it works.
type soak struct {
	plan       *plan
	out        io.Writer
	durability string
	random     *rand.Rand
	board      *board
	judge      observer.Judge
	cuts       int
}

func (s *soak) run(ctx context.Context, cuts int) error {
	if err := s.prepare(ctx); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "%4s %8s %8s %10s %6s %8s %8s %6s %8s\n", "cut", "after s", "boot s", "acked", "lost", "doubled", "usage", "ext4", "valves")
	for s.cuts < cuts {
		if err := s.round(ctx); err != nil {
			return fmt.Errorf("after cut %d: %w", s.cuts, err)
		}
		if len(s.judge.Violations) > 0 {
			s.report()
			return nil
		}
	}
	if err := s.finish(ctx); err != nil {
		return err
	}
	s.report()
	return nil
}

func (s *soak) report() {
	for _, v := range s.judge.Violations {
		fmt.Fprintln(s.out, "  VIOLATION:", v)
	}
	sent, again, events := 0, 0, 0
	for _, p := range s.judge.Publishers {
		sent, again, events = sent+p.Sent, again+p.Redelivered, events+p.Events()
	}
	fmt.Fprintf(s.out, "cuts %d, distinct events %d, PUBLISH packets %d, of them redeliveries %d, acknowledged %d, violations %d\n",
		s.cuts, events, sent, again, s.judge.Acknowledged(), len(s.judge.Violations))
}

// prepare boots for the first time, adds devices, lets a subscriber subscribe
// and go, and deploys.
func (s *soak) prepare(ctx context.Context) (err error) {
	if err := s.board.machine.Prepare(ctx, fmt.Sprintf(soakSetup, s.durability)+valveSetup); err != nil {
		return err
	}
	if _, err := s.board.up(ctx); err != nil {
		return err
	}
	s.judge.Gateway = s.board.gateway
	if s.judge.Publishers, err = observer.AddPublishers(ctx, s.board.gateway, publishers); err != nil {
		return err
	}
	for i := range 2 {
		sub := observer.NewSubscriber(fmt.Sprintf("sub-%d", i), byte(1+i), "count/+", "out/+")
		if sub.Password, err = s.board.gateway.AddDevice(ctx, sub.Name, nil, sub.Filters); err != nil {
			return err
		}
		err := sub.Connect(ctx, s.board.gateway.Address)
		sub.Disconnect()
		if err != nil {
			return err
		}
		s.judge.Subscribers = append(s.judge.Subscribers, sub)
	}
	return observer.Deploy(ctx, s.board.gateway)
}

// round publishes for a moment, cuts the power, looks at the disk, boots, and
// looks at what the gateway knows before anything is redelivered.
func (s *soak) round(ctx context.Context) error {
	if err := s.open(ctx); err != nil {
		return err
	}
	life := time.Duration(200+s.random.IntN(3800)) * time.Millisecond
	publishing, stop := context.WithTimeout(ctx, life)
	defer stop()
	s.publish(publishing)
	opened, err := s.opened(ctx)
	if err != nil {
		return err
	}
	s.cuts++
	when := fmt.Sprintf("after cut %d", s.cuts)
	// The sockets are still open: the cut comes while packets are on their way.
	if err := s.board.cut(); err != nil {
		return err
	}
	s.judge.Disconnect()
	s.judge.Recognised(when)
	ext4 := "clean"
	if err := s.board.machine.DataClean(ctx); err != nil {
		ext4 = "BROKEN"
		s.judge.Violate("%s: %v", when, err)
	}
	boot, err := s.board.up(ctx)
	if err != nil {
		return err
	}
	closed, err := s.valves(ctx, when)
	if err != nil {
		return err
	}
	if err := s.judge.Gateway.Drain(ctx, 2*time.Minute); err != nil {
		return err
	}
	before := len(s.judge.Violations)
	checking, done := context.WithTimeout(ctx, 2*time.Minute)
	defer done()
	if err := s.judge.Check(checking, when, false); err != nil {
		return err
	}
	usage := "ok"
	if len(s.judge.Violations) > before && s.judge.Lost == 0 && s.judge.Doubled == 0 {
		usage = "WRONG"
	}
	fmt.Fprintf(s.out, "%4d %8.1f %8.1f %10d %6d %8d %8s %6s %8s\n",
		s.cuts, life.Seconds(), boot.Seconds(), s.judge.Acknowledged(), s.judge.Lost, s.judge.Doubled, usage, ext4, opened+">"+closed)
	return nil
}

// publish runs every publisher until ctx ends, and lets a subscriber come and
// take now and then.
func (s *soak) publish(ctx context.Context) {
	var wg sync.WaitGroup
	for _, p := range s.judge.Publishers {
		wg.Go(func() { p.Run(ctx, s.board.gateway.Address, false) })
	}
	for _, sub := range s.judge.Subscribers {
		if s.random.IntN(3) > 0 {
			continue
		}
		wg.Go(func() { sub.Err = sub.Connect(ctx, s.board.gateway.Address) })
	}
	wg.Wait()
}

// settleWithin bounds the end of a run.
const settleWithin = 3 * time.Minute

// finish redelivers what is unacknowledged, lets the subscribers take what
// they have coming, and looks a last time.
func (s *soak) finish(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settleWithin)
	defer cancel()
	if err := s.judge.Settle(ctx, settleWithin, 3*time.Second); err != nil {
		return err
	}
	return s.judge.Check(ctx, "at the end", true)
}
