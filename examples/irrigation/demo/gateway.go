package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/admin/client"
)

const gatewayConfig = `state_dir: %s
log: {level: warn}
mqtt:
  listeners: [{name: local, network: tcp, address: "127.0.0.1:0"}]
`

// gateway is the running binary and its admin API.
type gateway struct {
	binary  string
	socket  string
	dir     string
	cmd     *exec.Cmd
	log     bytes.Buffer
	exited  chan error
	client  *client.Client
	address string // of the MQTT listener
}

func startGateway(ctx context.Context, binary, dir string) (*gateway, error) {
	g := &gateway{binary: binary, dir: dir, socket: filepath.Join(dir, "admin.sock"), exited: make(chan error, 1)}
	config := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(config, fmt.Appendf(nil, gatewayConfig, dir), 0o600); err != nil {
		return nil, err
	}
	// The gateway is stopped by stop, not by ctx, so that it ends after its
	// devices.
	g.cmd = exec.CommandContext(context.WithoutCancel(ctx), binary, "run", "--config", config)
	g.cmd.Stderr, g.cmd.Stdout = &g.log, &g.log
	// Ctrl-C reaches the whole process group; the gateway must not take it.
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := g.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w (run 'make build' first)", binary, err)
	}
	go func() { g.exited <- g.cmd.Wait() }()
	var err error
	if g.client, err = client.New("unix://"+g.socket, ""); err != nil {
		return nil, errors.Join(err, g.stop())
	}
	if err := g.waitReady(ctx); err != nil {
		return nil, errors.Join(err, g.stop())
	}
	return g, nil
}

func (g *gateway) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	ready := make(chan error, 1)
	go func() { ready <- g.client.WaitReady(ctx) }()
	select {
	case err := <-g.exited:
		g.exited <- err
		return fmt.Errorf("the gateway ended at its start: %w\n%s", err, g.log.Bytes())
	case err := <-ready:
		if err != nil {
			return err
		}
	}
	var about api.About
	if err := g.client.Do(ctx, http.MethodGet, "/v1/about", nil, &about); err != nil {
		return err
	}
	g.address = about.Listeners["local"]
	return nil
}

func (g *gateway) stop() error {
	if err := g.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop the gateway: %w", err)
	}
	select {
	case err := <-g.exited:
		if err != nil {
			return fmt.Errorf("the gateway ended badly: %w\n%s", err, g.log.Bytes())
		}
		return nil
	case <-time.After(20 * time.Second):
		_ = g.cmd.Process.Kill()
		return errors.New("the gateway did not stop within 20 s and was killed")
	}
}

// deploy uses the command line, as an author would.
func (g *gateway) deploy(ctx context.Context, project string) error {
	cmd := exec.CommandContext(ctx, g.binary, "deploy", project)
	cmd.Env = append(os.Environ(), "HEADGATE_HOST=unix://"+g.socket, "HEADGATE_HOME="+g.dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("headgate deploy %s: %w\n%s", project, err, out)
	}
	fmt.Printf("%s", out)
	return nil
}

// addDevice gives a device its credentials.
func (g *gateway) addDevice(ctx context.Context, d api.NewDevice) (password string, err error) {
	var s api.DeviceSecret
	if err := g.client.Do(ctx, http.MethodPost, "/v1/devices", d, &s); err != nil {
		return "", fmt.Errorf("add device %s: %w", d.Name, err)
	}
	return s.Password, nil
}

func (g *gateway) functions(ctx context.Context) (list []api.Function, err error) {
	return list, g.client.Do(ctx, http.MethodGet, "/v1/functions", nil, &list)
}

func (g *gateway) invocations(ctx context.Context, limit int) (list []api.Invocation, err error) {
	path := fmt.Sprintf("/v1/invocations?limit=%d", limit)
	for i, err := range client.Stream[api.Invocation](ctx, g.client, path) {
		if err != nil {
			return nil, err
		}
		list = append(list, i)
	}
	return list, nil
}

func (g *gateway) usage(ctx context.Context) (list []api.Usage, err error) {
	return list, g.client.Do(ctx, http.MethodGet, "/v1/usage", nil, &list)
}
