// Package rig runs the gateway's binary for tests that look at it from
// outside: it starts, stops and kills the one process it started, and speaks
// the admin API to it.
package rig

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/admin/client"
	"github.com/headgate-io/headgate/internal/testaddress"
)

// Gateway is one gateway: a folder with its state and, while it runs, a
// process. It is used by one goroutine at a time.
type Gateway struct {
	// Binary is the program; Env is added to its environment.
	Binary string
	Env    []string
	// Wrap is a program, with arguments, that runs the binary; it must become
	// the binary's process.
	Wrap []string
	// Dir holds its configuration, its state and its author key.
	Dir string
	// Address is where its MQTT listener is, the same at every start.
	Address string
	// Client speaks to it.
	Client *client.Client
	// Remote is the admin API of a gateway on another machine, and Token opens
	// it; somebody else starts and ends that one.
	Remote, Token string

	cmd    *exec.Cmd
	exited chan error
	log    Output
}

// ErrEnded is a process that had ended by itself.
var ErrEnded = errors.New("the gateway had ended by itself")

// What a gateway takes on a machine that is busy, or stands still for a while,
// is no fault of its; these only end what would never end.
const (
	readyWithin = 3 * time.Minute
	stopWithin  = time.Minute
)

// New prepares a gateway in dir on a loopback port that is free now. The extra
// lines go into its configuration's mqtt section.
func New(binary, dir string, mqtt ...string) (*Gateway, error) {
	address, err := FreeAddress()
	if err != nil {
		return nil, err
	}
	g := &Gateway{Binary: binary, Dir: dir, Address: address}
	text := fmt.Sprintf("state_dir: %s\nlog: {level: warn}\nmqtt:\n  listeners: [{name: local, network: tcp, address: %q}]\n",
		filepath.Join(dir, "state"), g.Address)
	for _, line := range mqtt {
		text += "  " + line + "\n"
	}
	if err := os.WriteFile(g.configFile(), []byte(text), 0o600); err != nil {
		return nil, err
	}
	g.Client, err = client.New(g.Host(), "")
	return g, err
}

// NewRemote is for a gateway that runs elsewhere: its MQTT listener, and its
// admin API with the token. dir holds the author key and projects, binary is the
// command line.
func NewRemote(binary, dir, address, remote, token string) (g *Gateway, err error) {
	g = &Gateway{Binary: binary, Dir: dir, Address: address, Remote: remote, Token: token}
	g.Client, err = client.New(remote, token)
	return g, err
}

// FreeAddress is a loopback address that nobody listens on, and no other harness
// gets.
func FreeAddress() (string, error) { return testaddress.Free("127.0.0.1") }

// Configure adds sections to the configuration; they count from the next start.
func (g *Gateway) Configure(text string) error {
	f, err := os.OpenFile(g.configFile(), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

func (g *Gateway) configFile() string { return filepath.Join(g.Dir, "config.yaml") }

// Host is the admin API's address, for HEADGATE_HOST.
func (g *Gateway) Host() string {
	if g.Remote != "" {
		return g.Remote
	}
	return "unix://" + filepath.Join(g.Dir, "state", "admin.sock")
}

// Pid is the process's id while it runs.
func (g *Gateway) Pid() int { return g.cmd.Process.Pid }

// Log is what the process has written to its standard error.
func (g *Gateway) Log() string { return g.log.String() }

// Start starts the process and waits until it is ready.
func (g *Gateway) Start(ctx context.Context) error {
	g.log.Reset()
	// Stop and Kill end it, not ctx; and Ctrl-C, which reaches the whole
	// process group, must not.
	line := append(slices.Clone(g.Wrap), g.Binary, "run", "--config", g.configFile())
	g.cmd = exec.CommandContext(context.WithoutCancel(ctx), line[0], line[1:]...)
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	g.cmd.Env = append(os.Environ(), g.Env...)
	g.cmd.Stderr, g.cmd.Stdout = &g.log, &g.log
	if err := g.cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w (run 'make build' first)", g.Binary, err)
	}
	exited := make(chan error, 1)
	go func(cmd *exec.Cmd) { exited <- cmd.Wait() }(g.cmd)
	g.exited = exited

	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	ready := make(chan error, 1)
	go func() { ready <- g.Client.WaitReady(ctx) }()
	select {
	case err := <-exited:
		g.exited = nil
		return fmt.Errorf("%w, at its start: %w\n%s", ErrEnded, err, g.Log())
	case err := <-ready:
		if err != nil {
			return errors.Join(err, g.Kill(), fmt.Errorf("its log:\n%s", g.Log()))
		}
		return nil
	}
}

// Stop asks the process to end (SIGTERM) and waits for it.
func (g *Gateway) Stop() error {
	if g.exited == nil {
		return nil
	}
	g.Client.Close()
	if err := g.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		g.exited = nil
		return fmt.Errorf("%w:\n%s", ErrEnded, g.Log())
	}
	select {
	case err := <-g.exited:
		g.exited = nil
		if err != nil {
			return fmt.Errorf("the gateway ended badly: %w\n%s", err, g.Log())
		}
		return nil
	case <-time.After(stopWithin):
		return errors.Join(fmt.Errorf("the gateway did not stop within %v and was killed", stopWithin), g.Kill())
	}
}

// Kill sends SIGKILL and waits for the end.
func (g *Gateway) Kill() error {
	if g.exited == nil {
		return nil
	}
	err := g.cmd.Process.Kill()
	exit := <-g.exited
	g.exited = nil
	g.Client.Close()
	if errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("%w: %w\n%s", ErrEnded, exit, g.Log())
	}
	return err
}

// End kills the process, unless it has ended by itself.
func (g *Gateway) End() error {
	if err := g.Kill(); err != nil && !errors.Is(err, ErrEnded) {
		return err
	}
	return nil
}

// Ended reports whether the process has ended by itself.
func (g *Gateway) Ended() bool { return len(g.exited) > 0 }

// Run runs the command line against this gateway and returns what it printed.
func (g *Gateway) Run(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, g.Binary, args...)
	cmd.Env = append(os.Environ(), "HEADGATE_HOST="+g.Host(), "HEADGATE_HOME="+g.Dir, "HEADGATE_TOKEN="+g.Token)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("headgate %v: %w\n%s", args, err, out)
	}
	return string(out), nil
}

// AddDevice gives a device its credentials.
func (g *Gateway) AddDevice(ctx context.Context, name string, publish, subscribe []string) (password string, err error) {
	var s api.DeviceSecret
	d := api.NewDevice{Name: name, Publish: publish, Subscribe: subscribe}
	if err := g.Client.Do(ctx, http.MethodPost, "/v1/devices", d, &s); err != nil {
		return "", fmt.Errorf("add device %s: %w", name, err)
	}
	return s.Password, nil
}

// Functions lists what is deployed.
func (g *Gateway) Functions(ctx context.Context) (list []api.Function, err error) {
	return list, g.Client.Do(ctx, http.MethodGet, "/v1/functions", nil, &list)
}

// answerWithin bounds one question about the queue. A connection to another
// machine may have gone while it started; the next question has a new one.
const answerWithin = 15 * time.Second

// Drain waits until no durable event waits or runs.
func (g *Gateway) Drain(ctx context.Context, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	var waiting []string
	for {
		list, err := g.ask(ctx)
		switch {
		case err != nil && g.Remote == "":
			return fmt.Errorf("drain: %w", err)
		case err == nil:
			waiting = waiting[:0]
			for _, f := range list {
				if f.Counters.Queued > 0 {
					waiting = append(waiting, fmt.Sprintf("%s: %+v %s", f.Name, f.Counters, f.Broken))
				}
			}
			if len(waiting) == 0 {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("drain: events still wait after %v: %v (%w)", within, waiting, errors.Join(ctx.Err(), err))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (g *Gateway) ask(ctx context.Context) ([]api.Function, error) {
	if g.Remote == "" {
		return g.Functions(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	list, err := g.Functions(ctx)
	if err != nil {
		g.Client.Close()
	}
	return list, err
}
