// Package bounded bounds how many connections a listener has open at once.
package bounded

import (
	"net"
	"sync"
	"sync/atomic"
)

// Listener closes connections beyond the bound at once, so that those who come
// know it, rather than leaving them to wait.
type Listener struct {
	net.Listener
	most    int64
	open    atomic.Int64
	refused atomic.Uint64
	// Displace is asked to close a connection that can be spared when there is no
	// room, and says whether it has; nil spares none. It is set before Accept.
	Displace func() bool
}

// Listen bounds l to most connections.
func Listen(l net.Listener, most int) *Listener { return &Listener{Listener: l, most: int64(most)} }

// Accept returns the next connection within the bound.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.open.Add(1) <= l.most || l.Displace != nil && l.Displace() {
			return &Conn{Conn: c, of: l}, nil
		}
		l.open.Add(-1)
		l.refused.Add(1)
		_ = c.Close() // nothing was said
	}
}

// Open is how many connections there are.
func (l *Listener) Open() int { return int(l.open.Load()) }

// Refused is how many there was no room for.
func (l *Listener) Refused() uint64 { return l.refused.Load() }

// Conn is a connection within the bound.
type Conn struct {
	net.Conn
	of   *Listener
	once sync.Once
}

// Close gives the place back.
func (c *Conn) Close() error {
	c.once.Do(func() { c.of.open.Add(-1) })
	return c.Conn.Close()
}
