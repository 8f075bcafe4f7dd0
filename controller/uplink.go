package controller

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/headgate-io/headgate/controller/broker"
	"github.com/headgate-io/headgate/controller/fleet"
	"github.com/headgate-io/headgate/controller/ingest"
	"github.com/headgate-io/headgate/controller/rollout"
)

// openUplink makes what hears gateways: the ingest, and the embedded broker
// unless another one is configured.
func (c *Controller) openUplink(ctx context.Context) (err error) {
	if c.ingest, err = ingest.New(c.Store, c.log, nil); err != nil {
		return err
	}
	address := c.cfg.MQTT.Broker
	if address == "" {
		if err := c.openBroker(ctx); err != nil {
			return err
		}
		_, port, err := net.SplitHostPort(c.mqtt.Addr().String())
		if err != nil {
			return err
		}
		host, _, err := net.SplitHostPort(c.cfg.MQTT.Listen)
		if ip := net.ParseIP(host); err != nil || host == "" || ip != nil && ip.IsUnspecified() {
			host = "localhost"
		}
		address = "ssl://" + net.JoinHostPort(host, port)
	}
	if c.hears, err = ingest.NewListener(c.ingest, address, c.brokerTLS); err != nil {
		return err
	}
	if c.fleet, err = fleet.New(c.Store, c.hears, c.log, nil); err != nil {
		return err
	}
	c.ingest.Follow(c.fleet)
	if c.rollout, err = rollout.New(c.Store, c.fleet.Kick, c.log, nil); err != nil {
		return err
	}
	c.rollout.Hear(c.hears.Ready)
	c.parts = append(c.parts, part{"fleet", c.fleet.Run}, part{"rollout", c.rollout.Run})
	c.parts = append(c.parts, part{"ingest", func(ctx context.Context) error { c.hears.Run(ctx); return nil }})
	return nil
}

func (c *Controller) openBroker(ctx context.Context) (err error) {
	c.broker, err = broker.New(broker.Config{
		Certificate: c.own.Certificate, Roots: c.Authority.Roots(), Logger: c.log, MaxConnections: c.cfg.HTTP.MaxConnections,
		Identify: func(ctx context.Context, shown *x509.Certificate) (string, error) {
			g, err := c.Enrol.Identify(ctx, shown)
			return g.ID, err
		},
	})
	if err != nil {
		return err
	}
	if c.mqtt, err = (&net.ListenConfig{}).Listen(ctx, "tcp", c.cfg.MQTT.Listen); err != nil {
		return fmt.Errorf("mqtt.listen: %w", err)
	}
	c.door = &doorkeeper{store: c.Store, put: c.putOut}
	c.parts = append(c.parts, part{"broker", c.serveBroker}, part{"door", c.door.run})
	return nil
}

func (c *Controller) serveBroker(ctx context.Context) error {
	if err := c.broker.Serve(c.mqtt); err != nil {
		return err
	}
	<-ctx.Done()
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	return c.broker.Close(end)
}

// brokerTLS is the controller's side of TLS with its broker.
func (c *Controller) brokerTLS() (*tls.Config, error) {
	own, err := c.Authority.Client(broker.Controller)
	if err != nil {
		return nil, err
	}
	out := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.Authority.Roots(), Certificates: []tls.Certificate{*own}}
	if file := c.cfg.MQTT.CA; file != "" {
		raw, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("mqtt.ca: %w", err)
		}
		out.RootCAs = x509.NewCertPool()
		if !out.RootCAs.AppendCertsFromPEM(raw) {
			return nil, fmt.Errorf("mqtt.ca: %s holds no certificate in PEM", file)
		}
	}
	if c.cfg.MQTT.Broker == "" {
		out.ServerName = c.own.Name() // whatever address it is reached at
	}
	return out, nil
}

// mqttAddresses are what a gateway that reached the controller as host is told.
func (c *Controller) mqttAddresses(host string) ([]string, error) {
	switch {
	case len(c.cfg.MQTT.Addresses) > 0:
		return c.cfg.MQTT.Addresses, nil
	case c.mqtt == nil:
		return []string{c.cfg.MQTT.Broker}, nil
	}
	_, port, err := net.SplitHostPort(c.mqtt.Addr().String())
	return []string{"ssl://" + net.JoinHostPort(host, port)}, err
}

// closeUplink closes what Run was not called for.
func (c *Controller) closeUplink() error {
	if c.mqtt == nil {
		return nil
	}
	if err := c.mqtt.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// putOut ends a gateway's connection with the embedded broker of this replica;
// the doorkeepers of the others follow. Behind another broker the ingest refuses
// what it sends.
func (c *Controller) putOut(gateway string) {
	if c.broker != nil {
		c.broker.Disconnect(gateway)
	}
}
