package certs

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/headgate-io/headgate/gateway/config"
	"github.com/headgate-io/headgate/internal/testca"
)

// rig is a TLS listener that echoes, over files in a folder.
type rig struct {
	*testing.T
	ca      *testca.Authority
	dir     string
	files   config.TLS
	source  *Source
	address string
	log     *bytes.Buffer
}

func start(t *testing.T, min uint16, change func(*config.TLS)) *rig {
	t.Helper()
	r := &rig{T: t, ca: testca.New(t), dir: t.TempDir(), log: &bytes.Buffer{}}
	r.files.Certificate, r.files.Key = r.ca.Write(r.dir, "server", r.ca.Issue("first"))
	r.files.ClientCA, r.files.CRL = filepath.Join(r.dir, "ca.crt"), filepath.Join(r.dir, "ca.crl")
	r.ca.WriteCA(r.files.ClientCA)
	r.ca.WriteCRL(r.files.CRL)
	if change != nil {
		change(&r.files)
	}
	var err error
	if r.source, err = New("field", r.files, min, nil, slog.New(slog.NewTextHandler(r.log, nil))); err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", r.source.Config())
	if err != nil {
		t.Fatal(err)
	}
	r.address = l.Addr().String()
	var served sync.WaitGroup
	served.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			served.Go(func() { _, _ = io.Copy(c, c); _ = c.Close() })
		}
	})
	t.Cleanup(func() { l.Close(); served.Wait() })
	return r
}

// dial connects and speaks once; client is the certificate it shows, if any.
func (r *rig) dial(max uint16, client ...tls.Certificate) (*tls.Conn, error) {
	c, err := tls.Dial("tcp", r.address, &tls.Config{RootCAs: r.ca.Pool(), Certificates: client, MaxVersion: max, ServerName: "127.0.0.1"})
	if err != nil {
		return nil, err
	}
	r.Cleanup(func() { _ = c.Close() })
	return c, speak(c)
}

// speak is the first time that a TLS 1.3 client hears of a refusal.
func speak(c net.Conn) error {
	if _, err := c.Write([]byte("x")); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, 1))
	return err
}

func subject(c *tls.Conn) string { return c.ConnectionState().PeerCertificates[0].Subject.CommonName }

// TestReload replaces the certificate under an open connection: new ones see
// the new, the open one goes on. A bad one changes nothing, and is reported once.
func TestReload(t *testing.T) {
	r := start(t, tls.VersionTLS12, nil)
	open, err := r.dial(0)
	if err != nil || subject(open) != "first" {
		t.Fatal(err)
	}
	r.ca.Write(r.dir, "server", r.ca.Issue("second"))
	r.source.poll()
	next, err := r.dial(0)
	if err != nil || subject(next) != "second" {
		t.Fatalf("%v, %v", next, err)
	}
	if err := speak(open); err != nil {
		t.Errorf("the open connection: %v", err)
	}

	// A certificate whose key is not there yet.
	key, err := os.ReadFile(r.files.Key)
	if err != nil {
		t.Fatal(err)
	}
	r.ca.Write(r.dir, "server", r.ca.Issue("third"))
	whole, err := os.ReadFile(r.files.Key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.files.Key, key, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		r.source.poll()
	}
	if n := strings.Count(r.log.String(), "the ones before stay in use"); n != 1 {
		t.Errorf("reported %d times:\n%s", n, r.log)
	}
	if c, err := r.dial(0); err != nil || subject(c) != "second" {
		t.Errorf("with a bad file: %v", err)
	}
	if st := r.source.Status(); !st.Stale || st.Subject != "CN=second" {
		t.Errorf("status %+v", st)
	}
	if err := r.source.Reload(); err == nil {
		t.Error("a bad file was loaded")
	}
	// Now it comes.
	if err := os.WriteFile(r.files.Key, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	r.source.poll()
	if c, err := r.dial(0); err != nil || subject(c) != "third" {
		t.Errorf("whole again: %v", err)
	}
	if s := r.source.Stats(); s.Reloads != 2 || s.Failures != 2 || r.source.Status().Stale {
		t.Errorf("stats %+v", s)
	}
	if err := os.Remove(r.files.Certificate); err != nil {
		t.Fatal(err)
	}
	r.source.poll()
	if _, err := r.dial(0); err != nil {
		t.Errorf("without a file: %v", err)
	}
}

// TestRevokedCertificate puts a client's certificate on the list while it is
// connected: the next handshake is refused, resumed or not.
func TestRevokedCertificate(t *testing.T) {
	r := start(t, tls.VersionTLS12, nil)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		good, bad := r.ca.Issue("good"), r.ca.Issue("bad")
		cache := tls.NewLRUClientSessionCache(8)
		dial := func(client tls.Certificate) error {
			c, err := tls.Dial("tcp", r.address, &tls.Config{
				RootCAs: r.ca.Pool(), Certificates: []tls.Certificate{client}, MaxVersion: version, ServerName: "127.0.0.1", ClientSessionCache: cache,
			})
			if err != nil {
				return err
			}
			defer func() { _ = c.Close() }()
			return speak(c)
		}
		if err := errors.Join(dial(good), dial(bad)); err != nil {
			t.Fatal(err)
		}
		r.ca.WriteCRL(r.files.CRL, bad)
		r.source.poll()
		if err := dial(bad); err == nil {
			t.Errorf("TLS %x: a revoked certificate is let in", version)
		}
		if err := dial(good); err != nil {
			t.Errorf("TLS %x: another: %v", version, err)
		}
		if n := r.source.Stats().Revoked; n == 0 {
			t.Error("not counted")
		}
	}
}

// Only the CA's own list counts, and strangers' certificates do not.
func TestStrangersAreRefused(t *testing.T) {
	r := start(t, tls.VersionTLS12, func(f *config.TLS) { f.RequireClient = true })
	if _, err := r.dial(0); err == nil {
		t.Error("without a certificate")
	}
	if _, err := r.dial(0, testca.New(t).Issue("soil-3")); err == nil {
		t.Error("with a certificate of another CA")
	}
	expired := r.ca.Issue("old", func(c *x509.Certificate) { c.NotAfter = c.NotBefore.Add(1) })
	if _, err := r.dial(0, expired); err == nil {
		t.Error("with an expired certificate")
	}
	server := r.ca.Issue("server", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
	if _, err := r.dial(0, server); err == nil {
		t.Error("with a server's certificate")
	}
	if _, err := r.dial(0, r.ca.Issue("soil-3")); err != nil {
		t.Errorf("with a good one: %v", err)
	}
	testca.New(t).WriteCRL(r.files.CRL)
	if err := r.source.Reload(); err == nil || !strings.Contains(err.Error(), "none of the CAs") {
		t.Errorf("somebody else's list: %v", err)
	}
}

func TestVersions(t *testing.T) {
	for _, c := range []struct {
		min uint16
		ok  map[uint16]bool
	}{
		{tls.VersionTLS12, map[uint16]bool{tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true}},
		{tls.VersionTLS13, map[uint16]bool{tls.VersionTLS11: false, tls.VersionTLS12: false, tls.VersionTLS13: true}},
	} {
		r := start(t, c.min, nil)
		for version, ok := range c.ok {
			conn, err := tls.Dial("tcp", r.address, &tls.Config{RootCAs: r.ca.Pool(), MinVersion: tls.VersionTLS10, MaxVersion: version, ServerName: "127.0.0.1"})
			if (err == nil) != ok {
				t.Errorf("at least %x: %x: %v", c.min, version, err)
			}
			if err == nil {
				_ = conn.Close()
			}
		}
	}
}

func TestFaultsNameTheFile(t *testing.T) {
	ca, dir := testca.New(t), t.TempDir()
	crt, key := ca.Write(dir, "server", ca.Issue("x"))
	junk := filepath.Join(dir, "junk")
	if err := os.WriteFile(junk, []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	caFile := filepath.Join(dir, "ca.crt")
	ca.WriteCA(caFile)
	for _, c := range []struct {
		files config.TLS
		want  string
	}{
		{config.TLS{Certificate: "gone.crt", Key: key}, "tls.certificate: stat gone.crt"},
		{config.TLS{Certificate: crt, Key: junk}, "tls.key " + junk},
		{config.TLS{Certificate: crt, Key: dir}, "is not a file"},
		{config.TLS{Certificate: crt, Key: key, ClientCA: junk}, "holds no certificate"},
		{config.TLS{Certificate: crt, Key: key, ClientCA: caFile, CRL: junk}, "tls.crl " + junk},
	} {
		if _, err := New("l", c.files, tls.VersionTLS12, nil, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
}

// TestTheGatewaysClockCounts: certificates are judged by the time that the
// gateway knows, not by what a board without a battery thinks after a power cut.
func TestTheGatewaysClockCounts(t *testing.T) {
	r := start(t, tls.VersionTLS12, nil)
	in := func(d time.Duration) time.Time { return time.Now().Add(d) }
	future := r.ca.Issue("soil-3", func(c *x509.Certificate) { c.NotBefore, c.NotAfter = in(6*time.Hour), in(18*time.Hour) })
	for _, c := range []struct {
		now time.Time
		ok  bool
	}{{time.Unix(0, 0), false}, {in(0), false}, {in(12 * time.Hour), true}, {in(20 * time.Hour), false}} {
		source, err := New("field", r.files, tls.VersionTLS12, func() time.Time { return c.now }, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		near, far := net.Pipe()
		server := tls.Server(far, source.Config())
		ended := make(chan error, 1)
		go func() {
			ended <- server.HandshakeContext(t.Context())
			_ = far.Close()
		}()
		client := tls.Client(near, &tls.Config{
			RootCAs: r.ca.Pool(), Certificates: []tls.Certificate{future}, ServerName: "127.0.0.1", MaxVersion: tls.VersionTLS12,
		})
		_ = client.HandshakeContext(t.Context()) // the server's word counts
		err = <-ended
		_ = near.Close()
		if (err == nil) != c.ok {
			t.Errorf("at %v: %v", c.now, err)
		}
	}
}

// Watch ends with its context.
func TestWatchEnds(t *testing.T) {
	r := start(t, tls.VersionTLS12, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r.source.Watch(ctx)
}
