// Command power shows what a power cut takes: nothing that was acknowledged,
// with durability full.
//
// It runs the gateway under strace while publishers send numbered events and
// objects are put by HTTP, and has from that every write, every sync and every acknowledgement in their
// order. Then it cuts the power at many points of the trace: what was synced is
// there, and of the writes after it any may have arrived, in any order, in
// parts. Each such disk is opened and compared with what had been acknowledged
// up to that point.
//
// It proves itself: with durability relaxed, and with seeded faults that do not
// sync the database, or the bytes of objects, the same must find that something
// acknowledged is gone.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"
)

// plan is what a trial does.
type plan struct {
	binary string
	env    []string
	load   time.Duration
	images int
	seed   uint64
}

func main() {
	headgate := flag.String("headgate", "bin/headgate", "the gateway's binary")
	seeded := flag.String("seeded", "", "the binary built with the tag seededfaults; empty skips its proof")
	images := flag.Int("images", 300, "how many disks to open; 0 is one after every call of the trace")
	load := flag.Duration("load", 3*time.Second, "how long to publish")
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano()), "of what is lost")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, plan{binary: *headgate, images: *images, load: *load, seed: *seed}, *seeded)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "power:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, p plan, seeded string) error {
	if _, err := exec.LookPath("strace"); err != nil {
		return errors.New("strace is not installed: apt-get install strace")
	}
	fmt.Printf("power: %d cuts (0 is one after every call), seed %d\n", p.images, p.seed)
	full, err := trial(ctx, p)
	if err != nil {
		return err
	}
	full.print()
	if len(full.violations) > 0 {
		return fmt.Errorf("%d disks broke a promise", len(full.violations))
	}
	p.images = max(p.images/3, 60)
	p.env = []string{"HEADGATE_STORE__DURABILITY=relaxed"}
	err = mustLose(ctx, p, "durability relaxed")
	if seeded != "" {
		for _, fault := range []string{"no-fsync", "blob-not-synced"} {
			p.binary, p.env = seeded, []string{"HEADGATE_FAULT=" + fault}
			err = errors.Join(err, mustLose(ctx, p, "seeded fault "+fault))
		}
	}
	return err
}

// mustLose runs a trial that has to find a loss.
func mustLose(ctx context.Context, p plan, what string) error {
	r, err := trial(ctx, p)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if len(r.violations) == 0 {
		fmt.Printf("%-24s NOT seen to lose anything in %d cuts\n", what, r.images)
		return fmt.Errorf("%s was not seen to lose anything: the harness is blind to it", what)
	}
	fmt.Printf("%-28s loses in %d of %d cuts: %s\n", what, len(r.violations), r.images, r.violations[0])
	return nil
}
