package enrol_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/gateway/enrol"
)

const gatewayID = "abcdefghijklmnop"

// clock is one that a test sets.
type clock struct {
	mu    sync.Mutex
	now   time.Time
	trust event.Trust
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Trust() event.Trust {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.trust
}

func (c *clock) Estimate(_ context.Context, now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now, c.trust = now, event.TimeEstimated
	return nil
}

// cloud is a controller as far as a gateway that enrols sees it.
type cloud struct {
	*testing.T
	server *httptest.Server
	ca     *x509.Certificate
	key    *ecdsa.PrivateKey
	now    time.Time

	mu sync.Mutex
	// keys are the public keys of all requests, asked their paths.
	keys  []string
	asked []string
	// lose ends that many connections after the answer was made, refuse answers
	// with a problem.
	lose   int
	refuse int
	// name is the common name that it puts into certificates.
	name string
	// shown is the certificate that the last renewal came with.
	shown *x509.Certificate
	// root is the fleet's, once its owner has made keys.
	root string
}

func newCloud(t *testing.T) *cloud {
	t.Helper()
	c := &cloud{T: t, now: time.Now(), name: gatewayID}
	c.key = newKey(t)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotBefore: c.now.Add(-time.Hour), NotAfter: c.now.Add(10 * 365 * 24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	c.ca = c.sign(tmpl, tmpl, &c.key.PublicKey)
	own := newKey(t)
	leaf := c.sign(&x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: c.now.Add(-time.Hour), NotAfter: c.now.Add(24 * time.Hour), DNSNames: []string{"localhost"},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, c.ca, &own.PublicKey)
	c.server = httptest.NewUnstartedServer(c)
	c.server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	c.server.TLS = &tls.Config{
		MinVersion: tls.VersionTLS13, ClientAuth: tls.RequestClientCert,
		Certificates: []tls.Certificate{{Certificate: [][]byte{leaf.Raw, c.ca.Raw}, PrivateKey: own}},
	}
	c.server.StartTLS()
	t.Cleanup(c.server.Close)
	return c
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (c *cloud) sign(tmpl, parent *x509.Certificate, public any) *x509.Certificate {
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, public, c.key)
	if err != nil {
		c.Error(err)
		return nil
	}
	out, err := x509.ParseCertificate(der)
	if err != nil {
		c.Error(err)
	}
	return out
}

func (c *cloud) url() string { return strings.Replace(c.server.URL, "127.0.0.1", "localhost", 1) }

func (c *cloud) token() string {
	sum := sha256.Sum256(c.ca.RawSubjectPublicKeyInfo)
	return "hge_ABCDEFGHIJKLMNOPQRSTUVWXYZ_" + base64.RawURLEncoding.EncodeToString(sum[:])
}

func (c *cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = append(c.asked, r.URL.Path)
	if r.URL.Path == "/v1/time" {
		_ = json.NewEncoder(w).Encode(map[string]any{"time": c.now})
		return
	}
	if r.URL.Path == "/content/metadata/root.json" {
		if c.root == "" || len(r.TLS.PeerCertificates) == 0 {
			http.NotFound(w, r)
		}
		_, _ = w.Write([]byte(c.root))
		return
	}
	if c.refuse != 0 {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(c.refuse)
		_ = json.NewEncoder(w).Encode(map[string]any{"title": "Forbidden", "detail": "the token is used up"})
		return
	}
	if r.URL.Path == "/v1/renew" && len(r.TLS.PeerCertificates) > 0 {
		c.shown = r.TLS.PeerCertificates[0]
	}
	var in struct {
		CSR string `json:"csr"`
	}
	_ = json.NewDecoder(r.Body).Decode(&in)
	block, _ := pem.Decode([]byte(in.CSR))
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		c.Error(err)
		return
	}
	c.keys = append(c.keys, string(csr.RawSubjectPublicKeyInfo))
	if c.lose > 0 {
		c.lose--
		panic(http.ErrAbortHandler)
	}
	leaf := c.sign(&x509.Certificate{
		SerialNumber: big.NewInt(int64(len(c.keys) + 2)), Subject: pkix.Name{CommonName: c.name}, NotBefore: c.now, NotAfter: c.now.Add(90 * 24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, c.ca, csr.PublicKey)
	text := func(x *x509.Certificate) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: x.Raw}))
	}
	_ = json.NewEncoder(w).Encode(map[string]any{
		"gateway": gatewayID, "name": "gw-1", "tenant": "acme", "certificate": text(leaf) + text(c.ca), "ca": text(c.ca),
		"mqtt": []string{"ssl://localhost:8883"}, "content": "https://localhost/content", "time": c.now,
	})
}

// rig is a gateway's enrolment.
type rig struct {
	*testing.T
	dir      string
	clock    *clock
	enrolled []string
	fail     error
}

func newRig(t *testing.T) *rig {
	return &rig{T: t, dir: t.TempDir(), clock: &clock{now: time.Now(), trust: event.TimeSynchronised}}
}

// open is a start of the gateway.
func (r *rig) open() *enrol.Service {
	return enrol.New(enrol.Config{
		StateDir: r.dir, Hardware: "hw", Version: "1", Arch: "arm64", Clock: r.clock, Logger: slog.New(slog.DiscardHandler),
		RetryMin: time.Millisecond, RetryMax: 10 * time.Millisecond, CheckEvery: 10 * time.Millisecond,
		Enrolled: func(_ context.Context, gateway string) error {
			r.enrolled = append(r.enrolled, gateway)
			return r.fail
		},
	})
}

func TestEnrolmentIsRemembered(t *testing.T) {
	c, r := newCloud(t), newRig(t)
	s := r.open()
	state, err := s.Enrol(t.Context(), enrol.Request{URL: c.url(), Token: c.token()})
	if err != nil || state.Gateway != gatewayID || len(r.enrolled) != 1 {
		t.Fatalf("%+v, %v; told of %v", state, err, r.enrolled)
	}
	again := r.open().State()
	if again == nil || again.Gateway != gatewayID || !again.SigningKey().Equal(state.SigningKey()) {
		t.Fatalf("after a restart: %+v", again)
	}
	for _, name := range []string{"enrolment.json", "enrolment.pending.json"} {
		info, err := os.Stat(filepath.Join(r.dir, name))
		if name == "enrolment.json" && (err != nil || info.Mode().Perm() != 0o600) || name != "enrolment.json" && err == nil {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if _, err := r.open().Enrol(t.Context(), enrol.Request{URL: c.url(), Token: c.token()}); !errors.Is(err, enrol.ErrEnrolled) {
		t.Errorf("a second enrolment: %v", err)
	}
}

// An answer that was lost, and a power cut after it, cost no second use: the
// same key asks again.
func TestALostAnswerIsAskedForAgain(t *testing.T) {
	c, r := newCloud(t), newRig(t)
	c.lose = 1
	if _, err := r.open().Enrol(t.Context(), enrol.Request{URL: c.url(), Token: c.token()}); err == nil {
		t.Fatal("enrolled without an answer")
	}
	if _, err := r.open().Enrol(t.Context(), enrol.Request{URL: c.url(), Token: c.token()}); err != nil {
		t.Fatal(err)
	}
	if len(c.keys) != 2 || c.keys[0] != c.keys[1] {
		t.Errorf("%d requests, with different keys", len(c.keys))
	}
}

func TestOnlyTheTokensControllerIsTrusted(t *testing.T) {
	c, other, r := newCloud(t), newCloud(t), newRig(t)
	if _, err := r.open().Enrol(t.Context(), enrol.Request{URL: c.url(), Token: other.token()}); err == nil || len(c.asked) > 0 {
		t.Errorf("another controller was asked %v: %v", c.asked, err)
	}
	for _, bad := range []enrol.Request{{URL: "http://localhost", Token: c.token()}, {URL: c.url(), Token: "hge_x"}, {URL: c.url(), Token: ""}} {
		if _, err := r.open().Enrol(t.Context(), bad); err == nil {
			t.Errorf("%+v: no error", bad)
		}
	}
	c.name = "somebodyelsesname"
	if _, err := r.open().Enrol(t.Context(), enrol.Request{URL: c.url(), Token: c.token()}); err == nil || r.open().State() != nil {
		t.Errorf("a certificate for somebody else was taken: %v", err)
	}
}

// A board without a clock verifies the controller within its certificate's life,
// and takes its time as an estimate.
func TestAWrongClock(t *testing.T) {
	for name, now := range map[string]time.Time{"past": time.Unix(0, 0), "future": time.Now().Add(20 * 365 * 24 * time.Hour)} {
		c, r := newCloud(t), newRig(t)
		r.clock.now, r.clock.trust = now, event.TimeUnknown
		if _, err := r.open().Enrol(t.Context(), enrol.Request{URL: c.url(), Token: c.token()}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !r.clock.Now().Equal(c.now) || r.clock.Trust() != event.TimeEstimated {
			t.Errorf("%s: the clock says %v, %v", name, r.clock.Now(), r.clock.Trust())
		}
		// One that is trusted is not bent.
		r = newRig(t)
		r.clock.now = now
		if _, err := r.open().Enrol(t.Context(), enrol.Request{URL: c.url(), Token: c.token()}); err == nil {
			t.Errorf("%s: a certificate out of its time was taken", name)
		}
	}
}

func TestAPendingEnrolmentIsTriedUntilItSucceedsOrIsRefused(t *testing.T) {
	c, r := newCloud(t), newRig(t)
	c.lose = 3
	if state, err := r.open().Enrol(t.Context(), enrol.Request{URL: c.url(), Token: c.token(), Retry: true}); err != nil || state != nil {
		t.Fatalf("%+v, %v", state, err)
	}
	run := func(s *enrol.Service, until func() bool) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); s.Run(ctx) }()
		for deadline := time.Now().Add(30 * time.Second); !until(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				_, err := s.Waiting()
				t.Fatalf("nothing happens: %v", err)
			}
		}
		cancel()
		<-ended
	}
	s := r.open() // after a restart
	if url, _ := s.Waiting(); url != c.url() {
		t.Errorf("waits for %q", url)
	}
	run(s, func() bool { return s.State() != nil })

	c.refuse = http.StatusForbidden
	r = newRig(t)
	s = r.open()
	if _, err := s.Enrol(t.Context(), enrol.Request{URL: c.url(), Token: c.token(), Retry: true}); err != nil {
		t.Fatal(err)
	}
	var refused *enrol.Refused
	run(s, func() bool { url, err := s.Waiting(); return url == "" && errors.As(err, &refused) })
	if refused.Status != http.StatusForbidden || !strings.Contains(refused.Error(), "used up") {
		t.Errorf("refused: %v", refused)
	}
	if url, _ := r.open().Waiting(); url != "" {
		t.Error("a refused enrolment is still tried")
	}
}

// After two thirds of its life, and long after its end, the certificate is
// renewed for the same key, with the old one shown.
func TestRenewal(t *testing.T) {
	for name, later := range map[string]time.Duration{"in time": 61 * 24 * time.Hour, "too late": 150 * 24 * time.Hour} {
		c, r := newCloud(t), newRig(t)
		s := r.open()
		before, err := s.Enrol(t.Context(), enrol.Request{URL: c.url(), Token: c.token()})
		if err != nil {
			t.Fatal(err)
		}
		r.clock.mu.Lock()
		r.clock.now, r.clock.trust = c.now.Add(later), event.TimeEstimated
		r.clock.mu.Unlock()
		c.mu.Lock()
		c.now = c.now.Add(later)
		c.mu.Unlock()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); s.Run(ctx) }()
		for deadline := time.Now().Add(30 * time.Second); s.Stats().Renewals == 0; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				_, err := s.Waiting()
				t.Fatalf("%s: it is not renewed: %v", name, err)
			}
		}
		cancel()
		<-ended
		after := r.open().State()
		if !after.Expires().After(before.Expires()) || !after.SigningKey().Equal(before.SigningKey()) || after.Enrolled != before.Enrolled {
			t.Errorf("%s: %v, before %v", name, after.Expires(), before.Expires())
		}
		if c.shown == nil || c.shown.Subject.CommonName != gatewayID {
			t.Errorf("%s: the renewal did not show the old certificate", name)
		}
	}
}

// A gateway that enrolled before its owner made keys gets the root once there is
// one, over mutual TLS, and keeps the first.
func TestTheRootComesLater(t *testing.T) {
	c, r := newCloud(t), newRig(t)
	s := r.open()
	if got, err := s.AskRoot(t.Context()); got || err != nil {
		t.Error("before it is enrolled:", got, err)
	}
	if _, err := s.Enrol(t.Context(), enrol.Request{URL: c.url(), Token: c.token()}); err != nil {
		t.Fatal(err)
	}
	<-s.Changed()
	if got, err := s.AskRoot(t.Context()); got || err != nil {
		t.Error("before there is one:", got, err)
	}
	for _, root := range []string{`{"first":1}`, `{"another":2}`} {
		c.mu.Lock()
		c.root = root
		c.mu.Unlock()
		if got, err := s.AskRoot(t.Context()); !got || err != nil {
			t.Error(got, err)
		}
	}
	if got := string(r.open().State().Root); got != `{"first":1}` {
		t.Errorf("it believes %s", got)
	}
	select {
	case <-s.Changed():
	default:
		t.Error("nobody is told of it")
	}
}

// What is wanted of a gateway takes a root: it does not wait for the next day to
// ask for it.
func TestTheRootIsAskedForWhenItIsWanted(t *testing.T) {
	c, r := newCloud(t), newRig(t)
	s := r.open()
	if _, err := s.Enrol(t.Context(), enrol.Request{URL: c.url(), Token: c.token()}); err != nil {
		t.Fatal(err)
	}
	<-s.Changed()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); s.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	asked := func() (n int) {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, path := range c.asked {
			if path == "/content/metadata/root.json" {
				n++
			}
		}
		return n
	}
	for deadline := time.Now().Add(30 * time.Second); asked() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it is not asked for at the start")
		}
	}
	c.mu.Lock()
	c.root = `{"first":1}`
	c.mu.Unlock()
	s.WantRoot()
	select {
	case <-s.Changed():
	case <-time.After(30 * time.Second):
		t.Fatal("it is not asked for when it is wanted")
	}
	s.WantRoot() // it is there: nothing is asked any more
}

// A file that cannot be read does not stop the gateway.
func TestDamagedState(t *testing.T) {
	r := newRig(t)
	if err := os.WriteFile(filepath.Join(r.dir, "enrolment.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := r.open()
	if _, err := s.Waiting(); s.State() != nil || err == nil {
		t.Errorf("%+v, %v", s.State(), err)
	}
}
