package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/headgate-io/headgate/mqtt/topic"
)

// Deps is what a Server works with.
type Deps struct {
	// Handler takes what clients publish; nil makes a plain broker, which
	// acknowledges at once.
	Handler Handler
	// Authenticator is required. See AllowAll.
	Authenticator Authenticator
	// Sessions keeps durable sessions; nil keeps them in memory only.
	Sessions SessionStore
	// Messages keeps what durable sessions have to get, and retained messages;
	// nil keeps them in memory only. It needs Sessions.
	Messages MessageStore
	// Admit, where set, is asked for every new connection: false closes it.
	Admit func() bool
	// Watcher hears of connections; nil is nobody.
	Watcher Watcher
	// Residents are the sessions of the gateway's own. Those of an earlier run
	// that are not among them stay, until Forget.
	Residents []ResidentConfig
	// Loops recognises what comes round over bridges; nil recognises nothing.
	Loops Loops
	// Logger is required.
	Logger *slog.Logger
}

// Server is the broker. Its methods may be called from any goroutine.
type Server struct {
	cfg          Config
	handler      Handler
	auth         Authenticator
	store        SessionStore
	messages     MessageStore
	mayConnect   func() bool
	watcher      Watcher
	loops        Loops
	log          *slog.Logger
	started      time.Time
	count        counters
	authSlots    chan struct{}
	subs         *topic.Tree[*subscription]
	subCount     atomic.Int64
	sessionCount atomic.Int64 // of sessions
	// storedSessions counts those that the session store has a record of.
	storedSessions atomic.Int64
	retained       retained
	timers         *timers
	routings       sync.Pool
	notices        *rate.Limiter
	buffered       *budget // what connections hold

	shares sync.Mutex // guards groups; before the index's and shareGroup.mu
	groups map[string]*shareGroup

	mu        sync.Mutex // guards what follows; never held with another one
	closing   bool
	begun     bool // the timers run
	listeners []listener
	conns     map[*conn]struct{}
	sessions  map[string]*session
	perUser   map[string]int   // sessions of each user
	lanes     map[string]*lane // of ended sessions with unreleased messages
	admitted  int              // connections, also those that are no conn yet
	addresses map[string]int   // of them, per address
	slots     int
	freeSlots []int

	done    chan struct{}  // closed by Close: timers and $SYS end
	wg      sync.WaitGroup // connections and accept loops
	service sync.WaitGroup // timers and $SYS
	storing sync.WaitGroup // store calls that are not done
	ctx     context.Context
	cancel  context.CancelFunc
}

// New loads the stored sessions and starts the broker, without a listener yet.
func New(cfg Config, deps Deps) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("broker configuration: %w", err)
	}
	if deps.Authenticator == nil || deps.Logger == nil {
		return nil, errors.New("broker: an Authenticator and a Logger are required")
	}
	if deps.Messages != nil && deps.Sessions == nil {
		return nil, errors.New("broker: Messages without Sessions")
	}
	s := &Server{
		cfg: cfg, handler: deps.Handler, auth: deps.Authenticator, store: deps.Sessions, messages: deps.Messages, mayConnect: deps.Admit, log: deps.Logger, watcher: deps.Watcher,
		started: time.Now(), authSlots: make(chan struct{}, cfg.AuthConcurrency), subs: topic.NewTree[*subscription](),
		timers: newTimers(), groups: map[string]*shareGroup{}, conns: map[*conn]struct{}{},
		sessions: map[string]*session{}, perUser: map[string]int{}, lanes: map[string]*lane{}, addresses: map[string]int{},
		done: make(chan struct{}), notices: rate.NewLimiter(5, 50),
		buffered: newBudget(cfg.MaxBufferedBytesTotal),
	}
	if s.watcher == nil {
		s.watcher = nobody{}
	}
	if s.loops = deps.Loops; s.loops == nil {
		s.loops = noLoops{}
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.retained.maxMessages, s.retained.maxBytes = cfg.MaxRetainedMessages, cfg.MaxRetainedBytes
	s.retained.dropped = func() { s.count.dropRetained.Add(1) }
	s.retained.changed = s.retainedChanged
	if err := s.restoreAll(deps.Residents); err != nil {
		s.cancel()
		return nil, err
	}
	s.service.Go(s.shed)
	if cfg.SysInterval > 0 {
		s.service.Go(s.publishSys)
	}
	return s, nil
}

// restoreAll brings back what an earlier run left, and the residents.
func (s *Server) restoreAll(residents []ResidentConfig) error {
	for i := range residents {
		if err := residents[i].validate(); err != nil {
			return err
		}
	}
	if err := s.load(s.ctx); err != nil {
		return err
	}
	for _, r := range residents {
		s.makeResident(r)
	}
	if err := s.loadMessages(s.ctx); err != nil {
		return err
	}
	s.replayResidents(residents)
	return nil
}

// beginLocked starts the timers: what became due while the process was down,
// wills above all, waits for the first listener, and with it for its handlers.
func (s *Server) beginLocked() {
	if !s.begun {
		s.begun = true
		s.service.Go(func() { s.timers.run(s.done) })
	}
}

// notice logs what clients did wrong; a flood of it goes to the debug level.
func (s *Server) notice(msg string, args ...any) {
	level := slog.LevelWarn
	if !s.notices.Allow() {
		level = slog.LevelDebug
	}
	s.log.Log(s.ctx, level, msg, args...)
}

// Publish routes a message of the gateway's own: it is stored if retained and
// goes to the subscribers, without the Handler. m must not change afterwards.
// Messages of one goroutine keep their order.
func (s *Server) Publish(m *Message) {
	r := s.borrow()
	r.route(s, m, "", true, nil)
	r.giveBack()
}

// Retained calls fn with every retained message whose topic matches filter, in
// order of topic, until fn returns false.
func (s *Server) Retained(filter string, fn func(*Message) bool) {
	if s.cfg.Topics.CheckFilter(filter) != nil {
		return
	}
	for _, m := range s.retained.match(filter) {
		if !fn(m) {
			return
		}
	}
}

// Disconnect closes every connection of user and tells it why. Sessions stay.
// Who is being authenticated at this moment is authenticated again: call it
// after the change that the authenticator has to know of.
func (s *Server) Disconnect(user string, code ReasonCode) {
	s.mu.Lock()
	for c := range s.conns {
		c.stale = true // looked at by those without a session yet
	}
	var owners []*conn
	for _, sess := range s.sessions {
		if sess.user == user && sess.owner != nil {
			owners = append(owners, sess.owner)
		}
	}
	s.mu.Unlock()
	for _, c := range owners {
		c.kick(code)
	}
}

// Forget ends every session of user, with its connection, its subscriptions
// and what waits for it: the user exists no longer.
func (s *Server) Forget(user string, code ReasonCode) {
	s.mu.Lock()
	var all []*session
	for _, sess := range s.sessions {
		if sess.user == user {
			all = append(all, sess)
		}
	}
	s.mu.Unlock()
	for _, sess := range all {
		sess.forgotten.Store(true)
		sess.changeExpiry(0)
		sess.keeps.Store(false)
	}
	s.Disconnect(user, code)
	for _, sess := range all {
		s.end(sess) // those without a connection; the others end with it
	}
}

// Client is one session in the list of Clients.
type Client struct {
	ID        string
	User      string
	Connected bool
	// RemoteAddr, Listener, Version (4 is 3.1.1) and KeepAlive are those of
	// the connection, if there is one.
	RemoteAddr string
	Listener   string
	Version    byte
	KeepAlive  time.Duration
	// Since is when it connected or went away.
	Since         time.Time
	Durable       bool
	Expiry        time.Duration
	Subscriptions int
	// Queued and InFlight count messages to the client.
	Queued      int
	InFlight    int
	QueuedBytes int
}

// Clients lists all sessions, ordered by client id.
func (s *Server) Clients() []Client {
	s.mu.Lock()
	all := make([]*session, 0, len(s.sessions))
	for _, sess := range s.sessions {
		all = append(all, sess)
	}
	s.mu.Unlock()
	out := make([]Client, len(all))
	for i, sess := range all {
		out[i] = sess.describe()
	}
	slices.SortFunc(out, func(a, b Client) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// Close tells all clients that the server shuts down, lets what is written
// reach them while ctx lasts, and returns when every goroutine has ended.
// Sessions are saved, and their wills with them, for the next start. Wills of
// sessions that end here are published.
func (s *Server) Close(ctx context.Context) error {
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return nil
	}
	s.closing = true
	listeners, conns := s.listeners, s.connsLocked()
	s.mu.Unlock()
	var errs []error
	for _, l := range listeners {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, fmt.Errorf("close listener: %w", err))
		}
	}
	for _, c := range conns {
		c.kick(ServerShuttingDown)
	}
	if !waits(ctx, &s.wg) {
		s.mu.Lock()
		conns = s.connsLocked()
		s.mu.Unlock()
		for _, c := range conns {
			_ = c.nc.Close() // it had its time
		}
		s.cancel()
		s.wg.Wait()
	}
	close(s.done)
	s.service.Wait()
	s.cancel()
	if !waits(ctx, &s.storing) {
		errs = append(errs, fmt.Errorf("save sessions: %w", ctx.Err()))
	}
	return errors.Join(errs...)
}

func (s *Server) connsLocked() []*conn {
	out := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		out = append(out, c)
	}
	return out
}

// waits reports whether wg was done before ctx.
func waits(ctx context.Context, wg *sync.WaitGroup) bool {
	done := make(chan struct{})
	go func() {
		wg.Wait()
		close(done)
	}()
	select {
	case <-done:
		return true
	case <-ctx.Done():
		return false
	}
}

// AllowAll lets every client in and do everything. It is for tests and for
// machines that nobody else can reach.
type AllowAll struct{}

var _ Authenticator = AllowAll{}

// Authenticate returns the user name as it came.
func (AllowAll) Authenticate(_ context.Context, c Credentials) (Identity, error) {
	return Identity{User: c.Username, Publish: []string{"#"}, Subscribe: []string{"#", "$SYS/#"}}, nil
}
