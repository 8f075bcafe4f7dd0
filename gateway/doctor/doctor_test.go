package doctor

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/headgate-io/headgate/gateway/certs"
	"github.com/headgate-io/headgate/gateway/dispatch"
	"github.com/headgate-io/headgate/gateway/store"
)

// records is a store as a test wants it.
type records struct {
	err      error
	recovery *store.Recovery
	space    store.Space
	stats    store.Stats
}

func (r *records) Check(context.Context) error { return r.err }
func (r *records) Recovery() *store.Recovery   { return r.recovery }
func (r *records) Identity() store.Identity    { return store.Identity{ID: "x", Epoch: 2} }
func (r *records) Space() store.Space          { return r.space }
func (r *records) Stats() store.Stats          { return r.stats }

func expect(t *testing.T, p Probe, status Status, texts ...string) {
	t.Helper()
	c := Examine(t.Context(), []Probe{p})[0]
	if c.Status != status {
		t.Errorf("%s is %s: %s", c.Name, c.Status, c.Detail)
	}
	for _, text := range texts {
		if !strings.Contains(c.Detail+" → "+c.Advice, text) {
			t.Errorf("%s: %q does not say %q", c.Name, c.Detail+" → "+c.Advice, text)
		}
	}
	if (c.Advice == "") != (status == OK) {
		t.Errorf("%s is %s with the advice %q", c.Name, status, c.Advice)
	}
}

func TestRecords(t *testing.T) {
	expect(t, Database(&records{}), OK, "every page is sound", "epoch 2")
	expect(t, Database(&records{err: errors.New("page 7 is torn")}), Fail, "page 7 is torn", "restart")
	kept := t.TempDir()
	lost := &store.Recovery{At: time.Now(), Reason: "malformed", Kept: kept, Tables: []store.Salvaged{{Table: "kv", Rows: 3, Error: "x"}, {Table: "device"}}}
	expect(t, Database(&records{recovery: lost}), Warn, "malformed", "not all could be read of: kv", "remove "+kept)
	if err := os.Remove(kept); err != nil {
		t.Fatal(err)
	}
	expect(t, Database(&records{recovery: lost}), OK, "malformed")

	expect(t, Disk(&records{space: store.Space{Free: 1 << 30}}), OK, "1024 MiB free")
	expect(t, Disk(&records{space: store.Space{Stopped: []store.Class{store.Recordings}}}), Warn, "stopped: recordings")
	expect(t, Disk(&records{space: store.Space{Stopped: []store.Class{store.Blobs, store.Events}}}), Fail, "publishers are refused")

	expect(t, Queue(&records{stats: store.Stats{QueueRows: 3}}), OK, "3 events wait")
	expect(t, Queue(&records{stats: store.Stats{DeadLetters: 2}}), Warn, "2 dead letters", "dlq list")
}

func TestListeners(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a test
	if err != nil {
		t.Fatal(err)
	}
	is := func(list ...Listener) Probe { return Listeners(func() []Listener { return list }) }
	open := Listener{Name: "local", Network: "tcp", Address: l.Addr().String()}
	expect(t, is(open), OK, "local (tcp) on 127.0.0.1")
	expect(t, is(open, Listener{Name: "field", Network: "tls"}), Fail, "field (tls) is not open")
	expect(t, is(), Warn, "no MQTT listener")
	_ = l.Close()
	expect(t, is(open), Fail, "local does not accept")
}

func TestCertificates(t *testing.T) {
	is := func(s certs.Status) Probe {
		return Certificates(func() map[string]certs.Status { return map[string]certs.Status{"field": s} }, time.Now)
	}
	far := time.Now().Add(365 * 24 * time.Hour)
	expect(t, is(certs.Status{NotAfter: far}), OK, "field until")
	expect(t, is(certs.Status{NotAfter: time.Now().Add(time.Hour)}), Warn, "expires on")
	expect(t, is(certs.Status{NotAfter: time.Now().Add(-time.Hour)}), Fail, "has expired")
	expect(t, is(certs.Status{NotAfter: far, Stale: true}), Fail, "not good")
	expect(t, is(certs.Status{NotAfter: far, CRLNextUpdate: time.Now().Add(-time.Hour)}), Warn, "revocation list")
}

func TestSecrets(t *testing.T) {
	for _, c := range []struct {
		lost   int
		err    error
		status Status
		text   string
	}{{0, nil, OK, "3"}, {1, nil, Fail, "1 of 3"}, {3, errors.New("secret.key:1"), Fail, "secret.key:1"}} {
		expect(t, Secrets(func() (int, int, error) { return c.lost, 3, c.err }), c.status, c.text)
	}
}

func TestFunctions(t *testing.T) {
	var broken map[string]error
	absent := map[string][]string{}
	is := func(f dispatch.FunctionStats) Probe {
		return Functions(func() dispatch.Stats { return dispatch.Stats{Functions: []dispatch.FunctionStats{f}} }, func() map[string]error { return broken }, func() map[string][]string { return absent })
	}
	expect(t, is(dispatch.FunctionStats{Name: "irrigate"}), OK, "1 deployed")
	absent["irrigate"] = []string{"sensor soil-1", "actuator valve-1"}
	expect(t, is(dispatch.FunctionStats{Name: "irrigate"}), Warn, "1 deployed", "irrigate (sensor soil-1, actuator valve-1)", "headgate.yaml")
	expect(t, is(dispatch.FunctionStats{Name: "irrigate", Paused: true}), Fail, "irrigate", "describe")
	broken = map[string]error{"alarm": errors.New("no memory")}
	expect(t, is(dispatch.FunctionStats{Name: "irrigate"}), Fail, "alarm", "no memory", "deploy it anew")
}

// TestWear reads what eMMCs say, and cards that say nothing.
func TestWear(t *testing.T) {
	for name, c := range map[string]struct {
		life, spare string
		status      Status
		text        string
	}{
		"new":       {"0x01 0x01\n", "0x01\n", OK, "at most 10 %"},
		"old":       {"0x03 0x09\n", "0x01\n", Warn, "90 %"},
		"spare low": {"0x03 0x03\n", "0x02\n", Warn, "30 %"},
		"dead":      {"0x0b 0x02\n", "0x03\n", Fail, "past its life"},
		"silent":    {"0x00 0x00\n", "", OK, "nothing about its wear"},
		"SD card":   {"", "", OK, "nothing about its wear"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, text := range map[string]string{"life_time": c.life, "pre_eol_info": c.spare} {
				if text == "" {
					continue
				}
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			expect(t, Probe{"flash", func(context.Context) Check { return wear(dir, "1 MB written") }}, c.status, c.text)
		})
	}
}
