package broker

import (
	"crypto/x509"
	"log"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/coder/websocket"
)

// wsConn is MQTT over WebSocket as a stream: packets may span frames and frames
// may hold several packets [MQTT-6.0.0-2]; a text frame closes it
// [MQTT-6.0.0-1].
type wsConn struct {
	net.Conn
	ws          *websocket.Conn
	certificate *x509.Certificate
}

// Close does not wait for the peer's close frame: a DISCONNECT has said what
// there was to say.
func (w *wsConn) Close() error {
	err := w.ws.CloseNow()
	_ = w.Conn.Close() // only to end its timers
	return err
}

// serveWebSocket serves MQTT over WebSocket on l until the result is closed.
func (s *Server) serveWebSocket(l net.Listener, cfg ListenerConfig) listener {
	server := &http.Server{
		Handler:           s.webSocketHandler(cfg),
		ReadHeaderTimeout: s.cfg.ConnectTimeout,
		ReadTimeout:       s.cfg.ConnectTimeout,
		IdleTimeout:       s.cfg.ConnectTimeout,
		MaxHeaderBytes:    8 << 10,
		ErrorLog:          log.New(&webSocketErrors{s, cfg.Name}, "", 0),
	}
	if cfg.Network == "wss" {
		server.TLSConfig = cfg.TLS
		server.TLSConfig.NextProtos = []string{"http/1.1"} // WebSocket needs no HTTP/2
	}
	gated := &gatedListener{gate{Listener: l, srv: s}}
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		if cfg.Network == "wss" {
			_ = server.ServeTLS(gated, "", "") // ends with Close
			return
		}
		_ = server.Serve(gated) // ends with Close
	}()
	return server
}

// webSocketErrors takes what net/http has to say of a listener.
type webSocketErrors struct {
	srv      *Server
	listener string
}

// Write reports TLS handshakes that came to nothing, and all else at the debug
// level.
func (w *webSocketErrors) Write(p []byte) (int, error) {
	line := strings.TrimSpace(string(p))
	if from, ok := strings.CutPrefix(line, "http: TLS handshake error from "); ok {
		remote, reason, _ := strings.Cut(from, ": ")
		w.srv.handshakeFailed(w.listener, remote, reason)
	} else {
		w.srv.log.Debug(line, "listener", w.listener)
	}
	return len(p), nil
}

func (s *Server) webSocketHandler(cfg ListenerConfig) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !offers(r, "mqtt") { // [MQTT-6.0.0-3]
			http.Error(w, "this is an MQTT broker: connect with the WebSocket subprotocol mqtt", http.StatusBadRequest)
			return
		}
		ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{
			Subprotocols: []string{"mqtt"}, OriginPatterns: cfg.Origins, // [MQTT-6.0.0-4]
		})
		if err != nil {
			s.log.Debug("websocket refused", "listener", cfg.Name, "remote", r.RemoteAddr, "error", err)
			return // Accept has answered
		}
		nc := &wsConn{Conn: websocket.NetConn(s.ctx, ws, websocket.MessageBinary), ws: ws}
		if r.TLS != nil {
			nc.certificate = verifiedCertificate(*r.TLS)
		}
		c := s.newConn(nc, cfg.Name)
		if c == nil {
			_ = nc.Close() // shutting down
			return
		}
		defer s.wg.Done()
		c.remote = r.RemoteAddr
		c.serve(s.ctx)
		// The writer still has its last words to write; the connection's
		// place is given back when it closes.
	})
}

func offers(r *http.Request, protocol string) bool {
	for _, h := range r.Header.Values("Sec-WebSocket-Protocol") {
		if slices.ContainsFunc(strings.Split(h, ","), func(p string) bool { return strings.TrimSpace(p) == protocol }) {
			return true
		}
	}
	return false
}

// gatedListener gives a connection's place back when it is closed: an HTTP
// server says so by nothing else.
type gatedListener struct{ gate }

// Accept returns the next connection within bounds.
func (g *gatedListener) Accept() (net.Conn, error) {
	nc, release, err := g.next()
	if err != nil {
		return nil, err
	}
	return &gatedConn{Conn: nc, release: release}, nil
}

type gatedConn struct {
	net.Conn
	once    sync.Once
	release func()
}

// Close closes the connection and gives its place back.
func (g *gatedConn) Close() error {
	g.once.Do(g.release)
	return g.Conn.Close()
}

var (
	_ net.Listener = (*gatedListener)(nil)
	_ listener     = (*http.Server)(nil)
)
