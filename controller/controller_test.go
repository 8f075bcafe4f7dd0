package controller_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/headgate-io/headgate/controller"
	"github.com/headgate-io/headgate/controller/api"
	"github.com/headgate-io/headgate/controller/config"
	"github.com/headgate-io/headgate/controller/enrol"
	"github.com/headgate-io/headgate/controller/store"
	"github.com/headgate-io/headgate/controller/store/pgtest"
	"github.com/headgate-io/headgate/internal/testca"
)

var postgres pgtest.Server

func TestMain(m *testing.M) {
	code := m.Run()
	postgres.Stop()
	os.Exit(code)
}

// rig is a controller that runs.
type rig struct {
	t   *testing.T
	c   *controller.Controller
	url string
	dir string
}

func settings(dir string) config.Config {
	cfg := config.Default()
	cfg.Dir, cfg.HTTP.Listen, cfg.HTTP.Names = dir, "127.0.0.1:0", []string{"127.0.0.1"}
	cfg.MQTT.Listen = "127.0.0.1:0"
	return cfg
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := start(t, settings(t.TempDir()))
	if secret, err := r.c.First(t.Context()); err != nil || !strings.HasPrefix(secret, "hgc_") {
		t.Fatalf("%q, %v", secret, err)
	}
	return r
}

// start runs a controller until the end of the test.
func start(t *testing.T, cfg config.Config) *rig {
	t.Helper()
	c, err := controller.New(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return &rig{t: t, c: c, url: "https://" + c.Addr().String(), dir: cfg.Dir}
}

func (r *rig) token(n enrol.NewToken) (secret, tenant string) {
	r.t.Helper()
	n.Uses, n.Life = 1, time.Hour
	err := r.c.Store.Update(r.t.Context(), func(tx *store.Tx) error {
		t, err := tx.TenantNamed(r.t.Context(), controller.FirstTenant)
		if err != nil {
			return err
		}
		tenant = t.ID
		_, secret, err = r.c.Enrol.Token(r.t.Context(), tx, t.ID, n)
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return secret, tenant
}

// pinned trusts the authority with the token's fingerprint alone, as a gateway
// does.
func pinned(token string) *tls.Config {
	fingerprint := strings.SplitN(token, "_", 3)[2]
	return &tls.Config{InsecureSkipVerify: true, VerifyConnection: func(s tls.ConnectionState) error { //nolint:gosec // verified here
		root := s.PeerCertificates[len(s.PeerCertificates)-1]
		sum := sha256.Sum256(root.RawSubjectPublicKeyInfo)
		if base64.RawURLEncoding.EncodeToString(sum[:]) != fingerprint {
			return errors.New("another authority")
		}
		pool := x509.NewCertPool()
		pool.AddCert(root)
		_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: pool, DNSName: s.ServerName})
		return err
	}}
}

func client(t *testing.T, cfg *tls.Config) *http.Client {
	tr := &http.Transport{TLSClientConfig: cfg, ForceAttemptHTTP2: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 30 * time.Second}
}

func (r *rig) do(c *http.Client, method, path string, in any, header ...string) (int, []byte) {
	r.t.Helper()
	b, err := json.Marshal(in)
	if err != nil {
		r.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.url+path, bytes.NewReader(b))
	if err != nil {
		r.t.Fatal(err)
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, out
}

func newKey(t *testing.T) (*ecdsa.PrivateKey, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	return key, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

// enrolled is a gateway as it is after enrolment.
func (r *rig) enrolled(name string) (api.Enrolled, tls.Certificate) {
	r.t.Helper()
	token, _ := r.token(enrol.NewToken{})
	key, csr := newKey(r.t)
	status, body := r.do(client(r.t, pinned(token)), http.MethodPost, "/v1/enroll", api.Enrol{Token: token, CSR: csr, Name: name, Hardware: "hw"})
	var out api.Enrolled
	if err := json.Unmarshal(body, &out); status != http.StatusOK || err != nil {
		r.t.Fatalf("%d, %v: %s", status, err, body)
	}
	return out, pair(r.t, out, key)
}

func pair(t *testing.T, e api.Enrolled, key *ecdsa.PrivateKey) tls.Certificate {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := tls.X509KeyPair([]byte(e.Certificate), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func mutual(e api.Enrolled, c tls.Certificate) *tls.Config {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(e.CA))
	return &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{c}}
}

// From a token to content over mutual TLS, over real connections.
func TestEnrolledGatewayFetches(t *testing.T) {
	r := newRig(t)
	_, tenant := r.token(enrol.NewToken{})
	content := filepath.Join(r.dir, "content", tenant)
	for file, text := range map[string]string{
		filepath.Join(content, "targets", "a.bundle"):              "0123456789",
		filepath.Join(content, "metadata", "root.json"):            `{"root":1}`,
		filepath.Join(r.dir, "content", "othertenant", "a.bundle"): "secret",
	} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(r.dir, "ca.key"), filepath.Join(content, "link")); err != nil {
		t.Fatal(err)
	}
	e, cert := r.enrolled("gw-1")
	if string(e.Root) != `{"root":1}` || e.Content != r.url+"/content" || e.Tenant != tenant || len(e.MQTT) != 1 || !strings.HasPrefix(e.MQTT[0], "ssl://127.0.0.1:") {
		t.Errorf("%+v", e)
	}
	c := client(t, mutual(e, cert))
	if status, body := r.do(c, http.MethodGet, "/content/targets/a.bundle", nil, "Range", "bytes=4-"); status != http.StatusPartialContent || string(body) != "456789" {
		t.Errorf("%d: %s", status, body)
	}
	for _, path := range []string{"/content/link", "/content/%2e%2e/othertenant/a.bundle", "/content/..%2fothertenant%2fa.bundle", "/content/targets", "/content/", "/content/none"} {
		if status, body := r.do(c, http.MethodGet, path, nil); status != http.StatusNotFound || strings.Contains(string(body), "KEY") {
			t.Errorf("%s: %d: %s", path, status, body)
		}
	}
	// A gateway's certificate opens nothing of the API.
	if status, _ := r.do(c, http.MethodGet, "/v1/gateways", nil); status != http.StatusUnauthorized {
		t.Errorf("the API with a gateway's certificate: %d", status)
	}
}

func TestCertificatesOverTLS(t *testing.T) {
	r := newRig(t)
	one, certOne := r.enrolled("one")
	two, certTwo := r.enrolled("two")
	key, csr := newKey(t)
	status, body := r.do(client(t, mutual(one, certOne)), http.MethodPost, "/v1/renew", api.Renew{CSR: csr})
	var renewed api.Enrolled
	if err := json.Unmarshal(body, &renewed); status != http.StatusOK || err != nil || renewed.Gateway != one.Gateway {
		t.Fatalf("%d, %v: %s", status, err, body)
	}
	if status, _ := r.do(client(t, mutual(one, pair(t, renewed, key))), http.MethodGet, "/content/none", nil); status != http.StatusNotFound {
		t.Errorf("the renewed certificate: %d", status)
	}
	// The other's certificate without its key cannot even connect as it.
	stolen := tls.Certificate{Certificate: certTwo.Certificate, PrivateKey: key}
	resp, err := client(t, mutual(two, stolen)).Get(r.url + "/content/none")
	if err == nil {
		resp.Body.Close()
		t.Error("a certificate was shown without its key")
	}
	forged := testca.New(t).Issue(two.Gateway)
	if status, _ := r.do(client(t, mutual(two, forged)), http.MethodPost, "/v1/renew", api.Renew{CSR: csr}); status != http.StatusForbidden {
		t.Errorf("a forged authority: %d", status)
	}
	err = r.c.Store.Update(t.Context(), func(tx *store.Tx) error { return tx.RemoveGateway(t.Context(), two.Gateway) })
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/content/none", "/v1/renew"} {
		method := http.MethodGet
		if path == "/v1/renew" {
			method = http.MethodPost
		}
		if status, _ := r.do(client(t, mutual(two, certTwo)), method, path, api.Renew{CSR: csr}); status != http.StatusForbidden {
			t.Errorf("%s of a deleted gateway: %d", path, status)
		}
	}
}

// Two replicas on one PostgreSQL are one controller: what one does the other
// knows at once.
func TestReplicas(t *testing.T) {
	cfg := settings(t.TempDir())
	cfg.Database = postgres.Database(t)
	one := start(t, cfg)
	second := cfg
	second.Dir = t.TempDir()
	for _, file := range []string{"ca.crt", "ca.key"} {
		raw, err := os.ReadFile(filepath.Join(cfg.Dir, file))
		if err == nil {
			err = os.WriteFile(filepath.Join(second.Dir, file), raw, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	two := start(t, second)
	secrets := make([]string, 2)
	var wg sync.WaitGroup
	for i, r := range []*rig{one, two} { // both are the first start
		wg.Go(func() {
			var err error
			if secrets[i], err = r.c.First(context.WithoutCancel(t.Context())); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	operator := secrets[0] + secrets[1]
	if strings.Count(operator, "hgc_") != 1 {
		t.Fatalf("operators: %q", secrets)
	}
	people := client(t, pinned(operator))
	answers := map[string]bool{}
	for _, r := range []*rig{one, two, one} {
		status, body := r.do(people, http.MethodPost, "/v1/enrolment-tokens", map[string]any{}, "Authorization", "Bearer "+operator, "Idempotency-Key", "one")
		if status != http.StatusCreated {
			t.Fatalf("%d: %s", status, body)
		}
		answers[string(body)] = true
	}
	if len(answers) != 1 {
		t.Errorf("one key, %d answers", len(answers))
	}
	e, cert := two.enrolled("gw-1")
	if status, _ := one.do(client(t, mutual(e, cert)), http.MethodGet, "/content/none", nil); status != http.StatusNotFound {
		t.Errorf("the other replica's gateway: %d", status)
	}
	// What the one puts out loses its connection with the other.
	lost := make(chan struct{}, 1)
	o := mqtt.NewClientOptions().AddBroker(e.MQTT[0]).SetClientID(e.Gateway).SetTLSConfig(mutual(e, cert)).SetAutoReconnect(false).
		SetConnectionLostHandler(func(mqtt.Client, error) { lost <- struct{}{} })
	connected := mqtt.NewClient(o)
	if token := connected.Connect(); !token.WaitTimeout(30*time.Second) || token.Error() != nil {
		t.Fatal(token.Error())
	}
	defer connected.Disconnect(0)
	if status, body := one.do(people, http.MethodPost, "/v1/gateways/gw-1/revoke", nil, "Authorization", "Bearer "+operator); status != http.StatusOK {
		t.Fatalf("%d: %s", status, body)
	}
	select {
	case <-lost:
	case <-time.After(30 * time.Second):
		t.Error("a gateway that the other replica revoked stays connected")
	}
	if status, body := two.do(people, http.MethodDelete, "/v1/gateways/gw-1", nil, "Authorization", "Bearer "+operator); status != http.StatusNoContent {
		t.Fatalf("%d: %s", status, body)
	}
	if status, _ := one.do(client(t, mutual(e, cert)), http.MethodGet, "/content/none", nil); status != http.StatusForbidden {
		t.Errorf("a gateway that the other replica deleted: %d", status)
	}
}

// A database and an authority belong together, over restarts.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	start := func(cfg config.Config) (*controller.Controller, error) {
		return controller.New(t.Context(), cfg, slog.New(slog.DiscardHandler))
	}
	for i := range 2 {
		c, err := start(settings(dir))
		if err != nil {
			t.Fatal(err)
		}
		secret, err := c.First(t.Context())
		if err != nil || (secret != "") != (i == 0) {
			t.Errorf("start %d: token %q, %v", i, secret, err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	other := settings(t.TempDir())
	other.Database = "sqlite:" + filepath.Join(dir, "controller.db")
	if _, err := start(other); err == nil || !strings.Contains(err.Error(), "ca.key") {
		t.Errorf("the database with another authority: %v", err)
	}
}

// Without a listener there is no controller, and nothing is left open.
func TestAddressInUse(t *testing.T) {
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cfg := settings(t.TempDir())
	cfg.HTTP.Listen = l.Addr().String()
	if _, err := controller.New(t.Context(), cfg, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "http.listen") {
		t.Error(err)
	}
}

// A gateway that is revoked, deleted or replaced loses its connection, and does
// not come back with its certificate.
func TestPutOutAtOnce(t *testing.T) {
	r := newRig(t)
	operator, err := r.c.Recover(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	api := client(t, pinned(operator))
	put := map[string]func(id string){
		"revoked": func(id string) {
			if status, body := r.do(api, http.MethodPost, "/v1/gateways/"+id+"/revoke", nil, "Authorization", "Bearer "+operator); status != http.StatusOK {
				t.Errorf("%d: %s", status, body)
			}
		},
		"deleted": func(id string) {
			if status, body := r.do(api, http.MethodDelete, "/v1/gateways/"+id, nil, "Authorization", "Bearer "+operator); status != http.StatusNoContent {
				t.Errorf("%d: %s", status, body)
			}
		},
		"replaced": func(id string) {
			token, _ := r.token(enrol.NewToken{Replace: id})
			_, csr := newKey(t)
			if status, body := r.do(api, http.MethodPost, "/v1/enroll", map[string]string{"token": token, "csr": csr}); status != http.StatusOK {
				t.Errorf("%d: %s", status, body)
			}
		},
	}
	for name, out := range put {
		e, cert := r.enrolled(name)
		lost := make(chan struct{}, 1)
		connect := func() (mqtt.Client, error) {
			o := mqtt.NewClientOptions().AddBroker(e.MQTT[0]).SetClientID(e.Gateway).SetTLSConfig(mutual(e, cert)).SetAutoReconnect(false).
				SetConnectionLostHandler(func(mqtt.Client, error) { lost <- struct{}{} })
			c := mqtt.NewClient(o)
			token := c.Connect()
			if !token.WaitTimeout(30 * time.Second) {
				t.Fatal("no answer to CONNECT")
			}
			return c, token.Error()
		}
		c, err := connect()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		defer c.Disconnect(0)
		out(e.Gateway)
		select {
		case <-lost:
		case <-time.After(30 * time.Second):
			t.Errorf("%s: it stays connected", name)
		}
		if c, err := connect(); err == nil {
			c.Disconnect(0)
			t.Errorf("%s: it comes back", name)
		}
	}
}
