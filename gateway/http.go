package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/gateway/config"
	"github.com/headgate-io/headgate/gateway/throttle"
	"github.com/headgate-io/headgate/gateway/trigger"
	"github.com/headgate-io/headgate/gateway/web"
)

// httpListener is the name of the HTTP listener among those of MQTT, which
// cannot have it.
const httpListener = "http"

func (g *Gateway) newWeb() *web.Server {
	c := &g.cfg.HTTP
	g.keyGuesses = throttle.New(throttle.Config{})
	return web.New(web.Config{Public: c.Public || config.Loopback(c.Listen), Errors: c.Errors}, web.Deps{
		Dispatcher: g.dispatcher, Triggers: g.triggers, Keys: g.tokens, Objects: g.objects, Guesses: g.keyGuesses, Logger: g.log,
		NewEvent: func() *event.Event { return &event.Event{ID: g.events.next(), Time: g.now(), Trust: g.trust()} },
		Started: func(e *event.Event, m *trigger.Match) {
			qos := 0
			if m.Durable {
				qos = 1
			}
			g.tails.Events.Add(eventLine(e, qos, []trigger.Match{*m}))
		},
		Ready: g.admitRequest,
	})
}

// admitRequest reports why no request can be taken now.
func (g *Gateway) admitRequest() error {
	if err := g.checkReady(); err != nil {
		return err
	}
	if !g.memory.Admit() {
		return errNoMemory
	}
	return nil
}

var errNoMemory = errors.New("short of memory")

// listenHTTP opens the listener for requests, where one is configured.
func (g *Gateway) listenHTTP(ctx context.Context, group *errgroup.Group) error {
	c := &g.cfg.HTTP
	if c.Listen == "" {
		return nil
	}
	l, err := g.web.Listen(ctx, c.Listen, c.MaxConnections)
	if err != nil {
		return err
	}
	if c.TLS.Certificate != "" {
		source, err := g.secure(ctx, httpListener, c.TLS, tls.VersionTLS12)
		if err != nil {
			_ = l.Close() // nobody has come yet
			return fmt.Errorf("http: %w", err)
		}
		l = tls.NewListener(l, source.Config())
	}
	g.listeners.set(httpListener, l.Addr().String())
	group.Go(func() error { return g.web.Serve(ctx, l) })
	return nil
}
