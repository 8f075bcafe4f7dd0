package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/dispatch"
	"github.com/headgate-io/headgate/gateway/object"
	"github.com/headgate-io/headgate/gateway/throttle"
	"github.com/headgate-io/headgate/gateway/token"
	"github.com/headgate-io/headgate/gateway/trigger"
	"github.com/headgate-io/headgate/internal/bounded"
)

// Dispatcher runs what requests start; dispatch.Dispatcher is one.
type Dispatcher interface {
	Request(ctx context.Context, name string, ev *event.Event, params trigger.Params) (dispatch.Reply, error)
	Submit(in dispatch.Arrival)
}

// Matcher says what a request starts; *trigger.Table is one.
type Matcher interface {
	Match(m *trigger.Message, dst []trigger.Match) []trigger.Match
}

// Keys knows who may call what; *token.Registry is one.
type Keys interface {
	Lookup(secret string) (token.Info, error)
	Enter(ctx context.Context, secret string) (*token.Grant, error)
}

var (
	_ Dispatcher = (*dispatch.Dispatcher)(nil)
	_ Matcher    = (*trigger.Table)(nil)
	_ Keys       = (*token.Registry)(nil)
)

// Config says how requests are met. Zero fields take the defaults named beside
// them.
type Config struct {
	// Public admits routes that everybody may call; without it they need a key
	// as the others do.
	Public bool
	// Errors shows callers why a function failed.
	Errors bool
	// MaxBodies bounds the bodies that are in memory together (16 MiB).
	MaxBodies int64
	// BodyWithin is how long a body may take to arrive (30 s), ReplyWithin an
	// answer to be taken (30 s), Grace how long requests go on when the server
	// ends (10 s).
	BodyWithin, ReplyWithin, Grace time.Duration
}

// Deps is what a server stands on.
type Deps struct {
	Dispatcher Dispatcher
	Triggers   Matcher
	Keys       Keys
	// Objects are the buckets; nil has none.
	Objects *object.Service
	// Guesses slows down who tries keys.
	Guesses *throttle.Guard
	// NewEvent makes an event of which the id, the time and how far it can be
	// relied on are set.
	NewEvent func() *event.Event
	// Started is told of every event that starts a function.
	Started func(e *event.Event, match *trigger.Match)
	// Ready reports why nothing can be taken; nil is that it can.
	Ready  func() error
	Logger *slog.Logger
}

// Server answers requests. It may be used from any goroutine.
type Server struct {
	cfg    Config
	deps   Deps
	routes routes
	bodies *semaphore.Weighted
	stats  counters
	open   atomic.Pointer[bounded.Listener]
}

// New makes a server without routes.
func New(cfg Config, deps Deps) *Server {
	positive(&cfg.MaxBodies, 16<<20)
	positive(&cfg.BodyWithin, 30*time.Second)
	positive(&cfg.ReplyWithin, 30*time.Second)
	positive(&cfg.Grace, 10*time.Second)
	return &Server{cfg: cfg, deps: deps, bodies: semaphore.NewWeighted(cfg.MaxBodies)}
}

func positive[T int64 | time.Duration](v *T, missing T) {
	if *v <= 0 {
		*v = missing
	}
}

// Check reports which routes of a function cannot be told from those of others.
func (s *Server) Check(spec *function.Spec) error {
	var faults []error
	for _, x := range routesOf(spec) {
		if s.deps.Objects != nil && strings.HasPrefix(x.path+"/", bucketsPath) {
			faults = append(faults, fmt.Errorf("http: %s: what is below %s are the buckets: choose another path", x, bucketsPath))
		}
	}
	for _, c := range s.routes.check(spec) {
		faults = append(faults, c)
	}
	return errors.Join(faults...)
}

// Set makes the routes of a function those that count.
func (s *Server) Set(spec *function.Spec) { s.routes.set(spec.Name, routesOf(spec)) }

// Remove takes the routes of a function away.
func (s *Server) Remove(name string) { s.routes.set(name, nil) }

// Bounds of a connection.
const (
	readHeaderTimeout = 5 * time.Second
	idleTimeout       = time.Minute
	maxHeaderBytes    = 16 << 10
)

// Serve answers on l until ctx ends, then lets requests under way finish for a
// moment.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	// Not ctx: requests go on for as long as the grace lasts.
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true) // what HTTP/2 may cost is for its client to decide
	server := &http.Server{
		Handler: http.HandlerFunc(s.serve), ReadHeaderTimeout: readHeaderTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		Protocols: protocols, BaseContext: func(net.Listener) context.Context { return base },
		ErrorLog: slog.NewLogLogger(s.deps.Logger.Handler(), slog.LevelDebug),
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	select {
	case err := <-ended:
		return fmt.Errorf("http: %w", err)
	case <-ctx.Done():
	}
	grace, stop := context.WithTimeout(base, s.cfg.Grace)
	defer stop()
	if err := server.Shutdown(grace); err != nil {
		return server.Close()
	}
	return nil
}

// Listen opens address for at most that many connections.
func (s *Server) Listen(ctx context.Context, address string, most int) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("http.listen: %w", err)
	}
	b := bounded.Listen(l, most)
	s.open.Store(b)
	return b, nil
}

// Stats are the server's counters since its start, and what it does now.
type Stats struct {
	// Requests came, Answered got what a function said, Kept a 202.
	Requests, Answered, Kept uint64
	// NotFound had no route, or a condition that is false; WrongMethod no route
	// for their method; Malformed were not understood.
	NotFound, WrongMethod, Malformed uint64
	// Unauthorized showed no good key, Held were turned away unchecked after
	// too many wrong ones, CrossOrigin came from pages that a route does not
	// name.
	Unauthorized, Held, CrossOrigin uint64
	// TooLarge, RateLimited and Busy had no room; TimedOut got no answer in
	// time; Failed met a function that failed; Gone had left.
	TooLarge, RateLimited, Busy, TimedOut, Failed, Gone uint64
	// ConnectionsRefused were over http.max_connections.
	ConnectionsRefused uint64
	// Connections are open, Active requests under way.
	Connections, Active int
}

type counters struct {
	requests, answered, kept, notFound, wrongMethod, malformed, unauthorized, held, crossOrigin,
	tooLarge, rateLimited, busy, timedOut, failed, gone atomic.Uint64
	active atomic.Int64
}

// Stats returns the counters.
func (s *Server) Stats() Stats {
	n := &s.stats
	out := Stats{
		Requests: n.requests.Load(), Answered: n.answered.Load(), Kept: n.kept.Load(), NotFound: n.notFound.Load(),
		WrongMethod: n.wrongMethod.Load(), Malformed: n.malformed.Load(), Unauthorized: n.unauthorized.Load(), Held: n.held.Load(),
		CrossOrigin: n.crossOrigin.Load(), TooLarge: n.tooLarge.Load(), RateLimited: n.rateLimited.Load(), Busy: n.busy.Load(),
		TimedOut: n.timedOut.Load(), Failed: n.failed.Load(), Gone: n.gone.Load(), Active: int(n.active.Load()),
	}
	if l := s.open.Load(); l != nil {
		out.Connections, out.ConnectionsRefused = l.Open(), l.Refused()
	}
	return out
}
