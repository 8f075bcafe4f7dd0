// Command scale measures one controller under a large simulated fleet: the real
// protocol over real connections, all on this machine. It fails where the
// controller loses something, or takes more than it may.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/headgate-io/headgate/controller/simulate"
)

// The budgets of one controller on a machine of two cores.
const (
	maxShare  = 0.5
	maxMemory = 2 << 30
)

var (
	binary   = flag.String("controller", "bin/headgate-controller", "the controller's binary")
	gateways = flag.Int("gateways", 10_000, "how many gateways")
	busy     = flag.Int("functions", 10, "how many functions of each are at work")
	interval = flag.Duration("interval", 15*time.Minute, "how often they report")
	jitter   = flag.Duration("jitter", time.Minute, "how far apart the first and the last report")
	rounds   = flag.Int("rounds", 1, "how often they report in all")
)

func main() {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "headgate-scale-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	c, token, err := startController(ctx, dir, *gateways)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Stop()) }()
	f, err := simulate.New(simulate.Config{
		Controller: c.URL(), Token: token, Gateways: *gateways, Functions: *busy, Interval: *interval, Jitter: *jitter,
	})
	if err != nil {
		return err
	}
	m := &measure{c: c, f: f}
	fmt.Printf("%d gateways with %d functions each, reporting every %s within %s; %d cores\n", *gateways, *busy, *interval, *jitter, runtime.NumCPU())
	fmt.Printf("%-34s %9s %9s %11s %10s %12s\n", "", "took s", "CPU s", "ms/gateway", "memory MB", "link B/gw")
	if err := m.step(ctx, "enrolled", func(ctx context.Context) error { return f.Enrol(ctx) }); err != nil {
		return err
	}
	living, end := context.WithCancel(ctx)
	var fleet sync.WaitGroup
	fleet.Go(func() { f.Run(living) })
	defer func() { end(); fleet.Wait() }()
	err = m.step(ctx, "connected", func(ctx context.Context) error {
		return until(ctx, 10*time.Minute, func() bool { return f.Stats().Connected == *gateways })
	})
	if err != nil {
		return err
	}
	for n := range *rounds {
		if err := m.round(ctx, n+1); err != nil {
			return err
		}
	}
	f.Rest()
	return m.verdict(ctx)
}

// until waits for something, and says what was there when it gives up.
func until(ctx context.Context, most time.Duration, is func() bool) error {
	ctx, stop := context.WithTimeout(ctx, most)
	defer stop()
	for !is() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}
