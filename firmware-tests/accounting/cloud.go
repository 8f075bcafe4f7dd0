package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/headgate-io/headgate/controller/ca"
	"github.com/headgate-io/headgate/controller/store"
	"github.com/headgate-io/headgate/firmware-tests/rig"
)

// cloud is the controllers, with their database and broker.
type cloud struct {
	plan      plan
	dir       string
	dsn       string
	broker    string // host:port, behind the link
	mosquitto *rig.Program
	replicas  []*rig.Controller
	authority *ca.Authority
}

// open starts everything, one replica first: it makes the database.
func (h *harness) openCloud(ctx context.Context) (err error) {
	c := &cloud{plan: h.plan, dir: filepath.Join(h.dir, "cloud")}
	h.cloud = c
	if c.authority, err = ca.Open(c.replica(0), nil); err != nil {
		return err
	}
	if c.broker, err = rig.FreeAddress(); err != nil {
		return err
	}
	c.dsn = "sqlite:" + filepath.Join(c.dir, "controller.db")
	if h.plan.shared {
		if c.dsn, err = h.postgres.Create(ctx); err != nil {
			return err
		}
		if err := c.startMosquitto(); err != nil {
			return err
		}
	}
	if h.proxy, err = rig.NewLink(ctx, "127.0.0.1:0", c.broker); err != nil {
		return err
	}
	for i := range h.plan.replicas {
		if err := c.prepare(i, h.proxy.Address()); err != nil {
			return err
		}
		if err := c.replicas[i].Start(ctx); err != nil {
			return err
		}
	}
	h.database, err = store.Open(ctx, c.dsn)
	return err
}

func (c *cloud) replica(i int) string { return filepath.Join(c.dir, fmt.Sprintf("replica-%d", i)) }

// prepare writes the configuration of a replica; all have one authority.
func (c *cloud) prepare(i int, proxy string) error {
	dir := c.replica(i)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, name := range []string{"ca.crt", "ca.key"} {
		raw, err := os.ReadFile(filepath.Join(c.replica(0), name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), raw, 0o600)
		}
		if err != nil {
			return err
		}
	}
	text := fmt.Sprintf("database: %q\nmqtt:\n  listen: %q\n  addresses: [%q]\n", c.dsn, c.broker, "ssl://"+proxy)
	if c.plan.shared {
		text += fmt.Sprintf("  broker: %q\n", "ssl://"+c.broker)
	}
	p, err := rig.NewController(c.plan.controller, dir, text)
	if err != nil {
		return err
	}
	if c.plan.fault != "" {
		p.Env = []string{"HEADGATE_FAULT=" + string(c.plan.fault)}
	}
	c.replicas = append(c.replicas, p)
	return nil
}

func (c *cloud) close() {
	for _, p := range c.replicas {
		p.Kill()
	}
	if c.mosquitto != nil {
		c.mosquitto.Kill()
	}
}

// startMosquitto runs Debian's broker with the rules of docs/uplink.md.
func (c *cloud) startMosquitto() error {
	dir := filepath.Join(c.dir, "mosquitto")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	server, err := c.authority.Server([]string{"127.0.0.1"})
	if err != nil {
		return err
	}
	pair, err := server.Certificate(nil)
	if err != nil {
		return err
	}
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		return err
	}
	var chain []byte
	for _, der := range pair.Certificate {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	_, port, _ := net.SplitHostPort(c.broker)
	files := map[string]string{
		"ca.crt": string(c.authority.PEM()), "broker.crt": string(chain),
		"broker.key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})),
		"acl":        "pattern write headgate/1/%u/up\npattern read headgate/1/%u/down\nuser controller\ntopic read headgate/1/+/up\ntopic write headgate/1/+/down\n",
		"mosquitto.conf": fmt.Sprintf("user root\nlistener %s 127.0.0.1\ncafile %[2]s/ca.crt\ncertfile %[2]s/broker.crt\nkeyfile %[2]s/broker.key\n"+
			"require_certificate true\nuse_identity_as_username true\nacl_file %[2]s/acl\nmessage_size_limit 4194304\n", port, dir),
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	c.mosquitto = &rig.Program{Line: []string{"mosquitto", "-c", filepath.Join(dir, "mosquitto.conf")}}
	if err := c.mosquitto.Start(); err != nil {
		return fmt.Errorf("mosquitto: %w (apt-get install mosquitto)", err)
	}
	if err := rig.Listens(context.Background(), c.broker); err != nil {
		return fmt.Errorf("mosquitto: %w\n%s", err, c.mosquitto.Log())
	}
	return nil
}
