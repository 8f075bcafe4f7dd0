//go:build e2e

// Package e2e drives the gateway's binary with the clients that people use.
package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/headgate-io/headgate/firmware-tests/rig"
	"github.com/headgate-io/headgate/firmware-tests/rig/rigtest"
)

// startGateway runs the binary with a WebSocket listener beside the TCP one.
func startGateway(t *testing.T) (g *rig.Gateway, ws string) {
	t.Helper()
	binary, err := filepath.Abs("../../bin/headgate")
	if err != nil {
		t.Fatal(err)
	}
	g, err = rig.New(binary, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	ws = rigtest.FreeAddress(t)
	g.Env = []string{} // the listeners are in the file
	config := filepath.Join(g.Dir, "config.yaml")
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	more := strings.Replace(string(text), "}]", fmt.Sprintf("}, {name: web, network: ws, address: %q}]", ws), 1)
	if err := os.WriteFile(config, []byte(more), 0o600); err != nil {
		t.Fatal(err)
	}
	rigtest.Start(t, g)
	return g, ws
}

// deploy writes a project of one function and deploys it.
func deploy(t *testing.T, g *rig.Gateway, manifest, source string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"headgate.yaml": manifest, "f.js": source} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := g.Run(t.Context(), "deploy", dir); err != nil {
		t.Fatal(err)
	}
}

func addDevice(t *testing.T, g *rig.Gateway, name string, publish, subscribe []string) (password string) {
	t.Helper()
	password, err := g.AddDevice(t.Context(), name, publish, subscribe)
	if err != nil {
		t.Fatal(err)
	}
	return password
}

func TestMosquittoClients(t *testing.T) {
	g, _ := startGateway(t)
	deploy(t, g, `functions:
  dry:
    main: f.js
    triggers: [{mqtt: "farm/{field}/moisture", qos: 2, when: data.moisture < config.target}]
    permissions: {publish: [farm/+/valve]}
    config: {target: 32}
`, "export default (event, {publish}) => publish(`farm/${event.params.field}/valve`, `open at ${event.data.moisture}`, {qos: 2});\n")
	probe := addDevice(t, g, "soil-3", []string{"farm/3/#"}, nil)
	valve := addDevice(t, g, "valve-3", nil, []string{"farm/3/valve"})

	for _, version := range []string{"mqttv311", "mqttv5"} {
		for qos := range 3 {
			t.Run(fmt.Sprintf("%s/qos%d", version, qos), func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				sub := mosquitto(ctx, "mosquitto_sub", g.Address, "valve-3", valve, "-V", version, "-q", fmt.Sprint(qos), "-t", "farm/3/valve", "-C", "1", "-d")
				var out rig.Output
				sub.Stdout, sub.Stderr = &out, &out
				if err := sub.Start(); err != nil {
					t.Fatalf("%v (apt-get install mosquitto-clients)", err)
				}
				awaitText(ctx, t, &out, "Subscribed")
				for _, moisture := range []string{`{"moisture":40}`, "not json", fmt.Sprintf(`{"moisture":2%d}`, qos)} {
					pub := mosquitto(ctx, "mosquitto_pub", g.Address, "soil-3", probe, "-V", version, "-q", fmt.Sprint(qos), "-t", "farm/3/moisture", "-m", moisture)
					if b, err := pub.CombinedOutput(); err != nil {
						t.Fatalf("mosquitto_pub: %v\n%s", err, b)
					}
				}
				if err := sub.Wait(); err != nil {
					t.Fatalf("mosquitto_sub: %v\n%s", err, out.String())
				}
				if want := fmt.Sprintf("open at 2%d", qos); !strings.Contains(out.String(), want) {
					t.Errorf("received\n%s\nwant %q", out.String(), want)
				}
			})
		}
	}
	t.Run("wrong password", func(t *testing.T) {
		b, err := mosquitto(t.Context(), "mosquitto_pub", g.Address, "soil-3", "wrong", "-t", "farm/3/moisture", "-m", "x").CombinedOutput()
		if err == nil {
			t.Errorf("a wrong password was accepted\n%s", b)
		}
	})
}

func mosquitto(ctx context.Context, program, address, name, password string, args ...string) *exec.Cmd {
	return anonymous(ctx, program, address, name, append([]string{"-u", name, "-P", password}, args...)...)
}

// anonymous is a client without a name.
func anonymous(ctx context.Context, program, address, id string, args ...string) *exec.Cmd {
	host, port, _ := net.SplitHostPort(address)
	// stdbuf: what it prints is waited for, and must not stay in its buffer.
	return exec.CommandContext(ctx, "stdbuf", append([]string{"-oL", program, "-h", host, "-p", port, "-i", id}, args...)...)
}

func TestMQTTJS(t *testing.T) {
	g, ws := startGateway(t)
	deploy(t, g, `functions:
  echo:
    main: f.js
    triggers: [{mqtt: "js/in/{version}", qos: 2}]
    permissions: {publish: [js/out/+]}
`, "export default (event, {publish}) => publish(`js/out/${event.params.version}`, {echo: event.data}, {qos: 2});\n")
	password := addDevice(t, g, "js", []string{"js/#"}, []string{"js/out/#"})
	cmd := exec.CommandContext(t.Context(), "node", "client.mjs")
	cmd.Env = append(os.Environ(), "TCP=mqtt://"+g.Address, "WS=ws://"+ws+"/mqtt", "NAME=js", "PASSWORD="+password)
	b, err := cmd.CombinedOutput()
	t.Logf("%s", b)
	if err != nil {
		t.Fatalf("node client.mjs: %v (npm ci in firmware-tests/e2e)", err)
	}
}
