package controller

import (
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// visitors knows the connections of the HTTP listener. Where there is no room for
// another one, that which has been idle longest leaves: keeping connections open
// keeps nobody out.
type visitors struct {
	mu    sync.Mutex // leaf; guards all below
	known map[net.Conn]*visit
	idle  *list.List // of *visit, the longest idle first

	unserved, displaced, slow, givenUp atomic.Uint64
}

// visit is one connection.
type visit struct {
	conn   net.Conn
	served atomic.Bool
	idle   *list.Element // nil while it is at work
}

func newVisitors() *visitors {
	return &visitors{known: map[net.Conn]*visit{}, idle: list.New()}
}

// httpStats are counters of the listener.
type httpStats struct {
	// Connections are open now, Refused those that there was no room for, and
	// Displaced idle ones that made room for others.
	Connections        int
	Refused, Displaced uint64
	// Unserved counts connections that ended before a request came of them: too
	// slow, headers too long, or no TLS. SlowBodies counts requests whose content
	// did not come in time, and GivenUp those that the client took back.
	Unserved, SlowBodies, GivenUp uint64
}

type visitKey struct{}

// context notes a new connection (http.Server.ConnContext).
func (v *visitors) context(ctx context.Context, c net.Conn) context.Context {
	a := &visit{conn: c}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.known[c] = a
	return context.WithValue(ctx, visitKey{}, a)
}

// state follows a connection (http.Server.ConnState).
func (v *visitors) state(c net.Conn, s http.ConnState) {
	v.mu.Lock()
	defer v.mu.Unlock()
	a := v.known[c]
	if a == nil {
		return
	}
	if a.idle != nil {
		v.idle.Remove(a.idle)
		a.idle = nil
	}
	switch s {
	case http.StateIdle:
		a.idle = v.idle.PushBack(a)
	case http.StateClosed, http.StateHijacked:
		delete(v.known, c)
		if !a.served.Load() {
			v.unserved.Add(1)
		}
	default:
	}
}

// displace ends the connection that has been idle longest; false says that none
// is.
func (v *visitors) displace() bool {
	v.mu.Lock()
	first := v.idle.Front()
	if first == nil {
		v.mu.Unlock()
		return false
	}
	a, _ := v.idle.Remove(first).(*visit)
	a.idle = nil
	v.mu.Unlock()
	v.displaced.Add(1)
	c := a.conn
	if secure, ok := c.(*tls.Conn); ok {
		c = secure.NetConn() // a farewell could block
	}
	_ = c.Close() // it ends either way
	return true
}

// serve counts what becomes of requests.
func (v *visitors) serve(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a, ok := r.Context().Value(visitKey{}).(*visit); ok {
			a.served.Store(true)
		}
		r.Body = &watched{ReadCloser: r.Body, slow: &v.slow}
		next.ServeHTTP(w, r)
		if r.Context().Err() != nil {
			v.givenUp.Add(1)
		}
	})
}

// watched is the content of a request.
type watched struct {
	io.ReadCloser
	slow *atomic.Uint64
	once sync.Once
}

// Read implements io.Reader.
func (b *watched) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		b.once.Do(func() { b.slow.Add(1) })
	}
	return n, err
}

// timeouts of connections.
type timeouts struct{ header, read, idle time.Duration }
