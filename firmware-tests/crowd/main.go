// Command crowd brings many of everything to a gateway with a small memory
// budget: clients, subscribers of one topic, subscriptions, retained messages,
// functions; and a subscriber that has stopped while much passes by. Each
// scenario looks whether everybody got what is theirs and whether memory
// stayed within the budget.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"

	"github.com/headgate-io/headgate/firmware-tests/rig"
)

// budget is the gateway's memory, and what no scenario may exceed.
const budget = 256 << 20

type scenario struct {
	name string
	run  func(ctx context.Context, g *rig.Gateway) error
}

var scenarios = []scenario{
	{"2000 clients, and storms of them", clients},
	{"fan-out of 1 to 1000", fanOut},
	{"10 000 subscriptions", subscriptions},
	{"10 000 retained messages", retained},
	{"1000 functions", functions},
	{"a subscriber stopped while 200 MB pass", stopped},
}

func main() {
	binary := flag.String("headgate", "bin/headgate", "the gateway's binary")
	only := flag.String("run", "", "only scenarios whose name matches this pattern")
	flag.Parse()
	pattern, err := regexp.Compile(*only)
	if err != nil {
		fmt.Fprintln(os.Stderr, "crowd: -run:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	failed := 0
	for _, s := range scenarios {
		if !pattern.MatchString(s.name) || ctx.Err() != nil {
			continue
		}
		fmt.Printf("%s\n", s.name)
		if err := play(ctx, *binary, s); err != nil {
			fmt.Println("  FAILED:", err)
			failed++
		}
	}
	stop()
	if failed > 0 {
		fmt.Fprintf(os.Stderr, "crowd: %d scenarios failed\n", failed)
		os.Exit(1)
	}
}

// play runs one scenario on a gateway of its own.
func play(ctx context.Context, binary string, s scenario) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "headgate-crowd-")
	if err != nil {
		return err
	}
	g, err := rig.New(binary, dir, "anonymous: true", "max_connections: 4000", "max_packet: 1MiB")
	if err == nil {
		g.Env = []string{fmt.Sprintf("HEADGATE_MEMORY__BUDGET=%d", budget)}
		err = g.Start(ctx)
	}
	if err == nil {
		began := time.Now()
		err = s.run(ctx, g)
		if err == nil {
			err = withinBudget(g, time.Since(began))
		}
		err = errors.Join(err, g.End())
	}
	return errors.Join(err, os.RemoveAll(dir))
}

func withinBudget(g *rig.Gateway, took time.Duration) error {
	peak, err := rig.Memory(g.Pid(), "VmHWM")
	if err != nil {
		return err
	}
	fmt.Printf("  %.1f MB at most, of %d; took %v\n", float64(peak)/1e6, budget/1_000_000, took.Round(100*time.Millisecond))
	if peak > budget {
		return fmt.Errorf("%d bytes resident at the peak: the budget is %d", peak, budget)
	}
	return nil
}
