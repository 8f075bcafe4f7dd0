package gateway_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway"
	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/admin/client"
	"github.com/headgate-io/headgate/gateway/config"
	"github.com/headgate-io/headgate/internal/testca"
	"github.com/headgate-io/headgate/sync/bundle"
)

// field is a gateway with a TLS listener for devices with certificates.
type field struct {
	*rig
	ca  *testca.Authority
	dir string
	tls string // its address
}

func startField(t *testing.T) *field {
	t.Helper()
	f := &field{ca: testca.New(t), dir: t.TempDir()}
	crt, key := f.ca.Write(f.dir, "server", f.ca.Issue("server"))
	f.ca.WriteCA(filepath.Join(f.dir, "ca.crt"))
	f.rig = start(t, filepath.Join(t.TempDir(), "state"), func(c *config.Config) {
		c.MQTT.Anonymous = false
		c.MQTT.Listeners = append(c.MQTT.Listeners, config.Listener{
			Name: "field", Network: "tls", Address: "127.0.0.1:0",
			TLS: config.TLS{Certificate: crt, Key: key, ClientCA: filepath.Join(f.dir, "ca.crt")},
		})
	})
	var about api.About
	f.call(http.MethodGet, "/v1/about", nil, &about)
	f.tls = about.Listeners["field"]
	return f
}

// dial connects as a paho client that does not come back by itself; lost is
// closed when the gateway ends the connection.
func (f *field) dial(change func(*paho.ClientOptions)) (c paho.Client, lost chan struct{}, err error) {
	f.Helper()
	lost = make(chan struct{})
	o := paho.NewClientOptions().SetAutoReconnect(false).SetConnectTimeout(30 * time.Second).
		SetConnectionLostHandler(func(paho.Client, error) { close(lost) })
	change(o)
	c = paho.NewClient(o)
	t := c.Connect()
	t.Wait()
	if t.Error() == nil {
		f.Cleanup(func() { c.Disconnect(10) })
	}
	return c, lost, t.Error()
}

func (f *field) withCertificate(id string, cert tls.Certificate) (paho.Client, chan struct{}, error) {
	return f.dial(func(o *paho.ClientOptions) {
		o.AddBroker("tls://" + f.tls).SetClientID(id).
			SetTLSConfig(&tls.Config{RootCAs: f.ca.Pool(), Certificates: []tls.Certificate{cert}, ServerName: "127.0.0.1"})
	})
}

func (f *field) withPassword(id, user, password string) (paho.Client, chan struct{}, error) {
	return f.dial(func(o *paho.ClientOptions) {
		o.AddBroker("tcp://" + f.address).SetClientID(id).SetUsername(user).SetPassword(password)
	})
}

func happens(t *testing.T, what string, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatalf("%s: nothing happens", what)
	}
}

// TestCertificateDevices lets a device in by its certificate, holds it to its
// ACL, and cuts it off when it is revoked.
func TestCertificateDevices(t *testing.T) {
	f := startField(t)
	f.call(http.MethodPost, "/v1/devices", api.NewDevice{Name: "pump-1", Certificate: true, Publish: []string{"farm/{client}/#"}, Subscribe: []string{"farm/{user}/#"}}, nil)
	cert := f.ca.Issue("pump-1")
	c, lost, err := f.withCertificate("pump-1", cert)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan struct{}, 1)
	tok := c.Subscribe("farm/pump-1/#", 1, func(_ paho.Client, m paho.Message) { got <- struct{}{} })
	if tok.Wait(); tok.Error() != nil {
		t.Fatal(tok.Error())
	}
	c.Publish("farm/pump-1/on", 1, false, "x").Wait()
	happens(t, "its own message", got)

	if _, _, err := f.withCertificate("pump-1", f.ca.Issue("pump-2")); err == nil {
		t.Error("a certificate of nobody")
	}
	if _, _, err := f.withCertificate("pump-1", testca.New(t).Issue("pump-1")); err == nil {
		t.Error("a certificate of another CA")
	}
	f.call(http.MethodPost, "/v1/devices/pump-1/revoke", nil, nil)
	happens(t, "revoke", lost)
	if _, _, err := f.withCertificate("pump-1", cert); err == nil {
		t.Error("revoked and let in")
	}
	f.call(http.MethodPost, "/v1/devices/pump-1/restore", nil, nil)
	_, lost, err = f.withCertificate("pump-1", cert)
	if err != nil {
		t.Fatalf("restored: %v", err)
	}
	f.call(http.MethodDelete, "/v1/devices/pump-1", nil, nil)
	happens(t, "remove", lost)
	if _, _, err := f.withCertificate("pump-1", cert); err == nil {
		t.Error("removed and let in")
	}
}

// TestDevicesCannotStandInEachOthersWay has one device take every name that
// another goes by, and the other come after it.
func TestDevicesCannotStandInEachOthersWay(t *testing.T) {
	f := startField(t)
	passwords := map[string]string{}
	for _, name := range []string{"soil-3", "mallory"} {
		var s api.DeviceSecret
		f.call(http.MethodPost, "/v1/devices", api.NewDevice{Name: name, Publish: []string{"from/{client}/x", "user/{user}/x"}, Subscribe: []string{"#"}}, &s)
		passwords[name] = s.Password
	}
	for _, id := range []string{"soil-3", "soil-3:log", "mqttjs_1", ""} {
		_, squatter, err := f.withPassword(id, "mallory", passwords["mallory"])
		if err != nil {
			t.Fatalf("mallory as %q: %v", id, err)
		}
		c, lost, err := f.withPassword(id, "soil-3", passwords["soil-3"])
		if err != nil {
			t.Fatalf("soil-3 as %q, after mallory: %v", id, err)
		}
		// Neither sends the other away.
		_, _, err = f.withPassword(id+"x", "mallory", passwords["mallory"])
		if err != nil {
			t.Fatal(err)
		}
		if tok := c.Publish("user/soil-3/x", 1, false, "x"); !tok.WaitTimeout(30*time.Second) || tok.Error() != nil {
			t.Errorf("soil-3 as %q: %v", id, tok.Error())
		}
		for name, ended := range map[string]chan struct{}{"soil-3": lost, "mallory": squatter} {
			select {
			case <-ended:
				t.Errorf("%s as %q was sent away", name, id)
			default:
			}
		}
	}
	// And {client} in its ACL is no other device's name.
	c, lost, err := f.withPassword("soil-3", "mallory", passwords["mallory"])
	if err != nil {
		t.Fatal(err)
	}
	c.Publish("from/soil-3/x", 1, false, "x")
	happens(t, "mallory publishes as soil-3", lost)
}

// TestRotateEndsSessions: who has the old password is cut off.
func TestRotateEndsSessions(t *testing.T) {
	f := startField(t)
	var s api.DeviceSecret
	f.call(http.MethodPost, "/v1/devices", api.NewDevice{Name: "soil-3", Publish: []string{"#"}}, &s)
	_, lost, err := f.withPassword("soil-3", "soil-3", s.Password)
	if err != nil {
		t.Fatal(err)
	}
	old := s.Password
	f.call(http.MethodPost, "/v1/devices/soil-3/rotate", nil, &s)
	happens(t, "rotate", lost)
	if _, _, err := f.withPassword("soil-3", "soil-3", old); err == nil {
		t.Error("the old password is good")
	}
	if _, _, err := f.withPassword("soil-3", "soil-3", s.Password); err != nil {
		t.Errorf("the new one: %v", err)
	}
}

func refusedWith(t *testing.T, err error, status int, text string) {
	t.Helper()
	var refused *client.Error
	if !errors.As(err, &refused) || refused.Status != status || !strings.Contains(refused.Detail, text) {
		t.Errorf("got %v, want %d with %q", err, status, text)
	}
}

// TestOnlyThePinnedAuthorDeploys tries another author's bundle, and one that
// asks for what no function may have.
func TestOnlyThePinnedAuthorDeploys(t *testing.T) {
	r := start(t, t.TempDir())
	r.script("mine", "in", count)
	deploy := func(spec function.Spec, key ed25519.PrivateKey) error {
		spec.Limits, spec.Retry = spec.Limits.WithDefaults(), spec.Retry.WithDefaults()
		raw, err := bundle.Pack(spec, map[string][]byte{spec.Main: []byte(count)}, key)
		if err != nil {
			t.Fatal(err)
		}
		return r.client.Do(t.Context(), http.MethodPost, "/v1/functions", raw, nil)
	}
	stranger := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{2}, ed25519.SeedSize))
	good := function.Spec{Name: "mine", Main: "mine.js"}
	refusedWith(t, deploy(good, stranger), http.StatusUnprocessableEntity, "takes functions from author")
	refusedWith(t, r.client.Do(t.Context(), http.MethodPost, "/v1/functions", []byte("no bundle"), nil), http.StatusUnprocessableEntity, "malformed bundle")
	system := good
	system.Permissions.Publish = []string{"$SYS/#"}
	refusedWith(t, deploy(system, authorKey), http.StatusUnprocessableEntity, "the broker's own")
	greedy := good
	greedy.Limits.Memory = 1 << 40
	refusedWith(t, deploy(greedy, authorKey), http.StatusUnprocessableEntity, "limits.memory")
	var list []api.Function
	r.call(http.MethodGet, "/v1/functions", nil, &list)
	if len(list) != 1 || list[0].Version != 1 {
		t.Errorf("functions %+v", list)
	}
}

// TestFunctionsKeepToTheirOwn has a function ask for everything that belongs to
// others. What it gets is nothing, and what it leaves is nothing.
func TestFunctionsKeepToTheirOwn(t *testing.T) {
	r := start(t, t.TempDir())
	r.script("victim", "in", count)
	r.publish(api.Message{Topic: "in", QoS: 1})
	r.eventually("victim", "n", "1")
	if err := r.client.Do(t.Context(), http.MethodPut, "/v1/secrets/victim/key", []byte("hunter2"), nil); err != nil {
		t.Fatal(err)
	}
	r.script("thief", "", `export default (event, ctx) => {
	  const tried = {
	    state: () => ctx.state.get("victim:n"), write: () => ctx.state.set("victim:n", 99), remove: () => ctx.state.delete("victim:n"),
	    list: () => ctx.state.list("victim:"), secret: () => ctx.secret("key"), other: () => ctx.secret("victim/key"),
	    publish: () => ctx.publish("valve/1", "on"), sys: () => ctx.publish("$SYS/x", "x"), invoke: () => ctx.invoke("victim", {}),
	    enqueue: () => ctx.enqueue("jobs", {}), up: () => ctx.state.get("../victim/n"),
	  };
	  const got = {};
	  for (const [name, f] of Object.entries(tried)) {
	    try { got[name] = f() ?? null; } catch (e) { got[name] = e.code; }
	  }
	  return got;
	};`, func(s *function.Spec) { s.Permissions.Publish = []string{"mine/#"} })
	var out api.Invoked
	r.call(http.MethodPost, "/v1/functions/thief/invoke", api.Invoke{}, &out)
	want := `{"state":"DENIED","write":"DENIED","remove":"DENIED","list":"DENIED","secret":"DENIED","other":"DENIED","publish":"DENIED","sys":"DENIED","invoke":"DENIED","enqueue":"DENIED","up":null}`
	if string(out.Output) != want {
		t.Errorf("got  %s\nwant %s", out.Output, want)
	}
	if got := r.state("victim", "n"); got != "1" {
		t.Errorf("the victim's state is %s", got)
	}
}

// TestBackupsHoldNoSecretInClear looks through a backup for everything that was
// told once.
func TestBackupsHoldNoSecretInClear(t *testing.T) {
	r := start(t, filepath.Join(t.TempDir(), "state"))
	if err := r.client.Do(t.Context(), http.MethodPut, "/v1/secrets/dry/key", []byte("hunter2-is-the-key"), nil); err != nil {
		t.Fatal(err)
	}
	var dev api.DeviceSecret
	r.call(http.MethodPost, "/v1/devices", api.NewDevice{Name: "soil-3", Publish: []string{"#"}}, &dev)
	var tok api.TokenSecret
	r.call(http.MethodPost, "/v1/tokens", api.NewToken{Name: "ci", Scopes: []string{"read"}}, &tok)
	backup, err := os.Create(filepath.Join(r.cfg.StateDir, "backup"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.client.Download(t.Context(), "/v1/backup", backup), backup.Close()); err != nil {
		t.Fatal(err)
	}
	r.stop()
	files, err := os.ReadDir(r.cfg.StateDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		raw, err := os.ReadFile(filepath.Join(r.cfg.StateDir, f.Name()))
		if err != nil {
			continue // a folder, a socket
		}
		for what, text := range map[string]string{"secret": "hunter2", "password": dev.Password, "token": tok.Secret, "token's bits": tok.Secret[len("headgate_"):]} {
			if bytes.Contains(raw, []byte(text)) {
				t.Errorf("the %s is in %s", what, f.Name())
			}
		}
	}
}

// TestEveryKeyCanBeReached writes, reads and deletes keys that a path could not
// hold, and keeps to the length that functions have to keep to.
func TestEveryKeyCanBeReached(t *testing.T) {
	r := start(t, t.TempDir())
	path := func(key string) string { return "/v1/state/f/entry?key=" + url.QueryEscape(key) }
	for _, key := range []string{".", "..", "/", "//", "a/b", "a%2Fb", "%", "a?b", "a#b", "a&b", "a b", "a+b", "../../tokens", "ä", "entry", strings.Repeat("x", 1024)} {
		r.call(http.MethodPut, path(key), api.StateEntry{Value: []byte(key)}, nil)
		if got := r.state("f", key); got != key {
			t.Errorf("%q holds %q", key, got)
		}
		r.call(http.MethodDelete, path(key), nil, nil)
		if got := r.state("f", key); got != "" {
			t.Errorf("%q is still there", key)
		}
	}
	for _, key := range []string{"", strings.Repeat("x", 1025), strings.Repeat("ä", 513), "\xff"} {
		err := r.client.Do(t.Context(), http.MethodPut, path(key), api.StateEntry{Value: []byte("x")}, nil)
		var refused *client.Error
		if !errors.As(err, &refused) || refused.Status != http.StatusUnprocessableEntity {
			t.Errorf("key of %d bytes: %v", len(key), err)
		}
	}
}

// TestOpenStateDirIsRefused: where everybody may write, everybody is the gateway.
func TestOpenStateDirIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	cfg := config.Default()
	cfg.StateDir = dir
	if _, err := gateway.New(context.Background(), cfg, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "everybody on this machine may write") {
		t.Errorf("got %v", err)
	}
}
