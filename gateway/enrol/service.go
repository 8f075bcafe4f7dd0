package enrol

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/headgate-io/headgate/event"
)

// Config configures a Service.
type Config struct {
	// StateDir holds what is remembered.
	StateDir string
	// Hardware is what the gateway's store calls itself.
	Hardware, Version, Arch string
	Clock                   Clock
	// Enrolled is told of a new membership before it is used; its error is the
	// enrolment's.
	Enrolled func(ctx context.Context, gateway string) error
	Logger   *slog.Logger
	// CheckEvery is how often renewal is thought of (1 h), RetryMin and RetryMax
	// bound the wait between two attempts to enrol (2 s, 5 min).
	CheckEvery, RetryMin, RetryMax time.Duration
}

// Service keeps the gateway a member. Its methods are safe for concurrent use.
type Service struct {
	cfg Config
	// asking serialises what changes the membership.
	asking sync.Mutex
	// changed has a token after a change of the membership or of what is pending,
	// wake when Run shall not wait.
	changed, wake chan struct{}
	asked         time.Time // when the time was; Run's
	rooted        time.Time // when the root was asked for; Run's

	mu      sync.Mutex // leaf; guards all below
	state   *State
	pending *Pending
	lastErr error
	stats   Stats
}

// Stats are counters since New, and what is so now.
type Stats struct {
	// Enrolled is 1 for a member; Enrolments, Renewals and Failures count.
	Enrolled                       int
	Enrolments, Renewals, Failures uint64
	// CertificateRemaining is how long the certificate is good.
	CertificateRemaining time.Duration
}

// ErrEnrolled is a gateway that is a member already.
var ErrEnrolled = errors.New("the gateway is enrolled already")

// New reads what is remembered; Run keeps it fresh.
func New(cfg Config) *Service {
	cfg.CheckEvery = cmp.Or(cfg.CheckEvery, time.Hour)
	cfg.RetryMin = cmp.Or(cfg.RetryMin, 2*time.Second)
	cfg.RetryMax = cmp.Or(cfg.RetryMax, 5*time.Minute)
	s := &Service{cfg: cfg, changed: make(chan struct{}, 1), wake: make(chan struct{}, 1)}
	var err error
	// A file that cannot be read is no reason to stop: functions keep running.
	if s.state, err = Load(cfg.StateDir); err != nil {
		cfg.Logger.Error("the enrolment cannot be read: usage is metered, and not sent", "error", err)
		s.lastErr = err
	}
	if s.pending, err = loadPending(cfg.StateDir); err != nil {
		cfg.Logger.Error("an enrolment that was begun cannot be read", "error", err)
		s.lastErr = err
	}
	return s
}

// State returns the membership; nil is none. It is not to be changed.
func (s *Service) State() *State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// Waiting returns the controller that an enrolment is tried at, and what came of
// the last attempt.
func (s *Service) Waiting() (url string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pending != nil && s.pending.Retry {
		url = s.pending.URL
	}
	return url, s.lastErr
}

// Stats returns the counters.
func (s *Service) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	if s.state != nil {
		st.Enrolled, st.CertificateRemaining = 1, s.state.Expires().Sub(s.cfg.Clock.Now())
	}
	return st
}

// Request is what an enrolment is asked with.
type Request struct {
	URL, Token, Name, Replace string
	// Again is for a gateway that is a member already: it leaves that.
	Again bool
	// Retry leaves the request with the gateway, which tries until it succeeds or
	// is refused.
	Retry bool
}

// Enrol makes the gateway a member. With Retry it returns at once.
func (s *Service) Enrol(ctx context.Context, r Request) (*State, error) {
	if _, err := fingerprintOf(r.Token); err != nil {
		return nil, err
	}
	if _, err := newCaller(r.URL, s.cfg.Clock, nil, nil); err != nil {
		return nil, err
	}
	s.asking.Lock()
	defer s.asking.Unlock()
	if state := s.State(); state != nil && !r.Again {
		return nil, fmt.Errorf("%w: at %s, as %s: --again leaves that, with what was not sent there", ErrEnrolled, state.URL, state.Name)
	}
	p := &Pending{URL: r.URL, Token: r.Token, Name: r.Name, Replace: r.Replace, Retry: r.Retry}
	s.mu.Lock()
	if old := s.pending; old != nil && old.Token == r.Token {
		p.Key = old.Key
	}
	s.mu.Unlock()
	if err := s.begin(p); err != nil {
		return nil, err
	}
	if r.Retry {
		s.notify()
		return nil, nil
	}
	return s.finish(ctx, p)
}

// begin writes down what is asked before it is: the key must outlive a lost
// answer.
func (s *Service) begin(p *Pending) (err error) {
	if p.Key == nil {
		if p.Key, err = newKey(); err != nil {
			return err
		}
	}
	if err := p.save(s.cfg.StateDir); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending = p
	return nil
}

// finish asks the controller and takes its answer over. It has the lock asking.
func (s *Service) finish(ctx context.Context, p *Pending) (*State, error) {
	state, err := s.ask(ctx, p)
	if err == nil {
		err = s.cfg.Enrolled(ctx, state.Gateway)
	}
	if err == nil {
		err = state.save(s.cfg.StateDir)
	}
	s.mu.Lock()
	if s.lastErr = err; err != nil {
		s.stats.Failures++
		s.mu.Unlock()
		return nil, err
	}
	s.state, s.pending = state, nil
	s.stats.Enrolments++
	s.mu.Unlock()
	s.cfg.Logger.Info("enrolled", "controller", state.URL, "gateway", state.Gateway, "name", state.Name, "tenant", state.Tenant)
	s.notify()
	return state, removePending(s.cfg.StateDir)
}

func (s *Service) ask(ctx context.Context, p *Pending) (*State, error) {
	sum, err := fingerprintOf(p.Token)
	if err != nil {
		return nil, err
	}
	c, err := newCaller(p.URL, s.cfg.Clock, nil, fingerprinted(sum))
	if err != nil {
		return nil, err
	}
	csr, err := request(p.Key)
	if err != nil {
		return nil, err
	}
	in := map[string]string{
		"token": p.Token, "csr": csr, "hardware": s.cfg.Hardware, "name": p.Name, "replace": p.Replace,
		"version": s.cfg.Version, "arch": s.cfg.Arch,
	}
	var a answer
	if err := c.do(ctx, http.MethodPost, "/v1/enroll", in, &a); err != nil {
		return nil, err
	}
	s.setClock(ctx, a.Time)
	state := &State{URL: p.URL, Key: p.Key, Enrolled: s.cfg.Clock.Now().UTC()}
	state.Renewed = state.Enrolled
	return state, state.adopt(&a)
}

// setClock takes the controller's time, where nothing better is known.
func (s *Service) setClock(ctx context.Context, now time.Time) {
	if now.IsZero() || s.cfg.Clock.Trust() == event.TimeSynchronised {
		return
	}
	if err := s.cfg.Clock.Estimate(ctx, now); err != nil {
		s.cfg.Logger.Warn("the controller's time cannot be kept", "error", err)
	}
}

// timeEvery is how often the controller is asked for the time while nothing
// better says it.
const timeEvery = 12 * time.Hour

// askTime asks the controller what time it is, where the clock may be wrong: by
// it the certificate may have ended years ago, or not have begun.
func (s *Service) askTime(ctx context.Context, state *State) {
	if s.cfg.Clock.Trust() == event.TimeSynchronised || !s.asked.IsZero() && time.Since(s.asked) < timeEvery {
		return
	}
	s.asked = time.Now()
	c, err := newCaller(state.URL, s.cfg.Clock, nil, func([]*x509.Certificate) (*x509.CertPool, error) { return state.pool, nil })
	var a struct {
		Time time.Time `json:"time"`
	}
	if err == nil {
		err = c.do(ctx, http.MethodGet, "/v1/time", nil, &a)
	}
	if err != nil {
		s.cfg.Logger.Debug("the controller does not say what time it is", "error", err)
		return
	}
	s.setClock(ctx, a.Time)
}

// rootEvery is how often a member whose fleet had no root yet asks for it by
// itself.
const rootEvery = 24 * time.Hour

// AskRoot asks the controller for the fleet's root, where it had none when the
// gateway enrolled: its owner has made the keys since. It says whether there is
// one by now. Only the first is ever taken.
func (s *Service) AskRoot(ctx context.Context) (bool, error) {
	s.asking.Lock()
	defer s.asking.Unlock()
	old := s.State()
	if old == nil || len(old.Root) > 0 {
		return old != nil, nil
	}
	c, err := newCaller(old.URL, s.cfg.Clock, &old.pair, func([]*x509.Certificate) (*x509.CertPool, error) { return old.pool, nil })
	if err != nil {
		return false, err
	}
	var root json.RawMessage
	err = c.do(ctx, http.MethodGet, "/content/metadata/root.json", nil, &root)
	var refused *Refused
	if errors.As(err, &refused) && refused.Status == http.StatusNotFound {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	state := *old
	state.Root = root
	if err := state.save(s.cfg.StateDir); err != nil {
		return false, err
	}
	s.mu.Lock()
	s.state = &state
	s.mu.Unlock()
	s.cfg.Logger.Info("the fleet has a root now: what its owner signed is taken")
	s.notify()
	return true, nil
}

func (s *Service) notify() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// Changed has a token after the membership changed.
func (s *Service) Changed() <-chan struct{} { return s.changed }

// Run retries an enrolment that waits, and renews the certificate, until ctx ends.
func (s *Service) Run(ctx context.Context) {
	for attempt := 0; ; attempt++ {
		wait, failed := s.step(ctx)
		if !failed {
			attempt = 0
		}
		if failed {
			wait = min(s.cfg.RetryMin<<min(attempt, 20), s.cfg.RetryMax, wait)
		}
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
			s.rooted = time.Time{}
		case <-time.After(wait/2 + rand.N(wait/2+1)):
		}
	}
}

// WantRoot has Run ask for the fleet's root soon, where none is known yet.
func (s *Service) WantRoot() {
	if state := s.State(); state == nil || len(state.Root) > 0 {
		return
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// step does what is due, and says how long there is nothing to do.
func (s *Service) step(ctx context.Context) (wait time.Duration, failed bool) {
	s.mu.Lock()
	p, state := s.pending, s.state
	s.mu.Unlock()
	if p != nil && p.Retry {
		err := s.retry(ctx)
		return s.cfg.RetryMax, err != nil
	}
	if state == nil {
		return s.cfg.RetryMin, false // an enrolment to retry may come
	}
	s.askTime(ctx, state)
	if len(state.Root) == 0 && (s.rooted.IsZero() || time.Since(s.rooted) >= rootEvery) {
		if _, err := s.AskRoot(ctx); err != nil {
			s.cfg.Logger.Debug("the controller does not say what the fleet's root is", "error", err)
		} else {
			s.rooted = time.Now()
		}
	}
	if s.cfg.Clock.Now().Before(state.due()) {
		return s.cfg.CheckEvery, false
	}
	if err := s.Renew(ctx); err != nil && ctx.Err() == nil {
		s.cfg.Logger.Warn("the certificate was not renewed", "error", err, "expires", state.Expires())
		return s.cfg.CheckEvery, true
	}
	return s.cfg.CheckEvery, false
}

// retry tries a pending enrolment once; a refusal ends it.
func (s *Service) retry(ctx context.Context) error {
	s.asking.Lock()
	defer s.asking.Unlock()
	s.mu.Lock()
	p := s.pending
	s.mu.Unlock()
	if p == nil || !p.Retry {
		return nil
	}
	_, err := s.finish(ctx, p)
	var refused *Refused
	if !errors.As(err, &refused) {
		return err
	}
	s.cfg.Logger.Error("the controller refuses to enrol this gateway: get another token", "controller", p.URL, "error", err)
	s.mu.Lock()
	s.pending = nil
	s.mu.Unlock()
	return removePending(s.cfg.StateDir)
}

// Renew gets a new certificate for the same key, whether or not it is time.
func (s *Service) Renew(ctx context.Context) error {
	s.asking.Lock()
	defer s.asking.Unlock()
	old := s.State()
	if old == nil {
		return errors.New("the gateway is not enrolled")
	}
	c, err := newCaller(old.URL, s.cfg.Clock, &old.pair, func([]*x509.Certificate) (*x509.CertPool, error) { return old.pool, nil })
	if err != nil {
		return err
	}
	csr, err := request(old.Key)
	if err != nil {
		return err
	}
	var a answer
	err = c.do(ctx, http.MethodPost, "/v1/renew", map[string]string{"csr": csr}, &a)
	state := &State{URL: old.URL, Key: old.Key, Root: old.Root, Enrolled: old.Enrolled}
	if err == nil {
		s.setClock(ctx, a.Time)
		state.Renewed = s.cfg.Clock.Now().UTC()
		err = state.adopt(&a)
	}
	if err == nil && state.Gateway != old.Gateway {
		err = fmt.Errorf("the controller renewed the certificate of another gateway, %s", state.Gateway)
	}
	if err == nil {
		err = state.save(s.cfg.StateDir)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lastErr = err; err != nil {
		s.stats.Failures++
		return err
	}
	s.state = state
	s.stats.Renewals++
	s.cfg.Logger.Info("the certificate was renewed", "expires", state.Expires())
	if len(old.Root) == 0 && len(state.Root) > 0 {
		s.notify()
	}
	return nil
}

// TLS is for connections of a member with the broker.
func (s *State) TLS(clock Clock) func(host string) *tls.Config {
	return func(host string) *tls.Config {
		c := serverTLS(host, clock, func([]*x509.Certificate) (*x509.CertPool, error) { return s.pool, nil })
		c.Certificates = []tls.Certificate{s.pair}
		return c
	}
}

// SigningKey is the gateway's key.
func (s *State) SigningKey() *ecdsa.PrivateKey { return s.key }
