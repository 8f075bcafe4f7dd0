package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/headgate-io/headgate/controller/simulate"
	"github.com/headgate-io/headgate/firmware-tests/rig"
)

// measure holds the controller's work against what the fleet did.
type measure struct {
	c *rig.Controller
	f *simulate.Fleet

	connect, report float64 // IP bytes of a gateway for each
	share           float64 // of the machine, over an interval
	busiest         float64 // of the machine, over the minute with the most work
	memory          int64
}

// step measures one thing that the fleet does.
func (m *measure) step(ctx context.Context, what string, do func(context.Context) error) error {
	_, bytes, err := m.during(ctx, what, do)
	m.connect += bytes
	return err
}

func (m *measure) during(ctx context.Context, what string, do func(context.Context) error) (cpu time.Duration, bytes float64, err error) {
	before, err := rig.CPU(m.c.Pid())
	if err != nil {
		return 0, 0, err
	}
	link, began := m.f.Stats().LinkBytes, time.Now()
	if err := do(ctx); err != nil {
		return 0, 0, fmt.Errorf("%s: %w: %+v\n%s", what, err, m.f.Stats(), m.c.Log())
	}
	took := time.Since(began)
	after, err := rig.CPU(m.c.Pid())
	if err != nil {
		return 0, 0, err
	}
	resident, err := rig.Memory(m.c.Pid(), "VmRSS")
	if err != nil {
		return 0, 0, err
	}
	n := float64(*gateways)
	cpu, m.memory, bytes = after-before, max(m.memory, resident), float64(m.f.Stats().LinkBytes-link)/n
	fmt.Printf("%-34s %9.1f %9.1f %11.2f %10.0f %12.0f\n", what, took.Seconds(), cpu.Seconds(), cpu.Seconds()*1000/n, float64(resident)/1e6, bytes)
	return cpu, bytes, nil
}

// round waits for a report of all, and what is sent of it to be acknowledged.
func (m *measure) round(ctx context.Context, n int) error {
	var busiest time.Duration
	cpu, bytes, err := m.during(ctx, fmt.Sprintf("reported and acknowledged (%d)", n), func(ctx context.Context) error {
		watching, stop := context.WithCancel(ctx)
		peak := make(chan time.Duration, 1)
		go func() { peak <- m.busiestMinute(watching) }()
		defer func() { stop(); busiest = <-peak }()
		return until(ctx, *interval+*jitter+10*time.Minute, func() bool {
			s := m.f.Stats()
			return s.Sealed >= uint64(n**gateways) && s.Waiting == 0
		})
	})
	cores := float64(runtime.NumCPU())
	m.report, m.share = bytes, cpu.Seconds()/interval.Seconds()/cores
	m.busiest = max(m.busiest, busiest.Seconds()/60/cores)
	return err
}

// busiestMinute is the most CPU time that the controller takes in a minute,
// until ctx ends.
func (m *measure) busiestMinute(ctx context.Context) (most time.Duration) {
	var taken []time.Duration // at each second of the last minute
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if now, err := rig.CPU(m.c.Pid()); err == nil {
			if taken = append(taken, now); len(taken) > 61 {
				taken = taken[1:]
			}
			most = max(most, now-taken[0])
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return most
		}
	}
}

// verdict compares both sides, and the controller with its budgets.
func (m *measure) verdict(ctx context.Context) error {
	s := m.f.Stats()
	if err := m.c.Stop(); err != nil {
		return err
	}
	known, err := known(ctx, m.c)
	if err != nil {
		return err
	}
	fmt.Printf("the fleet metered %d requests and %d fuel in %d batches, sent %d times; the controller has %d and %d\n",
		s.Metered.Requests, s.Metered.Fuel, s.Sealed, s.Sent, known.Requests, known.Fuel)
	fmt.Printf("of the machine, over %s: %.1f %% (at most %.0f), in the busiest minute %.1f %%; memory %.0f MB (at most %.0f)\n",
		*interval, m.share*100, maxShare*100, m.busiest*100, float64(m.memory)/1e6, float64(maxMemory)/1e6)
	reports := float64(24*time.Hour) / float64(*interval)
	fmt.Printf("a gateway on the link, estimated IP bytes: %.1f KB to enrol and connect, %.2f KB a report, %.1f KB for the reports of a day\n",
		m.connect/1e3, m.report/1e3, m.report*reports/1e3)
	var faults []error
	if known != s.Metered {
		faults = append(faults, errors.New("the controller's sums are not the fleet's"))
	}
	if s.Refused > 0 {
		faults = append(faults, fmt.Errorf("%d batches were refused", s.Refused))
	}
	if m.share > maxShare || m.memory > maxMemory {
		faults = append(faults, errors.New("the controller is over its budget"))
	}
	return errors.Join(faults...)
}
