package fetch

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/headgate-io/headgate/sandbox/host"
)

// Config bounds what functions fetch. Zero fields take the defaults named
// beside them.
type Config struct {
	// Allow are the networks that functions may reach although they are not
	// public.
	Allow []netip.Prefix
	// CA is a PEM file of CAs that are believed besides those that are embedded.
	CA string
	// Timeout is how long one call may take that does not say so itself (10 s),
	// its redirects included. No call outlives its invocation.
	Timeout time.Duration
	// MaxRequest and MaxResponse bound one body (1 MiB each); the response
	// counts as the function gets it, unpacked.
	MaxRequest, MaxResponse int64
	// MaxCalls bounds the calls under way (16), MaxCallsPerFunction those of one
	// function (4): further ones wait.
	MaxCalls, MaxCallsPerFunction int
	// StopAfter is how long calls may go on after Stop (3 s).
	StopAfter time.Duration
	// Salt makes the idempotency keys of this gateway its own.
	Salt string
	// UserAgent is sent where the function sends none ("headgate").
	UserAgent string
	// Resolver looks names up; nil is the system's.
	Resolver *net.Resolver
	// Now is the clock that certificates are judged by (time.Now).
	Now func() time.Time
}

func (c Config) withDefaults() Config {
	positive(&c.Timeout, 10*time.Second)
	positive(&c.MaxRequest, 1<<20)
	positive(&c.MaxResponse, 1<<20)
	positive(&c.MaxCalls, 16)
	positive(&c.MaxCallsPerFunction, 4)
	positive(&c.StopAfter, 3*time.Second)
	if c.UserAgent == "" {
		c.UserAgent = "headgate"
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

func positive[T int | int64 | time.Duration](v *T, missing T) {
	if *v <= 0 {
		*v = missing
	}
}

// Client sends requests. It may be used by any goroutine.
type Client struct {
	cfg   Config
	extra []*x509.Certificate
	// transport is made by the first call: the CAs take a megabyte, which a
	// gateway whose functions fetch nothing does without.
	transport func() (*http.Transport, error)
	made      atomic.Bool // transport was asked for
	slots     slots
	stats     counters

	// stopped ends calls: at the end of the grace that Stop gives them.
	stopped  context.Context
	cancel   context.CancelCauseFunc
	stopping atomic.Bool
	grace    sync.Mutex // guards timer
	timer    *time.Timer
}

var _ host.Fetcher = (*Client)(nil)

// How connections are made and kept.
const (
	dialTimeout     = 10 * time.Second
	idleConnTimeout = 30 * time.Second
	maxIdleConns    = 8
	maxHeaderBytes  = 64 << 10
)

// New makes a client. It holds nothing until the first call.
func New(cfg Config) (*Client, error) {
	c := &Client{cfg: cfg.withDefaults()}
	var err error
	if c.extra, err = ReadCAs(cfg.CA); err != nil {
		return nil, fmt.Errorf("fetch.ca: %w", err)
	}
	c.slots.init(c.cfg.MaxCalls, c.cfg.MaxCallsPerFunction)
	c.stopped, c.cancel = context.WithCancelCause(context.Background())
	c.transport = sync.OnceValues(c.newTransport)
	return c, nil
}

func (c *Client) newTransport() (*http.Transport, error) {
	roots, err := Roots(c.extra)
	if err != nil {
		return nil, err
	}
	c.made.Store(true)
	dialer := &net.Dialer{Timeout: dialTimeout, Resolver: c.cfg.Resolver, Control: c.control}
	// HTTP/1.1 alone: its buffers are few and small, where those of one HTTP/2
	// connection are megabytes that the other side decides upon.
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy:           nil, // not from the environment: who is dialled would not be who is asked
		DialContext:     dialer.DialContext,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, Time: c.cfg.Now},
		Protocols:       protocols, TLSHandshakeTimeout: dialTimeout,
		MaxIdleConns: maxIdleConns, MaxIdleConnsPerHost: 2, IdleConnTimeout: idleConnTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
	}, nil
}

// Stop refuses new calls and gives those under way StopAfter to end.
func (c *Client) Stop() {
	c.stopping.Store(true)
	c.grace.Lock()
	defer c.grace.Unlock()
	if c.timer == nil {
		c.timer = time.AfterFunc(c.cfg.StopAfter, func() { c.cancel(errStopping) })
	}
}

// Close ends every call and closes the connections.
func (c *Client) Close() {
	c.Stop()
	c.grace.Lock()
	c.timer.Stop()
	c.grace.Unlock()
	c.cancel(errStopping)
	if !c.made.Load() {
		return
	}
	if t, err := c.transport(); err == nil {
		t.CloseIdleConnections()
	}
}

// Stats are the client's counters since its start, and what it does now.
type Stats struct {
	// Calls were made, Answered those of them that got an answer, whatever its
	// status.
	Calls, Answered uint64
	// Refused were not sent: malformed, too large, or over MaxCalls for as long
	// as they had. Failed got no whole answer, TimedOut and TooLarge are those
	// of them whose time or room was not enough.
	Refused, Failed, TimedOut, TooLarge uint64
	// Redirects were followed, RedirectsRefused led where the function may not
	// go, Blocked connections where no function may.
	Redirects, RedirectsRefused, Blocked uint64
	// BytesSent and BytesReceived are heads and bodies.
	BytesSent, BytesReceived uint64
	// Active calls are under way, Waiting ones wait for their turn.
	Active, Waiting int
}

type counters struct {
	calls, answered, refused, failed, timedOut, tooLarge atomic.Uint64
	redirects, redirectsRefused, blocked, sent, received atomic.Uint64
}

// Stats returns the counters.
func (c *Client) Stats() Stats {
	n := &c.stats
	s := Stats{
		Calls: n.calls.Load(), Answered: n.answered.Load(), Refused: n.refused.Load(), Failed: n.failed.Load(),
		TimedOut: n.timedOut.Load(), TooLarge: n.tooLarge.Load(), Redirects: n.redirects.Load(),
		RedirectsRefused: n.redirectsRefused.Load(), Blocked: n.blocked.Load(), BytesSent: n.sent.Load(), BytesReceived: n.received.Load(),
	}
	s.Active, s.Waiting = c.slots.counts()
	return s
}
