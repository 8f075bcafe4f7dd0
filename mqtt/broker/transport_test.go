package broker

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/mochi-mqtt/server/v2/packets"
)

// authority signs certificates for one test.
type authority struct {
	t    *testing.T
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, pool: x509.NewCertPool()}
	pair := a.issue("test authority", true)
	a.cert, a.key = pair.Leaf, pair.PrivateKey.(*ecdsa.PrivateKey)
	a.pool.AddCert(a.cert)
	return a
}

func (a *authority) issue(name string, ca bool) tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: ca, BasicConstraintsValid: ca, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	parent, signer := tmpl, key
	if !ca {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// byCertificate knows clients by their certificates only.
type byCertificate struct{}

func (byCertificate) Authenticate(_ context.Context, c Credentials) (Identity, error) {
	if c.Certificate == nil {
		return Identity{}, fmt.Errorf("no certificate on %s: %w", c.Listener, ErrBadCredentials)
	}
	return Identity{User: c.Certificate.Subject.CommonName, Publish: []string{"#"}, Subscribe: []string{"#"}}, nil
}

func TestTransports(t *testing.T) {
	ca := newAuthority(t)
	srv, plain := startServer(t, quietConfig(), Deps{Authenticator: byCertificate{}})
	server := &tls.Config{
		Certificates: []tls.Certificate{ca.issue("server", false)}, ClientCAs: ca.pool, ClientAuth: tls.VerifyClientCertIfGiven,
	}
	client := &tls.Config{RootCAs: ca.pool, Certificates: []tls.Certificate{ca.issue("soil-3", false)}}
	listen := func(network string) string {
		addr, err := srv.Listen(context.Background(), ListenerConfig{Name: network, Network: network, Address: "127.0.0.1:0", TLS: server})
		if err != nil {
			t.Fatal(err)
		}
		return addr.String()
	}
	open := map[string]func() net.Conn{
		"tls": func() net.Conn {
			nc, err := (&tls.Dialer{Config: client}).DialContext(context.Background(), "tcp", listen("tls"))
			if err != nil {
				t.Fatal(err)
			}
			return nc
		},
		"wss": func() net.Conn {
			return dialWebSocket(t, "wss://"+listen("wss"), &http.Client{Transport: &http.Transport{TLSClientConfig: client}})
		},
	}
	for name, dial := range open {
		t.Run(name, func(t *testing.T) {
			p := newPeer(t, dial(), 5)
			defer p.nc.Close()
			if ack := p.connect(name, nil); ack.ReasonCode != 0 {
				t.Fatalf("CONNACK %#x", ack.ReasonCode)
			}
			if c := clientOf(srv, name); c.User != "soil-3" || c.Listener != name || c.RemoteAddr == "" {
				t.Errorf("client %+v", c)
			}
			p.subscribe(1, "a")
			big := string(make([]byte, 100_000))
			p.publish("a", big, 1, 1)
			p.expectMessage(big)
			p.expectAck(packets.Puback, 1, Success)
			p.disconnect()
		})
	}
	if ack := dial(t, plain, 5).connect("x", nil); ack.ReasonCode != byte(BadUserNameOrPassword) {
		t.Errorf("without a certificate: CONNACK %#x", ack.ReasonCode)
	}
	old := client.Clone()
	old.MaxVersion = tls.VersionTLS11
	old.MinVersion = tls.VersionTLS10
	if nc, err := (&tls.Dialer{Config: old}).DialContext(context.Background(), "tcp", listen("tls")); err == nil {
		_ = nc.Close()
		t.Error("TLS 1.1 was accepted")
	}
}

func dialWebSocket(t *testing.T, url string, client *http.Client) net.Conn {
	t.Helper()
	//nolint:bodyclose // an upgrade has none
	ws, _, err := websocket.Dial(context.Background(), url, &websocket.DialOptions{HTTPClient: client, Subprotocols: []string{"mqtt"}})
	if err != nil {
		t.Fatal(err)
	}
	if ws.Subprotocol() != "mqtt" { // [MQTT-6.0.0-4]
		t.Errorf("subprotocol %q", ws.Subprotocol())
	}
	return websocket.NetConn(context.Background(), ws, websocket.MessageBinary)
}

func TestWebSocket(t *testing.T) {
	srv, _ := startServer(t, quietConfig(), Deps{})
	addr, err := srv.Listen(context.Background(), ListenerConfig{Name: "ws", Network: "ws", Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	url := "ws://" + addr.String()
	t.Run("packets span frames", func(t *testing.T) { // [MQTT-6.0.0-2]
		p := newPeer(t, dialWebSocket(t, url, nil), 5)
		connect := connectPacket(5, "p", nil)
		b, _ := encodeAny(&connect)
		ping := []byte{packets.Pingreq << 4, 0}
		for _, part := range [][]byte{b[:1], b[1:5], append(b[5:], ping...), ping[:1], append(ping[1:], ping...)} {
			p.write(part)
		}
		p.expect(packets.Connack)
		for range 3 {
			p.expect(packets.Pingresp)
		}
		_ = p.nc.Close()
	})
	t.Run("text frames close", func(t *testing.T) { // [MQTT-6.0.0-1]
		//nolint:bodyclose // an upgrade has none
		ws, _, err := websocket.Dial(context.Background(), url, &websocket.DialOptions{Subprotocols: []string{"mqtt"}})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = ws.CloseNow() }()
		if err := ws.Write(context.Background(), websocket.MessageText, []byte("x")); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if _, _, err := ws.Read(ctx); err == nil || ctx.Err() != nil {
			t.Errorf("read: %v", err)
		}
	})
	t.Run("without subprotocol", func(t *testing.T) { // [MQTT-6.0.0-3]
		pool := &http.Transport{}
		defer pool.CloseIdleConnections() // which would keep their place until the timeout
		ws, resp, err := websocket.Dial(context.Background(), url, &websocket.DialOptions{HTTPClient: &http.Client{Transport: pool}})
		if err == nil {
			_ = ws.CloseNow()
			t.Fatal("accepted")
		}
		_ = resp.Body.Close() // the status says it all
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("status %d", resp.StatusCode)
		}
	})
	eventually(t, "their places are free", func() bool {
		srv.mu.Lock()
		defer srv.mu.Unlock()
		return srv.admitted == 0 && len(srv.conns) == 0
	})
	t.Run("half open", func(t *testing.T) {
		cfg := quietConfig()
		cfg.ConnectTimeout = 50 * time.Millisecond
		srv, _ := startServer(t, cfg, Deps{})
		addr, err := srv.Listen(context.Background(), ListenerConfig{Name: "ws", Network: "ws", Address: "127.0.0.1:0"})
		if err != nil {
			t.Fatal(err)
		}
		p := newPeer(t, dialWebSocket(t, "ws://"+addr.String(), nil), 5)
		p.expectClosed()
		raw := dial(t, addr.String(), 5) // not even HTTP
		raw.expectClosed()
	})
}

func TestListenErrors(t *testing.T) {
	srv, _ := startServer(t, quietConfig(), Deps{})
	for _, cfg := range []ListenerConfig{
		{Name: "a", Network: "udp", Address: "127.0.0.1:0"},
		{Name: "b", Network: "tls", Address: "127.0.0.1:0"},
		{Name: "c", Network: "tcp", Address: "nowhere:x"},
	} {
		if _, err := srv.Listen(context.Background(), cfg); err == nil {
			t.Errorf("%s: no error", cfg.Name)
		}
	}
}

// flaky is a listener whose Accept fails now and then.
type flaky struct {
	net.Listener
	failures int
}

func (f *flaky) Accept() (net.Conn, error) {
	if f.failures--; f.failures >= 0 {
		return nil, fmt.Errorf("accept: too many open files")
	}
	return f.Listener.Accept()
}

func TestAcceptErrorsPass(t *testing.T) {
	srv, _ := startServer(t, quietConfig(), Deps{})
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv.mu.Lock()
	srv.listeners = append(srv.listeners, l)
	srv.wg.Add(1)
	srv.mu.Unlock()
	go srv.accept(&flaky{Listener: l, failures: 3}, ListenerConfig{Name: "flaky", Network: "tcp"})
	p, _ := connected(t, l.Addr().String(), 5, "p", nil)
	p.quiet()
	if n := srv.Stats().AcceptErrors; n != 3 {
		t.Errorf("%d errors counted", n)
	}
}
