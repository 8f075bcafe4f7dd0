package enrol_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/headgate-io/headgate/controller/ca"
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

// rig is a controller's enrolment with one tenant.
type rig struct {
	t         *testing.T
	store     *store.Store
	authority *ca.Authority
	service   *enrol.Service
	clock     *clock
}

// clock is moved by hand.
type clock struct{ at atomic.Int64 }

func (c *clock) now() time.Time      { return time.Unix(0, c.at.Load()) }
func (c *clock) add(d time.Duration) { c.at.Add(int64(d)) }

func newRig(t *testing.T, dsn string) *rig {
	t.Helper()
	r := &rig{t: t, clock: &clock{}}
	r.clock.at.Store(time.Now().UnixNano())
	var err error
	if r.store, err = store.Open(t.Context(), dsn); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.store.Close() })
	if r.authority, err = ca.Open(t.TempDir(), r.clock.now); err != nil {
		t.Fatal(err)
	}
	r.service = enrol.New(r.store, r.authority, slog.New(slog.DiscardHandler), r.clock.now)
	err = r.store.Update(t.Context(), func(tx *store.Tx) error {
		return tx.AddTenant(t.Context(), store.Tenant{ID: "acme", Name: "acme"})
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func sqlite(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "c.db") }

func (r *rig) token(n enrol.NewToken) string {
	r.t.Helper()
	if n.Life == 0 {
		n.Life = time.Hour
	}
	if n.Uses == 0 {
		n.Uses = 1
	}
	var secret string
	err := r.store.Update(r.t.Context(), func(tx *store.Tx) (err error) {
		_, secret, err = r.service.Token(r.t.Context(), tx, "acme", n)
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return secret
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func csr(t *testing.T, key any) string {
	t.Helper()
	// What it claims must not matter.
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "somebodyelse", Organization: []string{"other"}}, DNSNames: []string{"controller"},
	}, key)
	if err != nil {
		t.Fatal(err)
	}
	return armoured("CERTIFICATE REQUEST", der)
}

func armoured(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func (r *rig) enrol(token string, key *ecdsa.PrivateKey, name string) (enrol.Member, error) {
	return r.service.Enrol(r.t.Context(), enrol.Request{Token: token, CSR: csr(r.t, key), Name: name, Hardware: "hw", Version: "1", Arch: "arm64"})
}

func (r *rig) member(name string) (enrol.Member, *x509.Certificate, *ecdsa.PrivateKey) {
	r.t.Helper()
	key := newKey(r.t)
	m, err := r.enrol(r.token(enrol.NewToken{Labels: map[string]string{"batch": "7"}}), key, name)
	if err != nil {
		r.t.Fatal(err)
	}
	return m, leaf(r.t, m), key
}

func leaf(t *testing.T, m enrol.Member) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(m.Issued.Chain)
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func denied(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

func TestEnrolAndRenew(t *testing.T) {
	r := newRig(t, sqlite(t))
	m, c, key := r.member("gw-1")
	if c.Subject.CommonName != m.Gateway.ID || c.Subject.Organization[0] != "acme" || len(c.DNSNames) > 0 || m.Gateway.Labels["batch"] != "7" {
		t.Errorf("certificate of %v, gateway %+v", c.Subject, m.Gateway)
	}
	if g, err := r.service.Identify(t.Context(), c); err != nil || g.ID != m.Gateway.ID {
		t.Errorf("%+v, %v", g, err)
	}
	r.clock.add(ca.GatewayLife * 2 / 3)
	next := newKey(t)
	renewed, err := r.service.Renew(t.Context(), c, csr(t, next))
	if err != nil {
		t.Fatal(err)
	}
	// The answer may be lost: the old certificate is good until the new one is used.
	for range 2 {
		if _, err := r.service.Renew(t.Context(), c, csr(t, next)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.service.Renew(t.Context(), leaf(t, renewed), csr(t, next)); err != nil {
		t.Fatal(err)
	}
	_, err = r.service.Identify(t.Context(), c)
	denied(t, "an old key after the new one was used", err, enrol.ErrDenied)
	_, err = r.service.Renew(t.Context(), leaf(t, renewed), csr(t, key))
	denied(t, "a key that was given up", err, enrol.ErrConflict)
}

// The same token with the same key is the same gateway; one use is one gateway.
func TestLostAnswer(t *testing.T) {
	r := newRig(t, sqlite(t))
	token, key := r.token(enrol.NewToken{}), newKey(t)
	first, err := r.enrol(token, key, "")
	if err != nil {
		t.Fatal(err)
	}
	again, err := r.enrol(token, key, "")
	if err != nil || again.Gateway.ID != first.Gateway.ID || again.Gateway.Name != first.Gateway.Name {
		t.Errorf("%+v, %v", again.Gateway, err)
	}
	_, err = r.enrol(token, newKey(t), "")
	denied(t, "another key with a token for one", err, enrol.ErrDenied)
	_, err = r.enrol(r.token(enrol.NewToken{}), key, "")
	denied(t, "the key with another token", err, enrol.ErrConflict)
}

func TestRefusedRequests(t *testing.T) {
	r := newRig(t, sqlite(t))
	other := newRig(t, sqlite(t))
	good := csr(t, newKey(t))
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode([]byte(good))
	block.Bytes[len(block.Bytes)-1] ^= 1
	expired := r.token(enrol.NewToken{Life: time.Second})
	r.clock.add(2 * time.Second)
	token := r.token(enrol.NewToken{})
	r.member("taken")
	cases := []struct {
		name string
		r    enrol.Request
		want error
	}{
		{"no token", enrol.Request{CSR: good}, enrol.ErrInvalid},
		{"a token of another controller", enrol.Request{Token: other.token(enrol.NewToken{}), CSR: good}, enrol.ErrInvalid},
		{"a guessed token", enrol.Request{Token: "hge_" + rand.Text() + "_" + r.authority.Fingerprint(), CSR: good}, enrol.ErrDenied},
		{"an expired token", enrol.Request{Token: expired, CSR: good}, enrol.ErrDenied},
		{"a huge request", enrol.Request{Token: token, CSR: strings.Repeat("A", 1<<20)}, enrol.ErrInvalid},
		{"no request", enrol.Request{Token: token, CSR: "x"}, enrol.ErrInvalid},
		{"two requests", enrol.Request{Token: token, CSR: good + good}, enrol.ErrInvalid},
		{"an RSA key", enrol.Request{Token: token, CSR: csr(t, rsaKey)}, enrol.ErrInvalid},
		{"another curve", enrol.Request{Token: token, CSR: csr(t, p384)}, enrol.ErrInvalid},
		{"a signature that is not the key's", enrol.Request{Token: token, CSR: armoured(block.Type, block.Bytes)}, enrol.ErrInvalid},
		{"a name that is none", enrol.Request{Token: token, CSR: good, Name: "../etc"}, enrol.ErrInvalid},
		{"a long hardware", enrol.Request{Token: token, CSR: good, Hardware: strings.Repeat("h", 1000)}, enrol.ErrInvalid},
		{"a name that is taken", enrol.Request{Token: token, CSR: good, Name: "taken"}, enrol.ErrConflict},
		{"a place that the token does not give", enrol.Request{Token: token, CSR: good, Replace: "taken"}, enrol.ErrDenied},
	}
	for _, c := range cases {
		_, err := r.service.Enrol(t.Context(), c.r)
		denied(t, c.name, err, c.want)
	}
	if _, err := r.service.Enrol(t.Context(), enrol.Request{Token: token, CSR: good}); err != nil {
		t.Errorf("what was refused has used the token up: %v", err)
	}
}

func TestCertificateAttacks(t *testing.T) {
	r := newRig(t, sqlite(t))
	one, certOne, keyOne := r.member("one")
	two, certTwo, _ := r.member("two")
	_ = one

	forged := testca.New(t).Issue(two.Gateway.ID, func(c *x509.Certificate) { c.Subject.Organization = []string{"acme"} }).Leaf
	_, err := r.service.Identify(t.Context(), forged)
	denied(t, "a forged authority", err, enrol.ErrDenied)
	_, err = r.service.Renew(t.Context(), forged, csr(t, newKey(t)))
	denied(t, "a forged authority renewing", err, enrol.ErrDenied)

	server, err := r.authority.Server([]string{two.Gateway.ID})
	if err != nil {
		t.Fatal(err)
	}
	own, err := server.Certificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.service.Identify(t.Context(), own.Leaf)
	denied(t, "the controller's certificate as a gateway's", err, enrol.ErrDenied)

	_, err = r.service.Renew(t.Context(), certTwo, csr(t, keyOne))
	denied(t, "another gateway's key", err, enrol.ErrConflict)
	// One gateway's key in a certificate with another's name is made by nobody;
	// were it made, the key's own gateway would be asked for.
	public := &keyOne.PublicKey
	mixed, err := r.authority.Gateway(two.Gateway.ID, "acme", public)
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.service.Identify(t.Context(), leaf(t, enrol.Member{Issued: mixed}))
	denied(t, "a key under another's name", err, enrol.ErrDenied)

	r.revoke(two.Gateway.ID)
	_, err = r.service.Identify(t.Context(), certTwo)
	denied(t, "a revoked gateway", err, enrol.ErrDenied)
	_, err = r.service.Renew(t.Context(), certTwo, csr(t, newKey(t)))
	denied(t, "a revoked gateway renewing", err, enrol.ErrDenied)

	r.clock.add(ca.GatewayLife + time.Hour)
	_, err = r.service.Identify(t.Context(), certOne)
	denied(t, "an expired certificate", err, enrol.ErrDenied)
	r.clock.add(ca.Grace)
	_, err = r.service.Renew(t.Context(), certOne, csr(t, keyOne))
	denied(t, "expired for too long", err, enrol.ErrDenied)
	r.clock.add(-2 * time.Hour)
	if _, err := r.service.Renew(t.Context(), certOne, csr(t, keyOne)); err != nil {
		t.Errorf("within the grace: %v", err)
	}
}

func (r *rig) revoke(id string) {
	r.t.Helper()
	err := r.store.Update(r.t.Context(), func(tx *store.Tx) error {
		g, err := tx.Gateway(r.t.Context(), id)
		if err != nil {
			return err
		}
		g.Revoked = r.clock.now()
		return tx.SetGateway(r.t.Context(), g)
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// New hardware takes the place; the old one is out, and comes not back.
func TestReplace(t *testing.T) {
	r := newRig(t, sqlite(t))
	m, old, oldKey := r.member("gw-17")
	hello := func(session uint64) (fresh bool) {
		t.Helper()
		err := r.store.Update(t.Context(), func(tx *store.Tx) (err error) {
			fresh, err = tx.SetHello(t.Context(), &store.Status{Gateway: m.Gateway.ID, Hello: r.clock.now(), Session: session})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return fresh
	}
	hello(1<<63 - 1)
	token := r.token(enrol.NewToken{Replace: "gw-17"})
	r.revoke(m.Gateway.ID) // it was stolen
	_, err := r.service.Enrol(t.Context(), enrol.Request{Token: token, CSR: csr(t, newKey(t)), Replace: "gw-18"})
	denied(t, "another place", err, enrol.ErrDenied)
	replaced, err := r.service.Enrol(t.Context(), enrol.Request{Token: token, CSR: csr(t, newKey(t)), Hardware: "new", Replace: "gw-17"})
	if err != nil || replaced.Gateway.ID != m.Gateway.ID || replaced.Gateway.Name != "gw-17" || replaced.Gateway.Hardware != "new" {
		t.Fatalf("%+v, %v", replaced.Gateway, err)
	}
	if _, err := r.service.Identify(t.Context(), leaf(t, replaced)); err != nil {
		t.Error(err)
	}
	if !hello(7) {
		t.Error("what the old hardware said of its connections counts for the new one")
	}
	_, err = r.service.Identify(t.Context(), old)
	denied(t, "the old hardware", err, enrol.ErrDenied)
	_, err = r.service.Renew(t.Context(), old, csr(t, oldKey))
	denied(t, "the old hardware renewing", err, enrol.ErrDenied)
}

// A counted token admits as many as it says, however many come at once, through
// two replicas; requests that come twice are one gateway.
func TestCountedTokenConcurrently(t *testing.T) {
	test := func(t *testing.T, dsn string) {
		r := newRig(t, dsn)
		second, err := store.Open(t.Context(), dsn)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = second.Close() })
		replicas := []*enrol.Service{r.service, enrol.New(second, r.authority, slog.New(slog.DiscardHandler), r.clock.now)}
		const uses, tries = 5, 12
		token := r.token(enrol.NewToken{Uses: uses})
		var mu sync.Mutex
		gateways := map[string]int{}
		var wg sync.WaitGroup
		for range tries {
			request := enrol.Request{Token: token, CSR: csr(t, newKey(t))}
			for _, s := range replicas { // both at once, as after a lost answer
				wg.Go(func() {
					m, err := s.Enrol(context.WithoutCancel(t.Context()), request)
					switch {
					case err == nil:
						mu.Lock()
						gateways[m.Gateway.ID]++
						mu.Unlock()
					case !errors.Is(err, enrol.ErrDenied):
						t.Error(err)
					}
				})
			}
		}
		wg.Wait()
		if len(gateways) != uses {
			t.Errorf("%d gateways, want %d", len(gateways), uses)
		}
		for id, n := range gateways {
			if n != 2 {
				t.Errorf("gateway %s was answered %d times, want 2", id, n)
			}
		}
	}
	t.Run("sqlite", func(t *testing.T) { test(t, sqlite(t)) })
	t.Run("postgres", func(t *testing.T) { test(t, postgres.Database(t)) })
}

// An authority is made once, is its owner's alone, and is never half there.
func TestAuthorityFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	first, err := ca.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	again, err := ca.Open(dir, nil)
	if err != nil || again.Fingerprint() != first.Fingerprint() {
		t.Fatalf("another authority after a restart: %v", err)
	}
	info, err := os.Stat(filepath.Join(dir, "ca.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if err := os.Remove(filepath.Join(dir, "ca.key")); err != nil {
		t.Fatal(err)
	}
	if _, err := ca.Open(dir, nil); err == nil || !strings.Contains(err.Error(), "put it back") {
		t.Errorf("without its key: %v", err)
	}
}
