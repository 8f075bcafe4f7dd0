package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"
)

// ListenerConfig is one address to listen on.
type ListenerConfig struct {
	// Name appears in logs and in Credentials.
	Name string
	// Network is tcp, tls, ws or wss.
	Network string
	// Address is host:port; port 0 takes a free one.
	Address string
	// TLS is required for tls and wss. Versions below 1.2 are never offered.
	TLS *tls.Config
	// Origins are the hosts whose web pages may connect over WebSocket, as
	// patterns ("*.example.org"), besides the listener's own.
	Origins []string
}

type listener interface{ Close() error }

// Listen opens a listener that lives until Close, and returns its address. ctx
// bounds the opening only.
func (s *Server) Listen(ctx context.Context, cfg ListenerConfig) (net.Addr, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", cfg.Address)
	if err != nil {
		return nil, fmt.Errorf("listener %s: %w", cfg.Name, err)
	}
	return l.Addr(), s.Serve(l, cfg)
}

// Serve takes connections from l, which the broker closes from now on, also
// where it fails. cfg.Address means nothing here.
func (s *Server) Serve(l net.Listener, cfg ListenerConfig) error {
	if err := cfg.check(); err != nil {
		_ = l.Close() // never used
		return err
	}
	if cfg.TLS != nil {
		cfg.TLS = cfg.TLS.Clone()
		cfg.TLS.MinVersion = max(cfg.TLS.MinVersion, tls.VersionTLS12)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		_ = l.Close() // never used
		return fmt.Errorf("listener %s: the broker is closed", cfg.Name)
	}
	s.beginLocked()
	if cfg.Network == "ws" || cfg.Network == "wss" {
		s.listeners = append(s.listeners, s.serveWebSocket(l, cfg))
	} else {
		s.listeners = append(s.listeners, l)
		s.wg.Add(1)
		go s.accept(l, cfg)
	}
	s.log.Info("listening", "listener", cfg.Name, "network", cfg.Network, "address", l.Addr().String())
	return nil
}

func (cfg *ListenerConfig) check() error {
	switch cfg.Network {
	case "tcp", "ws":
	case "tls", "wss":
		if cfg.TLS == nil {
			return fmt.Errorf("listener %s: %s needs a TLS configuration with a certificate", cfg.Name, cfg.Network)
		}
	default:
		return fmt.Errorf("listener %s: network %q: want tcp, tls, ws or wss", cfg.Name, cfg.Network)
	}
	return nil
}

// accept takes connections until the listener is closed.
func (s *Server) accept(l net.Listener, cfg ListenerConfig) {
	defer s.wg.Done()
	gate := &gate{Listener: l, srv: s}
	for {
		nc, release, err := gate.next()
		if err != nil {
			return
		}
		if cfg.Network == "tls" {
			nc = tls.Server(nc, cfg.TLS)
		}
		s.start(nc, cfg.Name, release)
	}
}

// start serves nc on a goroutine of its own.
func (s *Server) start(nc net.Conn, name string, release func()) {
	c := s.newConn(nc, name)
	if c == nil {
		_ = nc.Close() // shutting down
		release()
		return
	}
	go func() {
		defer s.wg.Done()
		defer release()
		c.serve(s.ctx)
	}()
}

// newConn registers a connection, and counts it in wg. It returns nil while
// the server closes.
func (s *Server) newConn(nc net.Conn, name string) *conn {
	c := &conn{
		srv: s, nc: nc, remote: nc.RemoteAddr().String(), listener: name, since: time.Now(),
		closing: make(chan struct{}), done: make(chan struct{}),
	}
	c.inHeld.total, c.outHeld.total, c.inHeld.closing = s.buffered, s.buffered, c.closing
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return nil
	}
	s.beginLocked()
	s.conns[c] = struct{}{}
	s.wg.Add(1)
	s.count.accepted.Add(1)
	return c
}

func (s *Server) forget(c *conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
}

// gate is a listener that keeps to the bounds on connections and survives
// errors of accept.
type gate struct {
	net.Listener
	srv *Server
}

// next returns the next connection that is within bounds, and what gives its
// place back. It fails only when the listener is closed.
func (g *gate) next() (net.Conn, func(), error) {
	const shortest, longestWait = 5 * time.Millisecond, time.Second
	wait := shortest
	for {
		nc, err := g.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil, nil, err
		}
		if err != nil { // out of descriptors, mostly: it passes
			g.srv.count.acceptErrors.Add(1)
			g.srv.log.Warn("accept", "listener", g.Addr().String(), "error", err, "retry_in", wait.String())
			select {
			case <-time.After(wait):
			case <-g.srv.ctx.Done():
			}
			wait = min(2*wait, longestWait)
			continue
		}
		wait = shortest
		if release, ok := g.srv.admit(nc.RemoteAddr()); ok {
			return nc, release, nil
		}
		_ = nc.Close() // over the bounds
	}
}

// admit counts a connection against the bounds.
func (s *Server) admit(addr net.Addr) (release func(), ok bool) {
	host, _, err := net.SplitHostPort(addr.String())
	if err != nil {
		host = addr.String()
	}
	may := s.mayConnect == nil || s.mayConnect()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !may || s.admitted >= s.cfg.MaxConnections || s.addresses[host] >= s.cfg.MaxConnectionsPerAddress {
		s.count.refusedConns.Add(1)
		return nil, false
	}
	s.admitted++
	s.addresses[host]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.admitted--
		if s.addresses[host]--; s.addresses[host] == 0 {
			delete(s.addresses, host)
		}
	}, true
}
