package main

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/headgate-io/headgate/firmware-tests/rig"
)

// valveSetup has a valve on each of three lines of the GPIO controller; the one
// that belongs to the power button is left alone.
const valveSetup = `  actuators:
    valve-0: {gpio: gpiochip0/0, max_on: 10m}
    valve-1: {gpio: gpiochip0/1, max_on: 10m}
    valve-2: {gpio: gpiochip0/2, max_on: 10m}
devices:
  - {name: hand, password: hand-of-the-grower, publish: ["actuators/+/set"], subscribe: ["actuators/#"]}
`

const (
	leaseTime = 10 * time.Second
	// lateBy is by how much a lease may end late, as promised; ending early by as
	// much would be no harm either.
	lateBy = time.Second
)

// command sends a command to an actuator, as a device.
func (b *board) command(ctx context.Context, actuator, payload string) error {
	o := paho.NewClientOptions().AddBroker("tcp://" + b.gateway.Address).SetClientID("hand").SetUsername("hand").SetPassword("hand-of-the-grower").
		SetConnectTimeout(20 * time.Second).SetAutoReconnect(false)
	c := paho.NewClient(o)
	defer c.Disconnect(100)
	for _, t := range []func() paho.Token{c.Connect, func() paho.Token { return c.Publish("actuators/"+actuator+"/set", 1, false, payload) }} {
		token := t()
		select {
		case <-token.Done():
			if err := token.Error(); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(30 * time.Second):
			return errors.New("the gateway does not answer")
		}
	}
	return nil
}

// line waits until a line of the GPIO controller has a level, seen from
// outside. It returns when that was, and when the last look began that saw the
// other level.
func (b *board) line(ctx context.Context, n int, high bool, within time.Duration) (seen, other time.Time, err error) {
	for end := time.Now().Add(within); ; {
		began := time.Now()
		levels, outputs, err := b.machine.Lines(ctx)
		if err != nil {
			return seen, other, err
		}
		now := time.Now()
		if on := levels&outputs&(1<<n) != 0; on == high {
			return now, other, nil
		}
		if other = began; now.After(end) || ctx.Err() != nil {
			return now, other, fmt.Errorf("line %d does not become %v within %v (levels %#08b, outputs %#08b)", n, high, within, levels, outputs)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// valve has a device switch a valve on with a lease, and looks at its line from
// outside.
func (l *life) valve(ctx context.Context) (string, error) {
	stalls := rig.WatchStalls()
	defer stalls.Close()
	asked := time.Now()
	if err := l.board.command(ctx, "valve-1", `{"value":"on","lease":"10s"}`); err != nil {
		return "", err
	}
	on, _, err := l.board.line(ctx, 1, true, time.Minute)
	if err != nil {
		return "", err
	}
	off, lastOn, err := l.board.line(ctx, 1, false, time.Minute)
	if err != nil {
		return "", err
	}
	// The lease began between asking and seeing. This process may have stood
	// still, and the machine with it: what nobody did then is nobody's fault.
	if late := lastOn.Sub(on) - stalls.Total(); late > leaseTime+lateBy || off.Sub(asked) < leaseTime-lateBy {
		return "", fmt.Errorf("it was still on after %v, and off %v after the command, with a lease of %v", late, off.Sub(asked), leaseTime)
	}
	return fmt.Sprintf("on for %.1f s with a lease of %v", off.Sub(on).Seconds(), leaseTime), nil
}

// open switches the valves on, with leases that outlive the cut.
func (s *soak) open(ctx context.Context) error {
	for n := range 3 {
		if err := s.board.command(ctx, fmt.Sprintf("valve-%d", n), `{"value":"on","lease":"5m"}`); err != nil {
			return fmt.Errorf("valve-%d: %w", n, err)
		}
		if _, _, err := s.board.line(ctx, n, true, time.Minute); err != nil {
			return err
		}
	}
	return nil
}

// opened is how many valves are on, seen from outside.
func (s *soak) opened(ctx context.Context) (string, error) {
	levels, outputs, err := s.board.machine.Lines(ctx)
	return fmt.Sprintf("%d on", bits.OnesCount8(levels&outputs)), err
}

// valves looks at the lines of the GPIO controller right after a boot.
func (s *soak) valves(ctx context.Context, when string) (string, error) {
	levels, outputs, err := s.board.machine.Lines(ctx)
	if err != nil {
		return "", err
	}
	if on := levels & outputs; on != 0 {
		s.judge.Violate("%s: lines %#08b are on, and nobody has a lease", when, on)
		return fmt.Sprintf("%#x", on), nil
	}
	return "off", nil
}
