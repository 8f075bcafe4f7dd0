// Command accounting meters on gateways that are killed, over links that are cut,
// into controllers that are killed, with messages that come twice and out of
// order. At the end the controller's sums, the gateways' own and the number of
// events that were acknowledged to the driver have to be one number. Then it
// seeds faults, and shows that they are caught.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/headgate-io/headgate/internal/fault"
)

// plan is one run.
type plan struct {
	gateway, controller, seeded string
	gateways, replicas          int
	shared                      bool // PostgreSQL and Mosquitto
	lasts                       time.Duration
	seed                        uint64
	fault                       fault.Fault
	keep, edit                  bool
}

// seeds are the faults that must be caught.
var seeds = []fault.Fault{fault.AckBeforeStore, fault.NoIdempotencyKey}

func main() {
	var p plan
	flag.StringVar(&p.gateway, "headgate", "bin/headgate", "the gateway's binary")
	flag.StringVar(&p.controller, "controller", "bin/headgate-controller", "the controller's binary")
	flag.StringVar(&p.seeded, "seeded", "", "the controller built with the tag seededfaults; empty skips the proof")
	flag.IntVar(&p.gateways, "gateways", 20, "how many gateways")
	flag.IntVar(&p.replicas, "replicas", 1, "how many controllers; more than one needs -shared")
	flag.BoolVar(&p.shared, "shared", false, "PostgreSQL and Mosquitto in the place of SQLite and the embedded broker")
	flag.DurationVar(&p.lasts, "for", time.Minute, "how long to load, cut and kill")
	flag.Uint64Var(&p.seed, "seed", uint64(time.Now().UnixNano()), "of the moments")
	flag.BoolVar(&p.edit, "edit", false, "edit a row of a gateway at the end, which the controller must name")
	flag.BoolVar(&p.keep, "keep", false, "keep the folder of a failed run")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, p)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "accounting:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, p plan) error {
	if p.replicas > 1 && !p.shared {
		return errors.New("several controllers need -shared: SQLite is one's own")
	}
	r, err := trial(ctx, p)
	if err != nil {
		return err
	}
	r.print()
	if !r.exact() {
		return errors.New("the accounts differ")
	}
	if p.seeded == "" {
		return nil
	}
	return proof(ctx, p)
}

// proof runs with every seeded fault until it is caught.
func proof(ctx context.Context, p plan) error {
	var missed error
	p.controller, p.gateways, p.replicas, p.shared, p.edit = p.seeded, min(p.gateways, 2), 1, false, false
	for _, p.fault = range seeds {
		caught := false
		for try := 1; try <= 5 && !caught; try++ {
			p.seed++
			p.lasts = 6 * time.Second
			r, err := trial(ctx, p)
			if err != nil {
				return fmt.Errorf("with fault %s: %w", p.fault, err)
			}
			if caught = !r.exact(); caught {
				fmt.Printf("seeded fault %-20s caught in run %d: %s\n", p.fault, try, r)
			}
		}
		if !caught {
			fmt.Printf("seeded fault %-20s NOT caught\n", p.fault)
			missed = errors.Join(missed, fmt.Errorf("seeded fault %s was not caught: the harness is blind to it", p.fault))
		}
	}
	return missed
}

// trial is one run in a folder of its own.
func trial(ctx context.Context, p plan) (*result, error) {
	dir, err := os.MkdirTemp("", "headgate-accounting-")
	if err != nil {
		return nil, err
	}
	h := &harness{plan: p, dir: dir, random: rand.New(rand.NewPCG(p.seed, 1)), result: &result{plan: p}}
	err = h.run(ctx)
	if p.keep && (err != nil || !h.result.exact()) {
		fmt.Println("state kept in", dir)
		return h.result, err
	}
	return h.result, errors.Join(err, os.RemoveAll(dir))
}

// result is the three accounts, and what happened meanwhile.
type result struct {
	plan                                                       plan
	driver, gateways, controller                               uint64
	cuts, gatewayKills, controllerKills, repeated, redelivered int
	findings                                                   []string
	took                                                       time.Duration
}

func (r *result) exact() bool {
	return r.driver == r.gateways && r.gateways == r.controller && len(r.findings) == 0 && r.driver > 0
}

// String is the accounts in a line.
func (r *result) String() string {
	text := fmt.Sprintf("driver %d, gateways %d, controller %d", r.driver, r.gateways, r.controller)
	if len(r.findings) > 0 {
		text += fmt.Sprintf("; %d findings, the first: %s", len(r.findings), r.findings[0])
	}
	return text
}

func (r *result) print() {
	where := "SQLite, embedded broker"
	if r.plan.shared {
		where = fmt.Sprintf("PostgreSQL, Mosquitto, %d controllers", r.plan.replicas)
	}
	fmt.Printf("accounting: %d gateways, %s, seed %d: %s\n", r.plan.gateways, where, r.plan.seed, r)
	fmt.Printf("  %d kills of gateways, %d of controllers, %d cuts of all links, %d batches sent again out of order, %d events redelivered; settled in %.1f s\n",
		r.gatewayKills, r.controllerKills, r.cuts, r.repeated, r.redelivered, r.took.Seconds())
}
