package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"net"
	"os"
	"sync"
	"syscall"

	"github.com/headgate-io/headgate/gateway/config"
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

func brokerConfig(c *config.MQTT) broker.Config {
	b := broker.DefaultConfig()
	b.MaxPacket = int(c.MaxPacket)
	b.MaxConnections, b.MaxConnectionsPerAddress = c.MaxConnections, c.MaxConnectionsPerAddress
	b.MaxSessions = max(b.MaxSessions, c.MaxConnections)
	b.MaxQueuedMessages, b.MaxQueuedBytes = c.MaxQueuedMessages, int(c.MaxQueuedBytes)
	b.MaxQueuedBytesTotal = int(c.MaxQueuedBytesTotal)
	b.PublishRate = int(math.Ceil(float64(c.ClientRate)))
	b.SysInterval = c.SysInterval.Std()
	return b
}

func (g *Gateway) listenMQTT(ctx context.Context, l *config.Listener) (net.Addr, error) {
	c := broker.ListenerConfig{Name: l.Name, Network: l.Network, Address: l.Address}
	if l.TLS.Certificate != "" {
		var err error
		if c.TLS, err = loadTLS(&l.TLS); err != nil {
			return nil, fmt.Errorf("listener %s: %w", l.Name, err)
		}
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

// loadTLS allows TLS 1.2, which is what ESP8266-class devices speak.
func loadTLS(t *config.TLS) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(t.Certificate, t.Key)
	if err != nil {
		return nil, fmt.Errorf("tls.certificate %s, tls.key %s: %w", t.Certificate, t.Key, err)
	}
	c := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if t.ClientCA == "" {
		return c, nil
	}
	pem, err := os.ReadFile(t.ClientCA)
	if err != nil {
		return nil, fmt.Errorf("tls.client_ca: %w", err)
	}
	c.ClientCAs = x509.NewCertPool()
	if !c.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("tls.client_ca: %s holds no certificate in PEM", t.ClientCA)
	}
	c.ClientAuth = tls.VerifyClientCertIfGiven
	if t.RequireClient {
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return c, nil
}

// makeStateDir makes the folder that holds everything the gateway keeps.
func makeStateDir(dir string) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("state_dir: %w: name another with --state-dir, or make it writable for this user", err)
	}
	return nil
}
