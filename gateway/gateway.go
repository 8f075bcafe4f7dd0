package gateway

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/admin"
	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/announce"
	"github.com/headgate-io/headgate/gateway/bridge"
	"github.com/headgate-io/headgate/gateway/clock"
	"github.com/headgate-io/headgate/gateway/config"
	"github.com/headgate-io/headgate/gateway/desired"
	"github.com/headgate-io/headgate/gateway/device"
	"github.com/headgate-io/headgate/gateway/dispatch"
	"github.com/headgate-io/headgate/gateway/enrol"
	"github.com/headgate-io/headgate/gateway/fetch"
	"github.com/headgate-io/headgate/gateway/heartbeat"
	"github.com/headgate-io/headgate/gateway/memory"
	"github.com/headgate-io/headgate/gateway/metrics"
	"github.com/headgate-io/headgate/gateway/object"
	"github.com/headgate-io/headgate/gateway/recording"
	"github.com/headgate-io/headgate/gateway/registry"
	"github.com/headgate-io/headgate/gateway/secret"
	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/gateway/tail"
	"github.com/headgate-io/headgate/gateway/telemetry"
	"github.com/headgate-io/headgate/gateway/throttle"
	"github.com/headgate-io/headgate/gateway/timer"
	"github.com/headgate-io/headgate/gateway/token"
	"github.com/headgate-io/headgate/gateway/trigger"
	"github.com/headgate-io/headgate/gateway/update"
	"github.com/headgate-io/headgate/gateway/web"
	"github.com/headgate-io/headgate/mqtt/broker"
	"github.com/headgate-io/headgate/sandbox"
	"github.com/headgate-io/headgate/sensors/periphio"
	"github.com/headgate-io/headgate/sync/ota"
	"github.com/headgate-io/headgate/sync/uplink"
)

// Gateway is one running gateway.
type Gateway struct {
	cfg config.Config
	log *slog.Logger

	store      *store.Store
	engine     *sandbox.Engine
	triggers   *trigger.Table
	dispatcher *dispatch.Dispatcher
	timers     *timer.Service
	sensing    *sensing
	actuators  *actuators
	hardware   periphio.Options // tests put other pins here
	registry   *registry.Registry
	recorder   *recording.Recorder
	recordings *recording.Shelf
	broker     *broker.Server
	bridges    []*bridge.Bridge
	enrolment  *enrol.Service
	uplink     *uplink.Uplink
	desired    *desired.Follower
	telemetry  *telemetry.Collector
	announcer  atomic.Pointer[announce.Announcer]
	bridged    *bridge.Window // what passed over bridges
	devices    *device.Registry
	tokens     *token.Registry
	vault      *secret.Vault
	fetch      *fetch.Client
	web        *web.Server
	objects    *object.Service
	// Guesses at devices' passwords, at admin tokens, and at keys.
	deviceGuesses, tokenGuesses, keyGuesses *throttle.Guard
	certs                                   certSources
	background                              sync.WaitGroup // goroutines of Run that end with its ctx
	metrics                                 *metrics.Registry
	admin                                   *admin.Server

	tails    admin.Tails
	watchers watchers
	counted  functionMetrics
	events   eventIDs
	life     *lifecycle

	started   time.Time
	ready     atomic.Bool
	listeners addresses
	memory    *memory.Watch
	shares    memory.Shares
	clock     atomic.Pointer[clock.Clock]
	restored  chan struct{} // a backup lies ready for the next New

	system        *system
	updates       atomic.Pointer[update.Pipeline] // nil where no repository is asked
	signed        atomic.Pointer[ota.Client]      // nil where no root is pinned
	updating      atomic.Bool                     // updates has its worker
	pulse         *heartbeat.Monitor
	watchdog      atomic.Pointer[heartbeat.Device]
	watchdogFault atomic.Pointer[error]
}

// Sizes of what is kept for eyes.
const (
	keptInvocations = 2000
	keptLogs        = 5000
	keptEvents      = 2000
)

// closeWithin bounds an orderly end.
const closeWithin = 15 * time.Second

// Option changes what a Gateway stands on.
type Option func(*Gateway)

// WithHardware puts other pins and buses in the place of the machine's own, for
// tests.
func WithHardware(o periphio.Options) Option { return func(g *Gateway) { g.hardware = o } }

// New opens what a gateway stands on; Run makes it work. Where New fails
// nothing stays open.
func New(ctx context.Context, cfg config.Config, log *slog.Logger, options ...Option) (_ *Gateway, err error) {
	g := &Gateway{
		cfg: cfg, log: log, started: time.Now(), metrics: metrics.New(), triggers: trigger.NewTable(),
		restored: make(chan struct{}, 1), pulse: heartbeat.New(log),
		tails: admin.Tails{
			Invocations: tail.NewRing[api.Invocation](keptInvocations),
			Logs:        tail.NewRing[api.LogLine](keptLogs),
			Events:      tail.NewRing[api.Event](keptEvents),
		},
	}
	for _, o := range options {
		o(g)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.close(context.WithoutCancel(ctx)))
		}
	}()
	if err := g.divideMemory(); err != nil {
		return nil, err
	}
	if err := makeStateDir(cfg.StateDir, log); err != nil {
		return nil, err
	}
	if err := g.openStore(ctx); err != nil {
		return nil, err
	}
	if err := g.openClock(ctx); err != nil {
		return nil, err
	}
	if err := removeTemps(cfg.StateDir); err != nil { // with the store's lock held
		return nil, err
	}
	g.engine, err = sandbox.New(ctx, sandbox.Config{
		CacheDir: filepath.Join(cfg.StateDir, "cache"), MemoryBudget: g.shares.Instances,
		Interpreter: cfg.Sandbox.Interpreter, Logger: log,
	})
	if err != nil {
		return nil, err
	}
	if err = g.openSystem(); err != nil {
		return nil, err
	}
	if g.tokens, err = token.Open(ctx, g.store, log, g.now); err != nil {
		return nil, err
	}
	if g.vault, err = secret.Open(ctx, g.store, cfg.SecretKeyPath(), log); err != nil {
		return nil, err
	}
	g.life = newLifecycle(g)
	g.deviceGuesses, g.tokenGuesses = throttle.New(throttle.Config{}), throttle.New(throttle.Config{})
	g.devices = device.New(g.store, deviceOptions(&cfg.MQTT, g.deviceGuesses))
	g.bridged = bridge.NewWindow(time.Now)
	g.broker, err = broker.New(brokerConfig(&cfg.MQTT, &g.shares), broker.Deps{
		Handler: ingress{g}, Authenticator: g.devices, Sessions: g.store, Messages: g.store, Admit: g.memory.Admit, Watcher: g.life, Logger: log,
		Residents: residents(cfg.Bridges), Loops: g.bridged,
	})
	if err != nil {
		return nil, err
	}
	g.openBridges()
	if err := g.openRecorder(); err != nil {
		return nil, err
	}
	if g.objects, err = g.newObjects(); err != nil {
		return nil, err
	}
	if g.sensing, err = newSensing(g); err != nil {
		return nil, err
	}
	if g.actuators, err = g.newActuators(); err != nil {
		return nil, err
	}
	g.dispatcher, err = dispatch.New(ctx, dispatch.Config{
		Store: g.store, Router: g.triggers, Outbox: egress{g}, Observer: observer{g}, Recorder: listeners{g.recorder}, Objects: g.objects, Logger: log,
		SpillAfter: time.Duration(cfg.Dispatch.SpillAfter), MaxVolatile: cfg.Dispatch.MaxVolatile, MemoryBytes: g.shares.Loaded,
		Actuators: g.actuators.controller, Now: g.now, Trust: g.trust, Steady: g.steady, Wall: g.wall,
	})
	if err != nil {
		return nil, err
	}
	g.objects.Start(g.dispatcher, g.events.next)
	g.timers, err = timer.New(ctx, timer.Config{
		Store: g.store, Clock: g.clock.Load(), Logger: log,
		Target: g.timerTarget(),
	})
	if err != nil {
		return nil, err
	}
	if g.fetch, err = fetch.New(g.fetchConfig()); err != nil {
		return nil, err
	}
	if err := g.openEnrolment(ctx); err != nil {
		return nil, err
	}
	g.web = g.newWeb()
	g.registry = registry.New(registry.Deps{
		Store: g.store, Engine: g.engine, Dispatcher: g.dispatcher, Triggers: g.triggers, Timers: g.timers, Logger: log,
		Log: g.logged, Activated: g.activated, Removed: g.removed, Secrets: g.vault.For, Fetcher: g.fetch, Sensors: g.sensing, Routes: g.web, Buckets: g.objects.Has,
		Direct: g.mayDirect, Equipment: g.equipment,
	})
	g.registry.Lay(g.desired.Overlays())
	if err := g.openUpdates(ctx); err != nil {
		return nil, err
	}
	g.collect()
	g.watchLoops()
	g.admin = admin.New(g.adminDeps())
	return g, nil
}

func (g *Gateway) openStore(ctx context.Context) (err error) {
	g.store, err = store.Open(ctx, store.Config{
		Path: filepath.Join(g.cfg.StateDir, "headgate.db"), Durability: store.Durability(g.cfg.Store.Durability), Logger: g.log,
		MaxQueueRows: int64(g.cfg.Dispatch.MaxQueued), MaxQueueBytes: int64(g.cfg.Dispatch.MaxQueuedBytes),
		MaxDeadLetters: int64(g.cfg.Dispatch.DeadLetters.Max), MaxDeadLetterBytes: int64(g.cfg.Dispatch.DeadLetters.MaxBytes),
		MaxDeadLetterAge: g.cfg.Dispatch.DeadLetters.MaxAge.Std(), Now: g.now, Steady: g.steady, Wall: g.wall,
		Work: g.pulse.Loop("committer", commitWithin), Gateway: g.enrolledAs(), MaxOutboxBytes: int64(g.cfg.Uplink.Outbox), UsageGrain: g.cfg.Uplink.GrainMinutes(),
	})
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: choose another state_dir, or run as the user that owns this one", err)
	}
	if err != nil {
		return err
	}
	g.events, err = newEventIDs(ctx, g.store)
	return err
}

func (g *Gateway) fetchConfig() fetch.Config {
	c := &g.cfg.Fetch
	return fetch.Config{
		Allow: c.Networks(), CA: c.CA, Timeout: time.Duration(c.Timeout), MaxRequest: int64(c.MaxRequest), MaxResponse: int64(c.MaxResponse),
		MaxCalls: c.MaxCalls, MaxCallsPerFunction: c.MaxCallsPerFunction, Salt: g.store.Identity().ID, UserAgent: "headgate/" + Version(), Now: g.now,
	}
}

// collect shows every package's counters at /metrics.
func (g *Gateway) collect() {
	g.metrics.Add(
		metrics.Stats("mqtt", func() any { return g.broker.Stats() }),
		metrics.Stats("store", func() any { return g.store.Stats() }),
		metrics.Stats("trigger", func() any { return g.triggers.Stats() }),
		metrics.Stats("dispatch", func() any { return g.dispatcher.Stats() }),
		metrics.Stats("sandbox", func() any { return g.engine.Stats() }),
		metrics.Stats("device_guesses", func() any { return g.deviceGuesses.Stats() }),
		metrics.Stats("token_guesses", func() any { return g.tokenGuesses.Stats() }),
		metrics.Stats("certificates", func() any { return g.certStats() }),
		metrics.Stats("fetch", func() any { return g.fetch.Stats() }),
		metrics.Stats("http", func() any { return g.web.Stats() }),
		metrics.Stats("key_guesses", func() any { return g.keyGuesses.Stats() }),
		metrics.Stats("objects", func() any { return g.objects.Stats() }),
		metrics.Stats("timer", func() any { return g.timers.Stats() }),
		metrics.Stats("lifecycle", func() any { return g.life.snapshot() }),
		metrics.Stats("clock", func() any { return g.clock.Load().Stats() }),
		metrics.Stats("memory", func() any { return g.memory.Stats() }),
		metrics.Stats("recording", func() any { return g.recorder.Stats() }),
		metrics.Stats("tail", func() any { return g.tailStats() }),
		metrics.Stats("sensors", func() any { return g.sensing.sampler.Stats() }),
		metrics.Stats("sensor_triggers", func() any { return g.sensing.snapshot() }),
		metrics.Sensors(g.sensing.board.All),
		metrics.Stats("actuators", func() any { return g.actuators.controller.Stats() }),
		metrics.Stats("actuator_messages", func() any { return g.actuators.messages() }),
		metrics.Stats("guard", func() any { return g.actuators.guardStats() }),
		metrics.Stats("bridges", func() any { return g.bridgeStats() }),
		metrics.Stats("bridges_window", func() any { return g.bridged.Stats() }),
		metrics.Stats("enrolment", func() any { return g.enrolment.Stats() }),
		metrics.Stats("uplink", func() any { return g.uplink.Stats() }),
		metrics.Stats("desired", func() any { return g.desired.Stats() }),
		metrics.Stats("telemetry", func() any { return g.telemetry.Stats() }),
		metrics.Stats("heartbeat", func() any { return g.pulse.Stats() }),
		metrics.Stats("watchdog", func() any { return g.watchdog.Load().Stats() }),
		metrics.Stats("updates", func() any { return g.updateStats() }),
		metrics.Stats("ota", func() any { return g.signedStats() }),
		metrics.FunctionStates(g.functionStates),
		metrics.BridgeStates(g.bridgeStates),
	)
}

// tailStats counts what slow followers did not get.
type tailStats struct{ MissedInvocations, MissedLogs, MissedEvents uint64 }

func (g *Gateway) tailStats() tailStats {
	return tailStats{g.tails.Invocations.Missed(), g.tails.Logs.Missed(), g.tails.Events.Missed()}
}

// ErrReopen ends Run when the gateway has to be made anew: a backup was
// restored, or the database turned out to be damaged. New then works with what
// can be had.
var ErrReopen = errors.New("the gateway has to be opened again")

// watchStore ends the gateway when its database cannot be worked with.
func (g *Gateway) watchStore(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-g.store.Damaged():
		return fmt.Errorf("%w: %w", ErrReopen, store.ErrDamaged)
	case <-g.restored:
		return fmt.Errorf("%w: a backup was restored", ErrReopen)
	}
}

// Run loads the functions, opens the listeners and works until ctx ends; then
// it stops taking, lets what runs end and closes.
func (g *Gateway) Run(ctx context.Context) (err error) {
	defer func() { err = errors.Join(err, g.close(context.WithoutCancel(ctx))) }()
	socket, err := admin.ListenUnix(ctx, g.cfg.SocketPath())
	if err != nil {
		return err
	}
	told := ctx
	group, ctx := errgroup.WithContext(ctx)
	defer g.background.Wait()
	group.Go(func() error { return g.system.watch(ctx) })
	group.Go(func() error { return g.pulse.Run(ctx) })
	group.Go(func() error { return g.runWatchdog(ctx, told) })
	group.Go(func() error { return g.admin.ServeLocal(ctx, socket) })
	group.Go(func() error { return g.watchStore(ctx) })
	group.Go(func() error { return g.watchMemory(ctx) })
	group.Go(func() error { return g.actuators.run(ctx) })
	group.Go(func() error {
		if err := g.start(ctx, group); err != nil {
			return err
		}
		g.ready.Store(true)
		group.Go(func() error { return g.life.watch(ctx) })
		g.log.Info("ready", "after", time.Since(g.started), "version", Version())
		return g.notifySystemd(ctx)
	})
	err = group.Wait()
	if g.ready.Swap(false) && !errors.Is(err, ErrReopen) {
		g.life.stopping(context.WithoutCancel(ctx))
	}
	return err
}

// start brings up functions first and listeners last, so that no event finds a
// gateway without its functions.
func (g *Gateway) start(ctx context.Context, group *errgroup.Group) error {
	if err := g.registry.Load(ctx); err != nil {
		return err
	}
	g.timers.Start()
	g.actuators.listen()
	g.sensing.sampler.Start(ctx)
	if g.cfg.Admin.Listen != "" {
		l, err := g.listenAdmin(ctx)
		if err != nil {
			return err
		}
		group.Go(func() error { return g.admin.ServeTokens(ctx, l) })
	}
	if err := g.listenHTTP(ctx, group); err != nil {
		return err
	}
	for i := range g.cfg.MQTT.Listeners {
		l := &g.cfg.MQTT.Listeners[i]
		address, err := g.listenMQTT(ctx, l)
		if err != nil {
			return fmt.Errorf("mqtt.listeners: %w", err)
		}
		g.listeners.set(l.Name, address.String())
	}
	g.runBridges(ctx)
	g.runUplink(ctx)
	g.background.Go(func() { g.runDiscovery(ctx) })
	g.background.Go(func() { g.runAnnouncer(ctx) })
	g.runUpdates(ctx)
	return nil
}

// close ends everything that was opened, in the reverse order. It may be
// called after a New that failed half-way.
func (g *Gateway) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, closeWithin)
	defer cancel()
	var errs []error
	if g.fetch != nil {
		g.fetch.Stop()
		defer g.fetch.Close()
	}
	if g.broker != nil {
		errs = append(errs, g.broker.Close(ctx))
	}
	if g.sensing != nil {
		errs = append(errs, g.sensing.close(ctx))
	}
	if g.actuators != nil {
		errs = append(errs, g.actuators.ledger.Close())
	}
	if g.timers != nil {
		errs = append(errs, g.timers.Close(ctx))
	}
	if g.objects != nil {
		g.objects.Close()
	}
	if g.dispatcher != nil {
		errs = append(errs, g.dispatcher.Close(ctx))
	}
	if g.recorder != nil {
		g.recorder.Close()
	}
	if g.registry != nil {
		errs = append(errs, g.registry.Close(ctx))
	}
	if g.engine != nil {
		errs = append(errs, g.engine.Close(ctx))
	}
	if c := g.clock.Load(); c != nil {
		errs = append(errs, c.Close(ctx))
	}
	if g.store != nil {
		errs = append(errs, g.store.Close(ctx))
	}
	return errors.Join(errs...)
}

// activated follows a version that went live.
func (g *Gateway) activated(s *function.Spec) {
	g.replayRetained(s)
	g.uplink.Report()
}

// removed follows a function that is gone.
func (g *Gateway) removed(name string) {
	g.uplink.Report()
	g.counted.forget(g.metrics)(name)
	g.actuators.controller.Removed(name)
	if err := g.vault.RemoveFunction(context.Background(), name); err != nil {
		g.log.Error("remove the secrets of a function that is gone", "function", name, "error", err)
	}
}

// logged takes a line that a function logged outside an invocation.
func (g *Gateway) logged(name string, version int, line function.LogLine) {
	g.tails.Logs.Add(logLine(name, version, "", line))
}
