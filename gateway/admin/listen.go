package admin

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
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
	return &bounded{Listener: l}, nil
}

// ListenTCP opens the API's TCP listener, over TLS where a certificate is
// given.
func ListenTCP(ctx context.Context, address, certificate, key string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("admin listener: %w", err)
	}
	l = &bounded{Listener: l}
	if certificate == "" {
		return l, nil
	}
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("admin.tls: %w", err)
	}
	return tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13}), nil
}

// Serve answers on l until ctx ends, then lets running requests finish for a
// moment. With a token, only its bearers are answered.
func (s *Server) Serve(ctx context.Context, l net.Listener, token string) error {
	var handler http.Handler = s
	if token != "" {
		handler = requireToken(s, token)
	}
	base, cancel := context.WithCancel(ctx)
	defer cancel()
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: readHeaderTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		BaseContext: func(net.Listener) context.Context { return base },
		ErrorLog:    slog.NewLogLogger(s.deps.Logger.Handler(), slog.LevelDebug),
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

// bounded closes connections beyond the bound at once, so that those who come
// know it, rather than leaving them to wait.
type bounded struct {
	net.Listener
	open atomic.Int64
}

// Accept returns the next connection within the bound.
func (b *bounded) Accept() (net.Conn, error) {
	for {
		c, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if b.open.Add(1) <= maxConnections {
			return &boundedConn{Conn: c, of: b}, nil
		}
		b.open.Add(-1)
		_ = c.Close() // nothing was said
	}
}

type boundedConn struct {
	net.Conn
	of   *bounded
	once sync.Once
}

// Close gives the place back.
func (c *boundedConn) Close() error {
	c.once.Do(func() { c.of.open.Add(-1) })
	return c.Conn.Close()
}

// requireToken admits bearers of the token (RFC 6750). Hashes are compared, so
// that the time says nothing about the token or its length.
func requireToken(next http.Handler, token string) http.Handler {
	want := sha256.Sum256([]byte(token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		sum := sha256.Sum256([]byte(got))
		if !bearer || subtle.ConstantTimeCompare(sum[:], want[:]) != 1 {
			w.Header().Set("WWW-Authenticate", `Bearer realm="headgate"`)
			refuse(w, http.StatusUnauthorized, "the admin API over TCP needs the gateway's token: pass it with --token or HEADGATE_TOKEN")
			return
		}
		if r.Method == http.MethodDelete && r.URL.Path == authorPath {
			refuse(w, http.StatusForbidden, "the pinned author can be forgotten on the gateway itself only, over its socket")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Token reads the admin token from file, and makes one when there is none.
func Token(file string) (string, error) {
	raw, err := os.ReadFile(file)
	if err == nil {
		token := strings.TrimSpace(string(raw))
		if len(token) < 16 {
			return "", fmt.Errorf("admin token %s: shorter than 16 characters: delete the file to have one made", file)
		}
		return token, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("admin token: %w", err)
	}
	secret := make([]byte, 24)
	_, _ = rand.Read(secret) // never fails (crypto/rand)
	token := base64.RawURLEncoding.EncodeToString(secret)
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("admin token: %w", err)
	}
	return token, nil
}
