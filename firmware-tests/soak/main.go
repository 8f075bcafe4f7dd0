// Command soak runs a gateway for a long time under steady and bursty load,
// with clients, functions and operators that misbehave, and shows that nothing
// of it grows: memory, goroutines, descriptors, files.
//
// The load has a fixed rate and a fixed number of keys, clients and functions;
// what grows under it is a leak. Every sample is printed; the verdict compares
// the last third of the time with the third before it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/headgate-io/headgate/firmware-tests/rig"
)

func main() {
	binary := flag.String("headgate", "bin/headgate", "the gateway's binary")
	minutes := flag.Float64("minutes", 10, "how long")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *binary, time.Duration(*minutes*float64(time.Minute)))
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

// samples is how many are taken.
const samples = 30

func run(ctx context.Context, binary string, length time.Duration) error {
	dir, err := os.MkdirTemp("", "headgate-soak-")
	if err != nil {
		return err
	}
	g, err := rig.New(binary, dir)
	if err == nil {
		err = errors.Join(soak(ctx, g, length), g.End())
	}
	return errors.Join(err, os.RemoveAll(dir))
}

func soak(ctx context.Context, g *rig.Gateway, length time.Duration) error {
	if err := g.Start(ctx); err != nil {
		return err
	}
	l, err := newLoad(ctx, g)
	if err != nil {
		return err
	}
	working, stop := context.WithCancel(ctx)
	defer stop()
	l.start(working)
	fmt.Println(header)
	var taken []sample
	tick := time.NewTicker(length / samples)
	defer tick.Stop()
	began := time.Now()
	for len(taken) < samples-1 { // however long that takes
		select {
		case <-ctx.Done():
			stop()
			l.wait()
			return ctx.Err()
		case <-tick.C:
		}
		s, err := takeSample(ctx, g)
		if err != nil {
			return errors.Join(err, fmt.Errorf("the gateway's log:\n%s", g.Log()))
		}
		taken = append(taken, s)
		fmt.Println(s.line(time.Since(began)))
	}
	stop()
	l.wait()
	if err := l.settle(ctx); err != nil {
		return err
	}
	return verdict(taken, l)
}

// settle looks whether everything is there that was acknowledged.
func (l *load) settle(ctx context.Context) error {
	within, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	l.judge.Redeliver(within)
	if err := l.judge.Gateway.Drain(ctx, 3*time.Minute); err != nil {
		return err
	}
	return l.judge.Check(ctx, "at the end", false)
}

func verdict(taken []sample, l *load) error {
	bad := 0
	for _, m := range measures {
		before, after := median(taken[len(taken)/3:2*len(taken)/3], m), median(taken[2*len(taken)/3:], m)
		grown := float64(after) > float64(before)*1.15+float64(m.slack)
		word := "flat"
		if grown {
			word = "GROWS"
			bad++
		}
		fmt.Printf("%-12s %12d → %12d  %s\n", m.name, before, after, word)
	}
	events := 0
	for _, p := range l.judge.Publishers {
		events += p.Events()
	}
	fmt.Printf("%d events acknowledged of %d sent; %s\n", l.judge.Acknowledged(), events, l.faults())
	for _, v := range l.judge.Violations {
		fmt.Println("  VIOLATION:", v)
	}
	if bad > 0 || len(l.judge.Violations) > 0 {
		return fmt.Errorf("%d measures grow, %d violations", bad, len(l.judge.Violations))
	}
	return nil
}
