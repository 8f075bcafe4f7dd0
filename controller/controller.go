// Package controller is the composition root of the cloud side: New puts the
// parts together, Run serves until its context ends. Any number of controllers
// may run on one PostgreSQL: what they know is there, not in them.
package controller

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"github.com/headgate-io/headgate/controller/api"
	"github.com/headgate-io/headgate/controller/broker"
	"github.com/headgate-io/headgate/controller/ca"
	"github.com/headgate-io/headgate/controller/config"
	"github.com/headgate-io/headgate/controller/content"
	"github.com/headgate-io/headgate/controller/enrol"
	"github.com/headgate-io/headgate/controller/fleet"
	"github.com/headgate-io/headgate/controller/ingest"
	"github.com/headgate-io/headgate/controller/rollout"
	"github.com/headgate-io/headgate/controller/server"
	"github.com/headgate-io/headgate/controller/store"
	"github.com/headgate-io/headgate/internal/bounded"
	"github.com/headgate-io/headgate/internal/metric"
	"github.com/headgate-io/headgate/internal/sole"
	"github.com/headgate-io/headgate/sync/ota/keyring"
)

// version is set by the linker (see the Makefile).
var version = "unknown"

// Version names the build of this program.
func Version() string { return version }

// Controller is one controller, or one replica of several.
type Controller struct {
	*Base
	alone    *sole.Lock // nil where controllers share the database
	cfg      config.Config
	log      *slog.Logger
	own      *ca.Server
	server   *server.Server
	listener *bounded.Listener
	visitors *visitors
	timeouts timeouts
	metrics  *prometheus.Registry
	parts    []part
	content  *content.Keeper

	fleet   *fleet.Service
	rollout *rollout.Engine
	ingest  *ingest.Service
	hears   *ingest.Listener
	// broker and mqtt are the embedded broker and its listener; nil where another
	// one is configured.
	broker *broker.Broker
	door   *doorkeeper
	mqtt   net.Listener
}

// part is something that runs as long as the controller does: it returns when
// its context ends, or with an error that ends the controller.
type part struct {
	name string
	run  func(context.Context) error
}

// New opens everything that the configuration names. Whatever it returns must be
// run, or closed. A database in a file takes one controller at a time.
func New(ctx context.Context, cfg config.Config, log *slog.Logger) (*Controller, error) {
	alone, err := store.Alone(cfg.DSN())
	if err != nil {
		return nil, err
	}
	base, err := Open(ctx, cfg, log)
	if err != nil {
		return nil, errors.Join(err, alone.Release())
	}
	c := &Controller{Base: base, alone: alone, cfg: cfg, log: log, metrics: prometheus.NewRegistry(), visitors: newVisitors()}
	c.timeouts = timeouts{readHeaderTimeout, readTimeout, idleTimeout}
	if err := c.assemble(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *Controller) assemble(ctx context.Context) (err error) {
	names := c.cfg.HTTP.Names
	if len(names) == 0 {
		names = ownNames()
	}
	if c.own, err = c.Authority.Server(names); err != nil {
		return err
	}
	if err := c.openUplink(ctx); err != nil {
		return err
	}
	c.content = content.New(c.cfg.ContentDir(), keyring.Ring{Dir: c.cfg.KeysDir()}, time.Now, c.log)
	c.server = server.New(server.Deps{
		Store: c.Store, Enrol: c.Enrol, Fleet: c.fleet, Targets: content.NewCatalog(c.cfg.ContentDir(), time.Now).Targets,
		Connection: c.connection, Ready: c.Store.Ping, Gone: c.putOut, ContentDir: c.cfg.ContentDir(), Content: c.content,
		Metrics: promhttp.HandlerFor(c.metrics, promhttp.HandlerOpts{}), Version: Version(), Logger: c.log, Now: time.Now,
	})
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.cfg.HTTP.Listen)
	if err != nil {
		return fmt.Errorf("http.listen: %w", err)
	}
	c.listener = bounded.Listen(l, c.cfg.HTTP.MaxConnections)
	c.listener.Displace = c.visitors.displace
	c.parts = append(c.parts, part{"http", c.serve}, part{"sweep", c.sweep}, part{"content", c.content.Run})
	return c.register()
}

func (c *Controller) register() error {
	stats := map[string]func() any{
		"database":    func() any { return c.Store.Stats() },
		"enrolment":   func() any { return c.Enrol.Stats() },
		"api":         func() any { return c.server.Stats() },
		"certificate": func() any { return c.own.Stats() },
		"http": func() any {
			v := c.visitors
			return httpStats{
				Connections: c.listener.Open(), Refused: c.listener.Refused(), Displaced: v.displaced.Load(), Unserved: v.unserved.Load(),
				SlowBodies: v.slow.Load(), GivenUp: v.givenUp.Load(),
			}
		},
	}
	stats["content"] = func() any { return c.content.Stats() }
	stats["fleet"] = func() any { return c.fleet.Stats() }
	stats["rollout"] = func() any { return c.rollout.Stats() }
	stats["ingest"] = func() any { return c.ingest.Stats() }
	stats["ingest_listener"] = func() any { return c.hears.Stats() }
	if c.broker != nil {
		stats["mqtt"] = func() any { return c.broker.Stats() }
		stats["put_out"] = func() any { return c.door.stats() }
	}
	faults := []error{c.metrics.Register(collectors.NewGoCollector()), c.metrics.Register(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))}
	for name, read := range stats {
		faults = append(faults, c.metrics.Register(metric.Stats("headgate_controller", name, read)))
	}
	return errors.Join(faults...)
}

// Addr is where the HTTP API listens.
func (c *Controller) Addr() net.Addr { return c.listener.Addr() }

// Handler is the HTTP API without its listener.
func (c *Controller) Handler() *server.Server { return c.server }

// Run serves until ctx ends, lets what is under way end, and closes everything.
func (c *Controller) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, p := range c.parts {
		group.Go(func() error {
			if err := p.run(ctx); err != nil && ctx.Err() == nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			return nil
		})
	}
	c.log.Info("controller runs", "version", Version(), "https", c.listener.Addr().String(), "ca", c.Authority.Fingerprint())
	return errors.Join(group.Wait(), c.Close())
}

// Close closes what Run was not called for.
func (c *Controller) Close() error {
	err := c.closeUplink()
	if c.listener != nil {
		if fault := c.listener.Close(); !errors.Is(fault, net.ErrClosed) {
			err = errors.Join(err, fault)
		}
	}
	return errors.Join(err, c.Store.Close(), c.alone.Release())
}

// Timeouts of connections.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 30 * time.Second
	// writeTimeout bounds an answer. Content is fetched over slow links; a
	// fetch that is cut goes on with a range.
	writeTimeout   = 30 * time.Minute
	idleTimeout    = 2 * time.Minute
	grace          = 10 * time.Second
	maxHeaderBytes = 16 << 10
	// maxStreams is how many requests of one connection are answered at once.
	maxStreams = 64
)

func (c *Controller) serve(ctx context.Context) error {
	s := &http.Server{
		Handler: c.visitors.serve(c.server), ConnContext: c.visitors.context, ConnState: c.visitors.state,
		ReadHeaderTimeout: c.timeouts.header, ReadTimeout: c.timeouts.read, WriteTimeout: writeTimeout,
		IdleTimeout: c.timeouts.idle, HTTP2: &http.HTTP2Config{MaxConcurrentStreams: maxStreams}, MaxHeaderBytes: maxHeaderBytes, ErrorLog: slog.NewLogLogger(c.log.Handler(), slog.LevelDebug),
	}
	secure := c.own.Config()
	secure.NextProtos = []string{"h2", "http/1.1"}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(tls.NewListener(c.listener, secure)) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if err := s.Shutdown(end); err != nil {
		return s.Close()
	}
	return nil
}

// ownNames are the names and addresses of this machine.
func ownNames() []string {
	names := []string{"localhost", "127.0.0.1", "::1"}
	if host, err := os.Hostname(); err == nil && host != "localhost" {
		names = append([]string{host}, names...)
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return names
	}
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() {
			names = append(names, n.IP.String())
		}
	}
	return names
}

// connection says to a gateway that reached the controller as host where
// everything is.
func (c *Controller) connection(host string, m enrol.Member) (api.Enrolled, error) {
	if !c.own.Has(host) && len(c.cfg.HTTP.Names) > 0 {
		host = c.cfg.HTTP.Names[0]
	}
	out := api.Enrolled{
		Gateway: m.Gateway.ID, Name: m.Gateway.Name, Tenant: m.Tenant.ID, Certificate: string(m.Issued.Chain), CA: string(c.Authority.PEM()),
		Content: c.cfg.Content.URL, Time: time.Now().UTC(),
	}
	var err error
	if out.MQTT, err = c.mqttAddresses(host); err != nil {
		return out, err
	}
	if out.Content == "" {
		_, port, err := net.SplitHostPort(c.listener.Addr().String())
		if err != nil {
			return out, err
		}
		out.Content = "https://" + net.JoinHostPort(host, port) + "/content"
	}
	root, err := os.ReadFile(filepath.Join(c.cfg.ContentDir(), m.Tenant.ID, "metadata", "root.json"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return out, err
	}
	out.Root = root
	return out, nil
}

// Bounds of what is swept at once.
const (
	sweepEvery = time.Hour
	sweepMost  = 1000
	// answersKept is how long the answer to an Idempotency-Key is.
	answersKept = 24 * time.Hour
	// questionsKept is how long questions to gateways and their answers are.
	questionsKept = 7 * 24 * time.Hour
)

// sweep removes what is too old.
func (c *Controller) sweep(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		if err := c.sweepOnce(ctx, time.Now()); err != nil && ctx.Err() == nil {
			c.log.Error("remove what is too old", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (c *Controller) sweepOnce(ctx context.Context, now time.Time) error {
	audit := now.Add(-time.Duration(c.cfg.Audit.Keep))
	for _, remove := range []func(tx *store.Tx) (int64, error){
		func(tx *store.Tx) (int64, error) { return tx.RemoveAnswers(ctx, now.Add(-answersKept), sweepMost) },
		func(tx *store.Tx) (int64, error) { return tx.RemoveChanges(ctx, audit, sweepMost) },
		func(tx *store.Tx) (int64, error) { return tx.RemoveConfigChanges(ctx, audit, sweepMost) },
		func(tx *store.Tx) (int64, error) { return tx.RemoveDeployments(ctx, audit, sweepMost) },
		func(tx *store.Tx) (int64, error) {
			return tx.RemoveQuestions(ctx, now.Add(-questionsKept), sweepMost)
		},
		func(tx *store.Tx) (int64, error) { return tx.RemovePutOut(ctx, now.Add(-time.Hour), sweepMost) },
		func(tx *store.Tx) (int64, error) {
			return tx.RemoveUsageBatches(ctx, now.Add(-time.Duration(c.cfg.Usage.Keep)), sweepMost)
		},
	} {
		for n := int64(sweepMost); n >= sweepMost; {
			err := c.Store.Update(ctx, func(tx *store.Tx) (err error) {
				n, err = remove(tx)
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}
