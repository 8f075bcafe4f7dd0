package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/headgate-io/headgate/firmware-tests/machine"
	"github.com/headgate-io/headgate/firmware-tests/rig"
	"github.com/headgate-io/headgate/gateway/setup"
)

// bootWithin bounds a boot; on a machine that has nothing else to do it takes
// less than a tenth of that.
const bootWithin = 3 * time.Minute

// board is a machine with the gateway on it.
type board struct {
	machine *machine.Machine
	gateway *rig.Gateway // nil until the first up
	plan    *plan
	dir     string
}

func newBoard(ctx context.Context, p *plan, direct bool) (*board, error) {
	dir, err := os.MkdirTemp("", "headgate-image-")
	if err != nil {
		return nil, err
	}
	m, err := machine.New(ctx, p.image, dir)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	m.Direct = direct
	return &board{machine: m, plan: p, dir: dir}, nil
}

func (b *board) close() error {
	b.machine.End()
	if b.plan.keep {
		fmt.Println("kept:", b.dir)
		return nil
	}
	return os.RemoveAll(b.dir)
}

// up powers the board on and returns when its gateway is ready, with how long
// that took.
func (b *board) up(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	before, _ := b.machine.ReadBoot(ctx, setup.ErrorName) // most often there is none
	if err := b.machine.Start(ctx); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, bootWithin)
	defer cancel()
	if err := b.reach(ctx, before); err != nil {
		return 0, errors.Join(err, fmt.Errorf("the machine's serial line:\n%s", b.machine.Log()))
	}
	err := b.gateway.Client.WaitReady(ctx)
	if err != nil {
		err = errors.Join(err, fmt.Errorf("the machine's serial line:\n%s", b.machine.Log()))
	}
	return time.Since(began), err
}

// reach waits for the note about the setup, which says how the admin API is
// known, at the first boot; before is the note of a refusal before.
func (b *board) reach(ctx context.Context, before string) error {
	if b.gateway != nil {
		return nil
	}
	for !b.machine.OnBoot(ctx, setup.AppliedName) {
		if note, err := b.machine.ReadBoot(ctx, setup.ErrorName); err == nil && note != before {
			return fmt.Errorf("the board refused its setup:\n%s", note)
		}
		if !b.machine.Running() {
			return errors.New("the machine ended")
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the first boot: %w", ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
	}
	host, err := b.machine.Host(ctx)
	if err != nil {
		return err
	}
	home := filepath.Join(b.dir, "home")
	if err := os.MkdirAll(home, 0o700); err != nil {
		return err
	}
	b.gateway, err = rig.NewRemote(b.plan.headgate, home, b.machine.MQTT, host, b.machine.Token)
	return err
}

// cut takes the power away.
func (b *board) cut() error {
	b.gateway.Client.Close()
	return b.machine.Cut()
}

// setClock says what time it is: the board reaches no time server.
func (b *board) setClock(ctx context.Context) error {
	return b.gateway.Client.Do(ctx, http.MethodPut, "/v1/clock", map[string]any{"time": time.Now()}, nil)
}
