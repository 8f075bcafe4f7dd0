package rig

import (
	"context"
	"io"
	"net"
	"sync"
	"time"
)

// Link is a TCP connection's way to an address, which can be cut.
type Link struct {
	to       string
	listener net.Listener
	all      sync.WaitGroup

	mu    sync.Mutex
	open  map[net.Conn]struct{}
	until time.Time // no connection before
}

// NewLink listens at an address and passes on what comes.
func NewLink(ctx context.Context, at, to string) (*Link, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", at)
	if err != nil {
		return nil, err
	}
	l := &Link{to: to, listener: listener, open: map[net.Conn]struct{}{}}
	l.all.Go(l.accept)
	return l, nil
}

// Address is where it listens.
func (l *Link) Address() string { return l.listener.Addr().String() }

func (l *Link) accept() {
	for {
		in, err := l.listener.Accept()
		if err != nil {
			return
		}
		l.all.Go(func() { l.pass(in) })
	}
}

// pass copies both ways until either side ends, or the link is cut.
func (l *Link) pass(in net.Conn) {
	defer in.Close()
	out, err := net.DialTimeout("tcp", l.to, 5*time.Second) //nolint:noctx // bounded
	if err != nil {
		return
	}
	defer out.Close()
	l.mu.Lock()
	if time.Now().Before(l.until) {
		l.mu.Unlock()
		return
	}
	l.open[in], l.open[out] = struct{}{}, struct{}{}
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.open, in)
		delete(l.open, out)
	}()
	var both sync.WaitGroup
	both.Go(func() { _, _ = io.Copy(out, in); out.Close(); in.Close() }) // its end is the link's
	both.Go(func() { _, _ = io.Copy(in, out); out.Close(); in.Close() })
	both.Wait()
}

// Cut breaks every connection in the middle of whatever it carries; for a while there
// is none.
func (l *Link) Cut(away time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until = time.Now().Add(away)
	for c := range l.open {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // what is under way is gone
		}
		c.Close()
	}
}

// Close ends it and what goes through it.
func (l *Link) Close() {
	l.listener.Close()
	l.Cut(0)
	l.all.Wait()
}
