package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"math"
	"net"
	"os"
	"sync"
	"syscall"

	"github.com/headgate-io/headgate/gateway/admin"
	"github.com/headgate-io/headgate/gateway/certs"
	"github.com/headgate-io/headgate/gateway/config"
	"github.com/headgate-io/headgate/gateway/memory"
	"github.com/headgate-io/headgate/gateway/token"
	"github.com/headgate-io/headgate/mqtt/broker"
)

// addresses are where the MQTT listeners are, by name.
type addresses struct {
	mu     sync.Mutex
	byName map[string]string
}

func (a *addresses) set(name, address string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.byName == nil {
		a.byName = map[string]string{}
	}
	a.byName[name] = address
}

func (a *addresses) all() map[string]string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.byName)
}

func brokerConfig(c *config.MQTT, m *memory.Shares) broker.Config {
	b := broker.DefaultConfig()
	b.MaxPacket = int(c.MaxPacket)
	b.MaxConnections, b.MaxConnectionsPerAddress = c.MaxConnections, c.MaxConnectionsPerAddress
	b.MaxSessions = max(b.MaxSessions, c.MaxConnections)
	b.MaxQueuedMessages, b.MaxQueuedBytes = c.MaxQueuedMessages, int(c.MaxQueuedBytes)
	b.MaxQueuedBytesTotal, b.MaxBufferedBytesTotal = int(m.Queued), int(m.Buffered)
	b.MaxRetainedBytes, b.MaxPendingBytesTotal = int(m.Retained), int(m.Pending)
	b.MaxQueuedBytes = min(b.MaxQueuedBytes, b.MaxQueuedBytesTotal)
	b.MaxPendingBytes = min(b.MaxPendingBytes, b.MaxPendingBytesTotal)
	b.PublishRate = int(math.Ceil(float64(c.ClientRate)))
	b.SysInterval = c.SysInterval.Std()
	return b
}

func (g *Gateway) listenMQTT(ctx context.Context, l *config.Listener) (net.Addr, error) {
	c := broker.ListenerConfig{Name: l.Name, Network: l.Network, Address: l.Address}
	if l.TLS.Certificate != "" {
		// ESP8266-class devices speak TLS 1.2.
		source, err := g.secure(ctx, l.Name, l.TLS, tls.VersionTLS12)
		if err != nil {
			return nil, fmt.Errorf("listener %s: %w", l.Name, err)
		}
		c.TLS = source.Config()
	}
	address, err := g.broker.Listen(ctx, c)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		err = fmt.Errorf("%w: another broker or gateway has it: stop that one, or choose another address", err)
	case errors.Is(err, fs.ErrPermission):
		err = fmt.Errorf("%w: ports below 1024 are root's: choose another", err)
	}
	return address, err
}

// adminListener is the name of the admin API's TLS files among those of the
// MQTT listeners, which cannot have it.
const adminListener = "admin"

// secure loads a listener's TLS files and keeps them up to date.
func (g *Gateway) secure(ctx context.Context, name string, files config.TLS, min uint16) (*certs.Source, error) {
	source, err := certs.New(name, files, min, g.now, g.log)
	if err != nil {
		return nil, err
	}
	g.certs.add(name, source)
	g.background.Go(func() { source.Watch(ctx) })
	return source, nil
}

func (g *Gateway) listenAdmin(ctx context.Context) (net.Listener, error) {
	if err := g.loadTokenFile(); err != nil {
		return nil, err
	}
	files := g.cfg.Admin.TLS
	if files.Certificate == "" {
		return admin.ListenTCP(ctx, g.cfg.Admin.Listen, nil)
	}
	source, err := g.secure(ctx, adminListener, files, tls.VersionTLS13)
	if err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	return admin.ListenTCP(ctx, g.cfg.Admin.Listen, source.Config())
}

func (g *Gateway) loadTokenFile() error {
	secret, tightened, err := token.ReadFile(g.cfg.TokenPath())
	if err != nil {
		return err
	}
	if tightened {
		g.log.Warn("everybody on this machine could read the admin token: its file is closed now, replace the token", "file", g.cfg.TokenPath())
	}
	g.tokens.UseFile(secret)
	return nil
}

// Reload reads the TLS files, the token file and the key file of the secrets
// again. What is no good stays as
// it was, and is in the error.
func (g *Gateway) Reload() error {
	var faults []error
	if g.cfg.Admin.Listen != "" {
		faults = append(faults, g.loadTokenFile())
	}
	faults = append(faults, g.vault.Reload())
	for name, source := range g.certs.all() {
		if err := source.Reload(); err != nil {
			faults = append(faults, fmt.Errorf("listener %s: %w", name, err))
		}
	}
	return errors.Join(faults...)
}

// Certificates tells of the TLS files of every listener, by its name; those of
// the admin API are "admin".
func (g *Gateway) Certificates() map[string]certs.Status {
	out := map[string]certs.Status{}
	for name, source := range g.certs.all() {
		out[name] = source.Status()
	}
	return out
}

// certSources are the TLS files of the listeners, by name.
type certSources struct {
	mu     sync.Mutex
	byName map[string]*certs.Source
}

func (c *certSources) add(name string, s *certs.Source) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byName == nil {
		c.byName = map[string]*certs.Source{}
	}
	c.byName[name] = s
}

func (c *certSources) all() map[string]*certs.Source {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.byName)
}

// certStats sums the listeners' counters.
func (g *Gateway) certStats() certs.Stats {
	var sum certs.Stats
	for _, source := range g.certs.all() {
		sum.Add(source.Stats())
	}
	return sum
}

// makeStateDir makes the folder that holds everything the gateway keeps. One
// that everybody may write to is refused: whoever can replace the database or
// the socket is the gateway.
func makeStateDir(dir string, log *slog.Logger) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("state_dir: %w: name another with --state-dir, or make it writable for this user", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("state_dir: %w", err)
	}
	switch perm := info.Mode().Perm(); {
	case perm&0o002 != 0:
		return fmt.Errorf("state_dir: everybody on this machine may write to %s: chmod o-rwx it, or name another with --state-dir", dir)
	case perm&0o005 != 0:
		log.Warn("everybody on this machine may look into state_dir: chmod o-rwx it", "state_dir", dir)
	}
	return nil
}
