package gateway_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway"
	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/admin/client"
	"github.com/headgate-io/headgate/gateway/config"
	"github.com/headgate-io/headgate/internal/testcache"
	"github.com/headgate-io/headgate/sync/bundle"
)

// rig is a whole gateway in this process, on loopback, spoken to over its admin
// socket and MQTT.
type rig struct {
	testing.TB
	cfg     config.Config
	client  *client.Client
	address string
	stop    func()
}

// authorKey signs what tests deploy.
var authorKey = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize))

// start runs a gateway with its state in dir until the test ends or stop is
// called.
func start(tb testing.TB, dir string, change ...func(*config.Config)) *rig {
	tb.Helper()
	return startOn(tb, dir, nil, change...)
}

// startOn is start on other hardware.
func startOn(tb testing.TB, dir string, options []gateway.Option, change ...func(*config.Config)) *rig {
	tb.Helper()
	cfg := config.Default()
	cfg.StateDir = dir
	if err := testcache.Link(dir); err != nil {
		tb.Fatal(err)
	}
	cfg.MQTT.Anonymous = true
	cfg.MQTT.Listeners = []config.Listener{{Name: "test", Network: "tcp", Address: "127.0.0.1:0"}}
	for _, c := range change {
		c(&cfg)
	}
	ctx, cancel := context.WithCancel(context.Background())
	g, err := gateway.New(ctx, cfg, slog.New(slog.NewTextHandler(testWriter{tb}, &slog.HandlerOptions{Level: slog.LevelWarn})), options...)
	if err != nil {
		tb.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	r := &rig{TB: tb, cfg: cfg}
	var stopped bool
	r.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			tb.Errorf("the gateway ended with %v", err)
		}
		r.client.Close()
	}
	if r.client, err = client.New("unix://"+cfg.SocketPath(), ""); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(r.stop)
	ready, done := context.WithTimeout(ctx, 30*time.Second)
	defer done()
	if err := r.client.WaitReady(ready); err != nil {
		tb.Fatal(err)
	}
	var about api.About
	r.call(http.MethodGet, "/v1/about", nil, &about)
	r.address = about.Listeners["test"]
	return r
}

type testWriter struct{ testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.Logf("%s", bytes.TrimSpace(p))
	return len(p), nil
}

func (r *rig) call(method, path string, body, out any) {
	r.Helper()
	if err := r.client.Do(context.Background(), method, path, body, out); err != nil {
		r.Fatalf("%s %s: %v", method, path, err)
	}
}

// deploy signs and deploys one function.
func (r *rig) deploy(spec function.Spec, source []byte) api.Deployed {
	r.Helper()
	spec.Limits, spec.Retry = spec.Limits.WithDefaults(), spec.Retry.WithDefaults()
	raw, err := bundle.Pack(spec, map[string][]byte{spec.Main: source}, authorKey)
	if err != nil {
		r.Fatal(err)
	}
	var d api.Deployed
	r.call(http.MethodPost, "/v1/functions", raw, &d)
	return d
}

// tryDeploy deploys one function that may be refused.
func (r *rig) tryDeploy(spec function.Spec, source string) error {
	r.Helper()
	spec.Limits, spec.Retry = spec.Limits.WithDefaults(), spec.Retry.WithDefaults()
	raw, err := bundle.Pack(spec, map[string][]byte{spec.Main: []byte(source)}, authorKey)
	if err != nil {
		return err
	}
	return r.client.Do(context.Background(), http.MethodPost, "/v1/functions", raw, nil)
}

// script deploys a JavaScript function with one trigger that may publish
// anywhere.
func (r *rig) script(name, filter, source string, change ...func(*function.Spec)) {
	r.Helper()
	spec := function.Spec{Name: name, Main: name + ".js", Permissions: function.Permissions{Publish: []string{"#"}}}
	if filter != "" {
		spec.Triggers = []function.Trigger{{MQTT: filter}}
	}
	for _, c := range change {
		c(&spec)
	}
	r.deploy(spec, []byte(source))
}

func (r *rig) publish(m api.Message) {
	r.Helper()
	r.call(http.MethodPost, "/v1/messages", m, nil)
}

// state returns a stored value; empty where there is none.
func (r *rig) state(namespace, key string) string {
	r.Helper()
	var e api.StateEntry
	err := r.client.Do(context.Background(), http.MethodGet, "/v1/state/"+namespace+"/entry?key="+url.QueryEscape(key), nil, &e)
	var refused *client.Error
	if errors.As(err, &refused) && refused.Status == http.StatusNotFound {
		return ""
	}
	if err != nil {
		r.Fatal(err)
	}
	return string(e.Value)
}

// eventually waits until a stored value is as wanted.
func (r *rig) eventually(namespace, key, want string) {
	r.Helper()
	got := ""
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if got = r.state(namespace, key); got == want {
			return
		}
	}
	r.Fatalf("%s:%s is %q, want %q", namespace, key, got, want)
}

func (r *rig) connect(id string) paho.Client {
	r.Helper()
	c := paho.NewClient(paho.NewClientOptions().AddBroker("tcp://" + r.address).SetClientID(id))
	if t := c.Connect(); t.Wait() && t.Error() != nil {
		r.Fatal(t.Error())
	}
	r.Cleanup(func() { c.Disconnect(50) })
	return c
}
