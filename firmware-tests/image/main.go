// Command image boots the flashable image, unmodified, in QEMU and looks at it
// from outside: what a person does with it works, and cuts of its power take
// nothing that was acknowledged.
//
// The checks go through a board's life: a wrong setup file and a right one, a
// function that answers, updates of the gateway's binary good and bad, an
// actuator on a line of the GPIO controller, the power button. Then the power is
// cut at random moments under load; after each cut the data partition must be
// sound, and this process compares what the gateway knows with its own ledgers.
//
// It proves itself: with durability relaxed, which does not sync before it
// acknowledges, the same cuts must find that something is lost.
//
// The three parts have a machine each, and go on at the same time: a board waits
// more than it works.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// plan is what a run does.
type plan struct {
	image    string
	headgate string // the command line, for this machine
	update   string // another build of the gateway, for the board
	checks   string
	cuts     int
	prove    bool
	direct   bool
	machines int
	seed     uint64
	keep     bool
}

func main() {
	var p plan
	flag.StringVar(&p.image, "image", "", "the image to boot")
	flag.StringVar(&p.headgate, "headgate", "bin/headgate", "the command line, for this machine")
	flag.StringVar(&p.update, "update", "", "the gateway's binary for the board, to make updates of")
	flag.StringVar(&p.checks, "checks", all, "go through a board's life: all of it, a short one, or none")
	flag.IntVar(&p.cuts, "cuts", 5, "how often to cut the power under load")
	flag.BoolVar(&p.prove, "prove", true, "show that the loss of what was not synced is found")
	flag.BoolVar(&p.direct, "direct", false, "let QEMU load the kernel, without UEFI, for the cuts")
	flag.IntVar(&p.machines, "machines", 3, "how many boards are on at the same time")
	flag.Uint64Var(&p.seed, "seed", uint64(time.Now().UnixNano()), "of the moments of the cuts")
	flag.BoolVar(&p.keep, "keep", false, "keep the folder of the machine")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, p)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, p plan) error {
	var parts []part
	switch p.checks {
	case all, short:
		parts = append(parts, p.life)
	case none:
	default:
		return fmt.Errorf("-checks %s: want %s, %s or %s", p.checks, all, short, none)
	}
	if p.cuts > 0 {
		parts = append(parts, p.endures)
	}
	if p.prove {
		parts = append(parts, p.sees)
	}
	var g errgroup.Group // where one fails the others still tell what they see
	g.SetLimit(p.machines)
	say := turns(os.Stdout, len(parts))
	for i, part := range parts {
		g.Go(func() error {
			defer say[i].end()
			return part(ctx, say[i])
		})
	}
	return g.Wait()
}

// part is what one machine is there for.
type part func(ctx context.Context, out io.Writer) error

// endures cuts the power, and wants nothing to be lost.
func (p *plan) endures(ctx context.Context, out io.Writer) error {
	fmt.Fprintf(out, "power cuts: %d, seed %d\n", p.cuts, p.seed)
	violations, err := p.soak(ctx, out, full, p.cuts)
	if err != nil {
		return err
	}
	if len(violations) > 0 {
		return fmt.Errorf("%d violations", len(violations))
	}
	return nil
}

// sees wants the same to find what a gateway loses that does not sync.
func (p *plan) sees(ctx context.Context, out io.Writer) error {
	fmt.Fprintln(out, "the same with durability relaxed, which must be caught:")
	violations, err := p.soak(ctx, out, relaxed, maxProofCuts)
	if err != nil {
		return err
	}
	if len(violations) == 0 {
		return fmt.Errorf("nothing was found lost in %d cuts: this harness is blind", maxProofCuts)
	}
	fmt.Fprintln(out, "caught:", violations[0])
	return nil
}

// How much of a board's life is gone through.
const (
	all   = "all"
	short = "short"
	none  = "none"
)

// maxProofCuts is how often the power is cut until a gateway that does not
// sync is caught.
const maxProofCuts = 5

// soak cuts the power again and again.
func (p *plan) soak(ctx context.Context, out io.Writer, durability string, cuts int) (violations []string, err error) {
	s := soak{plan: p, out: out, durability: durability, random: rand.New(rand.NewPCG(p.seed, 1))}
	s.board, err = newBoard(ctx, p, p.direct)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.board.close()) }()
	err = s.run(ctx, cuts)
	return s.judge.Violations, err
}
