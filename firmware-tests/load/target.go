package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/headgate-io/headgate/firmware-tests/rig"
)

// target is a broker under load: the gateway or mosquitto.
type target struct {
	address string
	pid     int
	stop    func() error
	// login makes credentials that may do everything.
	login func(ctx context.Context, name string) (password string, err error)
}

func startGateway(ctx context.Context, binary, dir string, s *scenario) (*target, error) {
	g, err := rig.New(binary, dir, "max_queued_messages: 100000", "max_queued_bytes: 64MiB")
	if err != nil {
		return nil, err
	}
	if err := g.Start(ctx); err != nil {
		return nil, err
	}
	t := &target{address: g.Address, pid: g.Pid(), stop: g.Stop}
	t.login = func(ctx context.Context, name string) (string, error) {
		return g.AddDevice(ctx, name, []string{"#"}, []string{"#"})
	}
	if s.language != "" {
		if err := deploy(ctx, g, dir, s); err != nil {
			return t, err
		}
	}
	return t, nil
}

// deploy writes the scenario's project: one function that passes on what it
// gets where it passes a threshold, and so many other filters beside it.
func deploy(ctx context.Context, g *rig.Gateway, dir string, s *scenario) error {
	source := sources[s.language]
	manifest := "functions:\n  threshold:\n    main: " + source.main + "\n    limits: {concurrency: 2, rate: 1000000/s}\n    permissions: {publish: [out/+]}\n" +
		"    triggers:\n      - {mqtt: 'in/{id}', qos: 1}\n"
	project := filepath.Join(dir, "project")
	if err := os.MkdirAll(project, 0o755); err != nil {
		return err
	}
	for i := 1; i < s.filters; {
		manifest += fmt.Sprintf("  other-%d:\n    main: %s\n    triggers:\n", i, source.main)
		for n := 0; n < 64 && i < s.filters; n++ {
			manifest += fmt.Sprintf("      - {mqtt: 'site/%d/+/state'}\n", i)
			i++
		}
	}
	for name, text := range map[string]string{"headgate.yaml": manifest, source.main: source.text} {
		if err := os.WriteFile(filepath.Join(project, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	_, err := g.Run(ctx, "deploy", project)
	return err
}

func startMosquitto(ctx context.Context, dir string) (*target, error) {
	address, err := rig.FreeAddress()
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	conf := filepath.Join(dir, "mosquitto.conf")
	text := "listener " + port + " 127.0.0.1\nallow_anonymous true\nmax_queued_messages 100000\nmax_inflight_messages 1000\n"
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), "mosquitto", "-c", conf)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%w (apt-get install mosquitto)", err)
	}
	t := &target{address: address, pid: cmd.Process.Pid}
	t.login = func(context.Context, string) (string, error) { return "", nil }
	t.stop = func() error {
		err := cmd.Process.Kill()
		_ = cmd.Wait() // "signal: killed" is what was asked for
		return err
	}
	for range 200 {
		if c, err := (&net.Dialer{}).DialContext(ctx, "tcp", address); err == nil {
			return t, c.Close()
		}
		time.Sleep(10 * time.Millisecond)
	}
	return t, fmt.Errorf("mosquitto does not answer at %s", address)
}

// sources are the threshold function in every language that is measured.
var sources = map[string]struct{ main, text string }{
	"js": {"threshold.js", `export default (event, { publish }) => {
  if (event.data.moisture < 32) publish("out/" + event.params.id, event.data);
};
`},
	"c": {"threshold.c", `#include <headgate.h>

HG_HANDLE {
  char data[1024], topic[64] = "out/";
  double moisture;
  size_t n = hg_input(data, sizeof data);
  if (n > sizeof data || !hg_json_number(data, n, "moisture", &moisture) || moisture >= 32) return 0;
  hg_meta("params.id", topic + 4, sizeof topic - 5);
  return hg_publish(topic, data, n, HG_QOS0, 0);
}
`},
}
