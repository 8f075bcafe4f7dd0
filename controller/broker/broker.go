// Package broker is the MQTT broker inside a controller: gateways speak and listen
// there, each under its own topic, and the controller's replicas hear them. An
// external broker with the same rules does as well; docs/uplink.md has them for
// Mosquitto.
package broker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/headgate-io/headgate/mqtt/broker"
	"github.com/headgate-io/headgate/sync/wire"
)

// Controller is the common name of a controller's own certificate. No gateway
// can be called that: their ids are longer.
const Controller = "controller"

// Config configures a Broker.
type Config struct {
	// Certificate is the server's, for each handshake.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// Roots are who signs clients' certificates.
	Roots *x509.CertPool
	// Identify returns the gateway whose certificate this is.
	Identify func(ctx context.Context, c *x509.Certificate) (gateway string, err error)
	Logger   *slog.Logger
	// MaxConnections bounds the connections (20 000).
	MaxConnections int
}

// Broker is the broker.
type Broker struct {
	cfg    Config
	server *broker.Server
}

// New makes a broker without a listener.
func New(cfg Config) (*Broker, error) {
	if cfg.MaxConnections == 0 {
		cfg.MaxConnections = 20_000
	}
	c := broker.DefaultConfig()
	c.MaxPacket = wire.MaxMessage + 1024
	// Thousands of gateways may stand behind one address of their carrier.
	c.MaxConnections, c.MaxConnectionsPerAddress, c.MaxSessions = cfg.MaxConnections, cfg.MaxConnections, cfg.MaxConnections
	c.MaxPendingBytes, c.MaxPendingBytesTotal = 2*c.MaxPacket, 64<<20
	c.MaxQueuedBytes, c.MaxQueuedBytesTotal = 16<<20, 128<<20
	c.MaxOutBuffer = 2 * c.MaxPacket
	c.MaxBufferedBytesTotal = 256 << 20
	c.MaxSessionExpiry, c.MaxRetainedMessages, c.SysInterval = time.Minute, 1, 0
	b := &Broker{cfg: cfg}
	var err error
	b.server, err = broker.New(c, broker.Deps{Authenticator: b, Logger: cfg.Logger})
	return b, err
}

// Serve takes connections from l until Close.
func (b *Broker) Serve(l net.Listener) error {
	return b.server.Serve(l, broker.ListenerConfig{Name: "gateways", Network: "tls", TLS: &tls.Config{
		MinVersion: tls.VersionTLS12, GetCertificate: b.cfg.Certificate, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: b.cfg.Roots,
	}})
}

// Authenticate implements broker.Authenticator: a gateway speaks for itself
// alone.
func (b *Broker) Authenticate(ctx context.Context, c broker.Credentials) (broker.Identity, error) {
	if c.Certificate == nil {
		return broker.Identity{}, broker.ErrBadCredentials
	}
	name := c.Certificate.Subject.CommonName
	if name == Controller { // the authority makes it for itself alone
		return broker.Identity{
			User: Controller, Client: Controller + "/" + c.Client, Publish: []string{wire.DownTopic("+")}, Subscribe: []string{wire.AllUp, wire.UpTopic("+")},
		}, nil
	}
	gateway, err := b.cfg.Identify(ctx, c.Certificate)
	if err != nil {
		return broker.Identity{}, fmt.Errorf("%w: %w", broker.ErrBadCredentials, err)
	}
	return broker.Identity{User: gateway, Client: gateway, Publish: []string{wire.UpTopic(gateway)}, Subscribe: []string{wire.DownTopic(gateway)}}, nil
}

// Disconnect ends a gateway's connection: after it was revoked.
func (b *Broker) Disconnect(gateway string) { b.server.Disconnect(gateway, broker.NotAuthorized) }

// Stats returns the broker's counters.
func (b *Broker) Stats() broker.Stats { return b.server.Stats() }

// Close ends the listeners and the connections.
func (b *Broker) Close(ctx context.Context) error { return b.server.Close(ctx) }
