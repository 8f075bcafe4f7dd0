package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/headgate-io/headgate/firmware-tests/observer"
	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/setup"
)

// life is a board's, from its card to its updates. Each step builds on those
// before.
type life struct {
	plan  *plan
	board *board
	judge observer.Judge
}

// lifeSetup has a device that publishes and one that moves the valves, and a
// contact on a line without a name: the doctor finds it good.
const lifeSetup = `hostname: farm-north
devices:
  - {name: hand, password: hand-of-the-grower, publish: ["actuators/+/set"], subscribe: ["actuators/#"]}
gateway:
  actuators:
    valve-1: {gpio: gpiochip0/1, max_on: 1m}
    valve-2: {gpio: gpiochip0/2, max_on: 1m}
  sensors:
    contact: {digital: {gpio: gpiochip0/5, pull: up, debounce: 20ms}}
`

// life goes through a board's life.
func (p *plan) life(ctx context.Context, out io.Writer) (err error) {
	l := &life{plan: p}
	if l.board, err = newBoard(ctx, p, false); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.board.close()) }()
	for _, step := range []struct {
		name  string
		run   func(context.Context) (string, error)
		short bool
	}{
		{"a wrong setup file is refused, with its place", l.wrongSetup, false},
		{"a right one is carried out, and wiped", l.rightSetup, true},
		{"doctor finds nothing", l.doctor, true},
		{"a message starts a function, which answers", l.answers, true},
		{"a valve is on for its lease, seen from outside", l.valve, true},
		{"a good update is confirmed", l.goodUpdate, false},
		{"an update that crashes is taken back", l.crashingUpdate, false},
		{"an update that never is ready is taken back", l.deafUpdate, false},
		{"the power button keeps everything", l.powerButton, false},
	} {
		if p.checks == short && !step.short {
			continue
		}
		began := time.Now()
		detail, err := step.run(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		fmt.Fprintf(out, "ok  %-50s %6.1f s  %s\n", step.name, time.Since(began).Seconds(), detail)
	}
	return nil
}

// wrongSetup boots with a file that has a mistake: the note beside it says
// where.
func (l *life) wrongSetup(ctx context.Context) (string, error) {
	m := l.board.machine
	if err := m.WriteBoot(ctx, setup.FileName, "hostname: farm-north\nadmim: {token: x}\n"); err != nil {
		return "", err
	}
	if err := m.Start(ctx); err != nil {
		return "", err
	}
	for end := time.Now().Add(bootWithin); !m.OnBoot(ctx, setup.ErrorName); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(end) || ctx.Err() != nil || !m.Running() {
			return "", fmt.Errorf("there is no note\n%s", m.Log())
		}
	}
	note, err := m.ReadBoot(ctx, setup.ErrorName)
	if err != nil {
		return "", err
	}
	if want := setup.FileName + ":2:1: unknown field \"admim\""; !strings.Contains(note, want) {
		return "", fmt.Errorf("the note does not say %q:\n%s", want, note)
	}
	return "", m.Cut()
}

// rightSetup boots with a good one, and looks for its secrets on the boot
// partition, below its file system.
func (l *life) rightSetup(ctx context.Context) (string, error) {
	m := l.board.machine
	if err := m.Prepare(ctx, lifeSetup); err != nil {
		return "", err
	}
	took, err := l.board.up(ctx)
	if err != nil {
		return "", err
	}
	if m.OnBoot(ctx, setup.FileName) || m.OnBoot(ctx, setup.ErrorName) {
		return "", errors.New("the setup file, or the old note, is still there")
	}
	for _, secret := range []string{m.Token, "hand-of-the-grower"} {
		if found, err := m.BootHolds(secret); err != nil || found {
			return "", errors.Join(err, errors.New("a secret can be read on the boot partition"))
		}
	}
	l.judge.Gateway = l.board.gateway
	return fmt.Sprintf("ready after %.1f s", took.Seconds()), l.known(ctx, "hand")
}

// known waits until the board has told its gateway about a device.
func (l *life) known(ctx context.Context, name string) error {
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		var list []api.Device
		if err := l.board.gateway.Client.Do(ctx, http.MethodGet, "/v1/devices", nil, &list); err != nil {
			return err
		}
		for _, d := range list {
			if d.Name == name {
				return nil
			}
		}
	}
	return fmt.Errorf("the device %s of the setup file does not come", name)
}

// doctor wants every check to be well. It is told the time first: the board
// reaches no time server.
func (l *life) doctor(ctx context.Context) (string, error) {
	if err := l.board.setClock(ctx); err != nil {
		return "", err
	}
	return l.allGreen(ctx)
}

func (l *life) allGreen(ctx context.Context) (string, error) {
	var checks []api.Check
	if err := l.board.gateway.Client.Do(ctx, http.MethodGet, "/v1/doctor", nil, &checks); err != nil {
		return "", err
	}
	for _, c := range checks {
		if c.Status != "ok" {
			return "", fmt.Errorf("%s %s: %s (%s)", c.Status, c.Name, c.Detail, c.Advice)
		}
	}
	return fmt.Sprintf("%d checks", len(checks)), nil
}

// answers deploys the observer's functions over the admin API, and publishes
// from outside.
func (l *life) answers(ctx context.Context) (_ string, err error) {
	g := l.board.gateway
	if l.judge.Publishers, err = observer.AddPublishers(ctx, g, 2); err != nil {
		return "", err
	}
	sub := observer.NewSubscriber("sub-0", 2, "count/+", "out/+")
	if sub.Password, err = g.AddDevice(ctx, sub.Name, nil, sub.Filters); err != nil {
		return "", err
	}
	if err := sub.Connect(ctx, g.Address); err != nil {
		return "", err
	}
	sub.Disconnect()
	l.judge.Subscribers = []*observer.Subscriber{sub}
	if err := observer.Deploy(ctx, g); err != nil {
		return "", err
	}
	publishing, stop := context.WithTimeout(ctx, 2*time.Second)
	defer stop()
	l.publish(publishing, false)
	return "", l.judged(ctx, "at the beginning")
}

func (l *life) publish(ctx context.Context, settle bool) {
	var wg sync.WaitGroup
	for _, p := range l.judge.Publishers {
		wg.Go(func() {
			p.Run(ctx, l.board.gateway.Address, settle)
			p.Disconnect()
		})
	}
	wg.Wait()
}

// judged lets everything come to its end, and compares.
func (l *life) judged(ctx context.Context, when string) error {
	ctx, stop := context.WithTimeout(ctx, settleWithin)
	defer stop()
	l.publish(ctx, true)
	if err := l.judge.Gateway.Drain(ctx, settleWithin); err != nil {
		return err
	}
	l.judge.Hear(ctx, 2*time.Second)
	l.judge.Disconnect()
	l.judge.CheckSubscribers()
	if err := l.judge.Check(ctx, when, true); err != nil {
		return err
	}
	if v := l.judge.Violations; len(v) > 0 {
		return errors.New(strings.Join(v, "\n"))
	}
	return nil
}

// goodUpdate replaces the gateway's binary by another one that is as good:
// bytes behind the end of a program do not change it.
func (l *life) goodUpdate(ctx context.Context) (string, error) {
	raw, err := os.ReadFile(l.plan.update)
	if err != nil {
		return "", err
	}
	out, err := l.update(ctx, append(raw, "another build"...))
	if err != nil {
		return "", err
	}
	if !strings.Contains(out, "confirmed") {
		return "", fmt.Errorf("it says: %s", out)
	}
	return "", l.judge.Check(ctx, "after the update", true)
}

func (l *life) crashingUpdate(ctx context.Context) (string, error) {
	raw, err := os.ReadFile(l.plan.update)
	if err != nil {
		return "", err
	}
	if raw, err = crashing(raw); err != nil {
		return "", err
	}
	return l.takenBack(ctx, raw, "started 3 times")
}

func (l *life) deafUpdate(ctx context.Context) (string, error) {
	raw, err := deaf(ctx, l.board.dir)
	if err != nil {
		return "", err
	}
	return l.takenBack(ctx, raw, "it never was ready", "--within", "20s")
}

// takenBack wants an update to fail, the binary before it to run again, and
// nothing to be lost.
func (l *life) takenBack(ctx context.Context, binary []byte, why string, args ...string) (string, error) {
	before, err := l.system(ctx)
	if err != nil {
		return "", err
	}
	if out, err := l.update(ctx, binary, args...); err == nil || !strings.Contains(out, why) {
		return "", fmt.Errorf("it ended with %w and does not say %q: %s", err, why, out)
	}
	ready, stop := context.WithTimeout(ctx, bootWithin)
	defer stop()
	if err := l.board.gateway.Client.WaitReady(ready); err != nil {
		return "", err
	}
	after, err := l.system(ctx)
	if err != nil {
		return "", err
	}
	if after.SHA256 != before.SHA256 || after.Current != before.Current {
		return "", fmt.Errorf("%s runs, not %s", after.SHA256, before.SHA256)
	}
	return "", l.judge.Check(ctx, "after the update", true)
}

func (l *life) system(ctx context.Context) (s api.System, err error) {
	return s, l.board.gateway.Client.Do(ctx, http.MethodGet, "/v1/system", nil, &s)
}

func (l *life) update(ctx context.Context, binary []byte, args ...string) (string, error) {
	file := filepath.Join(l.board.dir, "update")
	if err := os.WriteFile(file, binary, 0o600); err != nil {
		return "", err
	}
	return l.board.gateway.Run(ctx, append([]string{"system", "update", "--file", file}, args...)...)
}

// powerButton shuts the board down as a person would, and starts it again.
func (l *life) powerButton(ctx context.Context) (string, error) {
	l.board.gateway.Client.Close()
	if err := l.board.machine.PowerDown(ctx, time.Minute); err != nil {
		return "", err
	}
	if err := l.board.machine.DataClean(ctx); err != nil {
		return "", err
	}
	took, err := l.board.up(ctx)
	if err != nil {
		return "", err
	}
	publishing, stop := context.WithTimeout(ctx, time.Second)
	defer stop()
	l.publish(publishing, false)
	return fmt.Sprintf("ready after %.1f s", took.Seconds()), l.judged(ctx, "after the power button")
}
