// Command fulldisk shows what a gateway, and a controller, does on a disk without
// room.
//
// First for real: its state is on a small tmpfs, which is filled to the last
// byte while publishers publish. They must get an error (version 5: 0x97;
// 3.1.1: no acknowledgement), what settles must go on settling, a killed
// gateway must start again, and once the filler is gone publishing goes on,
// without a restart. So for updates: what the owner signs finds no room, the
// version before stays live, and it is taken once there is room.
//
// A controller's disk is filled too, while gateways report: they keep what they
// have, changes and uploads get 507, and everything is counted once there is room.
//
// Then injected: under strace, one write of the database after another fails
// with "no space left on device" or "I/O error", for a while, in start and
// work alike. Nothing acknowledged may be gone.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/headgate-io/headgate/firmware-tests/observer"
)

func main() {
	binary := flag.String("headgate", "bin/headgate", "the gateway's binary")
	controller := flag.String("controller", "bin/headgate-controller", "the controller's binary")
	alone := flag.Bool("controller-only", false, "show what a controller does, and no gateway")
	sites := flag.Int("sites", 60, "how many calls of the database to let fail")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := controlling(ctx, *controller)
	if err == nil && *alone {
		stop()
		return
	}
	if err == nil {
		err = filled(ctx, *binary)
	}
	if err == nil {
		err = updating(ctx, *binary)
	}
	if err == nil {
		err = injected(ctx, *binary, *sites)
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "fulldisk:", err)
		os.Exit(1)
	}
}

// crowd are publishers that connect again and again.
type crowd struct {
	judge   observer.Judge
	workers []*observer.Publisher // that publish by themselves
	probe   *observer.Publisher   // whose events mosquitto_pub sends
	stop    context.CancelFunc
	done    chan struct{}
}

const publishers = 4

// patience ends what would never end.
const patience = 3 * time.Minute

// newCrowd starts a gateway for the first time, with functions and publishers.
func newCrowd(ctx context.Context, binary, dir string) (*crowd, error) {
	g, err := observer.NewGateway(binary, dir)
	if err != nil {
		return nil, err
	}
	c := &crowd{judge: observer.Judge{Gateway: g, Refusals: true, Alone: true}}
	if err := g.Start(ctx); err != nil {
		return nil, err
	}
	if c.workers, err = observer.AddPublishers(ctx, g, publishers); err != nil {
		return nil, errors.Join(err, g.Kill())
	}
	c.probe = observer.NewPublisher("probe", "count/probe", 1)
	if c.probe.Password, err = g.AddDevice(ctx, c.probe.Name, []string{c.probe.Topic}, nil); err != nil {
		return nil, errors.Join(err, g.Kill())
	}
	c.judge.Publishers = append(slices.Clone(c.workers), c.probe)
	if err := observer.DeployAlone(ctx, g); err != nil {
		return nil, errors.Join(err, g.Kill())
	}
	return c, nil
}

// publish starts them all; they go on until rest.
func (c *crowd) publish(ctx context.Context) {
	ctx, c.stop = context.WithCancel(ctx)
	c.done = make(chan struct{})
	left := make(chan struct{}, len(c.workers))
	for _, p := range c.workers {
		go func() {
			for ctx.Err() == nil {
				p.Run(ctx, c.judge.Gateway.Address, false)
				p.Disconnect()
				select {
				case <-ctx.Done():
				case <-time.After(20 * time.Millisecond):
				}
			}
			left <- struct{}{}
		}()
	}
	go func() {
		for range c.workers {
			<-left
		}
		close(c.done)
	}()
}

func (c *crowd) rest() {
	if c.stop != nil {
		c.stop()
		<-c.done
		c.stop = nil
	}
}

// settle redelivers everything and looks a last time.
func (c *crowd) settle(ctx context.Context, when string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c.judge.Redeliver(ctx)
	for _, p := range c.judge.Publishers {
		if n := p.Unacknowledged(); n > 0 {
			c.judge.Violate("%s: %s: %d events are not acknowledged (%v)", when, p.Name, n, p.Err)
		}
	}
	if err := c.judge.Gateway.Drain(ctx, patience); err != nil {
		return err
	}
	return c.judge.Check(ctx, when, true)
}

// verdict prints the violations.
func (c *crowd) verdict() error {
	for _, v := range c.judge.Violations {
		fmt.Println("  VIOLATION:", v)
	}
	if n := len(c.judge.Violations); n > 0 {
		return fmt.Errorf("%d violations", n)
	}
	return nil
}

// end stops what was started, whatever state it is in.
func (c *crowd) end() error {
	c.rest()
	return c.judge.Gateway.End()
}
