package admin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/headgate-io/headgate/internal/bounded"
)

// Timeouts of the API's connections. Answers may stream for as long as the
// client stays.
const (
	readHeaderTimeout = 5 * time.Second
	idleTimeout       = time.Minute
	maxHeaderBytes    = 16 << 10
)

// maxConnections bounds the connections of one listener, those without a
// token included: what they cost must not be missing elsewhere.
const maxConnections = 256

// ListenUnix opens the admin socket. Whoever may open it may do everything, so
// only its owner and group can. A socket that a dead gateway left behind is
// replaced; one that answers is not.
func ListenUnix(ctx context.Context, path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "unix", path)
	if err == nil {
		conn.Close()
		return nil, fmt.Errorf("admin socket %s: another gateway is running there: stop it, or choose another state_dir", path)
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("admin socket: %w", err)
		}
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	if err := os.Chmod(path, 0o660); err != nil {
		l.Close()
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	return bounded.Listen(l, maxConnections), nil
}

// ListenTCP opens the API's TCP listener, over TLS where secure is given.
func ListenTCP(ctx context.Context, address string, secure *tls.Config) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("admin listener: %w", err)
	}
	l = bounded.Listen(l, maxConnections)
	if secure == nil {
		return l, nil
	}
	secure = secure.Clone()
	secure.MinVersion = tls.VersionTLS13
	return tls.NewListener(l, secure), nil
}

// ServeLocal answers on l, the socket, until ctx ends, then lets running
// requests finish for a moment. Whoever reaches it may do everything.
func (s *Server) ServeLocal(ctx context.Context, l net.Listener) error {
	return s.serve(ctx, l, http.HandlerFunc(s.local))
}

// ServeTokens is ServeLocal for the network: it answers bearers of a token,
// each within its scopes.
func (s *Server) ServeTokens(ctx context.Context, l net.Listener) error {
	return s.serve(ctx, l, http.HandlerFunc(s.bearer))
}

func (s *Server) serve(ctx context.Context, l net.Listener, handler http.Handler) error {
	base, cancel := context.WithCancel(ctx)
	defer cancel()
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: readHeaderTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		BaseContext: func(net.Listener) context.Context { return base }, ConnContext: withPeer,
		ErrorLog: slog.NewLogLogger(s.deps.Logger.Handler(), slog.LevelDebug),
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	select {
	case err := <-ended:
		return fmt.Errorf("admin API: %w", err)
	case <-ctx.Done():
	}
	grace, stop := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer stop()
	if err := server.Shutdown(grace); err != nil {
		return server.Close()
	}
	return nil
}
