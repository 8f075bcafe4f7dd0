// Command demo waters a simulated field through a real gateway: it starts the
// gateway's binary, gives every probe, valve and meter its own credentials,
// connects each as an MQTT client over TCP, deploys the irrigation functions
// and lets two days pass in a minute.
//
// At the end it prints what the devices themselves saw, and fails unless every
// field stayed inside its target for the last half of the run.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

// options are what the command line and the environment say.
type options struct {
	headgate string
	project  string
	// noFunction leaves the field without its functions, to show that the
	// summary then fails.
	noFunction bool
	// length is how long the demo runs; 0 is until interrupted.
	length time.Duration
	speed  float64
}

func main() {
	var o options
	flag.StringVar(&o.headgate, "headgate", "bin/headgate", "the gateway's binary")
	flag.StringVar(&o.project, "project", "examples/irrigation", "the project to deploy")
	flag.BoolVar(&o.noFunction, "without-function", false, "do not deploy: the loop stays open and the demo fails")
	flag.Float64Var(&o.speed, "speed", 1200, "simulated seconds per second")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := start(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func start(ctx context.Context, o options) error {
	o.length = time.Minute
	if s := os.Getenv("HEADGATE_DEMO_SECONDS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 0 {
			return fmt.Errorf("HEADGATE_DEMO_SECONDS=%q: want a number of seconds, 0 to run on", s)
		}
		o.length = time.Duration(n) * time.Second
	}
	dir, err := os.MkdirTemp("", "headgate-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	return run(ctx, o, dir)
}

// run is the demo's whole life. What it starts it also ends.
func run(ctx context.Context, o options, dir string) (err error) {
	gw, err := startGateway(ctx, o.headgate, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, gw.Stop()) }()

	farm := newFarm(o.speed)
	if err := farm.connect(ctx, gw); err != nil {
		return err
	}
	defer farm.disconnect()
	if !o.noFunction {
		if err := gw.deploy(ctx, o.project); err != nil {
			return err
		}
	}

	limit := ctx
	if o.length > 0 {
		var cancel context.CancelFunc
		limit, cancel = context.WithTimeout(ctx, o.length)
		defer cancel()
	}
	fmt.Printf("\nSoil moisture from %.0f to %.0f %%: # is where it is, --- where it should be.\n", barLow, barHigh)
	began := time.Now()
	view := newView(os.Stdout, farm, gw)
	farm.live(limit, view.draw)
	view.close()
	err = summarize(os.Stdout, farm, gw)
	if ctx.Err() != nil {
		// Asked to end early, it has no verdict: the field may still be drying.
		fmt.Println("interrupted after", time.Since(began).Round(time.Second))
		return nil
	}
	return err
}
