package device_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/headgate-io/headgate/gateway/config"
	"github.com/headgate-io/headgate/gateway/device"
	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/gateway/throttle"
	"github.com/headgate-io/headgate/internal/testca"
	"github.com/headgate-io/headgate/mqtt/broker"
)

func openWith(t *testing.T, o device.Options) *device.Registry {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{Path: filepath.Join(t.TempDir(), "headgate.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return device.New(s, o)
}

func add(t *testing.T, r *device.Registry, d store.Device) string {
	t.Helper()
	d.Publish = []string{"#"}
	password, err := r.Add(t.Context(), d, "")
	if err != nil {
		t.Fatal(err)
	}
	return password
}

func TestCertificateName(t *testing.T) {
	ca := testca.New(t)
	for _, c := range []struct {
		want string
		cert *x509.Certificate
	}{
		{"soil-3", ca.Issue("soil-3").Leaf},
		{"soil-3", ca.Issue("anything", testca.DNS("soil-3")).Leaf},
		{"", ca.Issue("soil-3", testca.DNS("a", "b")).Leaf},
		{"soil-3", ca.Issue("x", testca.DNS("a", "b"), testca.URI("urn:headgate:device:soil-3")).Leaf},
		{"", ca.Issue("x", testca.URI("urn:headgate:device:a"), testca.URI("urn:headgate:device:b")).Leaf},
		{"soil-3", ca.Issue("soil-3", testca.URI("spiffe://farm/other")).Leaf},
		{"", ca.Issue("Soil probe 3").Leaf},
		{"", ca.Issue("../soil-3").Leaf},
		{"", ca.Issue("").Leaf},
	} {
		if got := device.CertificateName(c.cert); got != c.want {
			t.Errorf("%v %v %v: %q, want %q", c.cert.Subject, c.cert.DNSNames, c.cert.URIs, got, c.want)
		}
	}
}

// TestWhoIsAdmittedByWhat tries certificates and passwords on listeners of
// every kind.
func TestWhoIsAdmittedByWhat(t *testing.T) {
	r := openWith(t, device.Options{Identity: map[string]string{"certs": config.IdentityCertificate, "passwords": config.IdentityPassword}})
	add(t, r, store.Device{Name: "card", Certificate: true})
	password := add(t, r, store.Device{Name: "word"})
	add(t, r, store.Device{Name: "gone", Certificate: true})
	if err := r.Revoke(t.Context(), "gone"); err != nil {
		t.Fatal(err)
	}
	ca := testca.New(t)
	certs := map[string]*x509.Certificate{"": nil}
	for _, name := range []string{"card", "word", "gone", "fleet"} {
		certs[name] = ca.Issue(name).Leaf
	}
	for _, c := range []struct{ listener, cert, user, password, want string }{
		{"any", "card", "", "", "card"},
		{"any", "card", "card", "", "card"},
		{"any", "card", "word", password, ""}, // one device's certificate, another's password
		{"any", "", "card", "", ""},
		{"any", "", "card", "x", ""},
		{"any", "word", "", "", ""}, // it was added with a password
		{"any", "word", "word", password, "word"},
		{"any", "fleet", "word", password, "word"}, // the certificate names no device: it is the way in only
		{"any", "fleet", "", "", ""},
		{"any", "gone", "", "", ""},
		{"certs", "card", "", "", "card"},
		{"certs", "word", "", "", "word"},
		{"certs", "", "word", password, ""},
		{"certs", "fleet", "word", password, ""},
		{"certs", "gone", "", "", ""},
		{"passwords", "card", "", "", ""},
		{"passwords", "card", "word", password, "word"},
		{"passwords", "", "word", password, "word"},
	} {
		id, err := r.Authenticate(t.Context(), broker.Credentials{
			Client: "c", Username: c.user, Password: []byte(c.password), Certificate: certs[c.cert], Listener: c.listener,
		})
		if err != nil && !errors.Is(err, broker.ErrBadCredentials) || id.User != c.want {
			t.Errorf("%+v: %+v, %v", c, id, err)
		}
	}
	if _, err := r.Add(t.Context(), store.Device{Name: "both", Certificate: true, Publish: []string{"#"}}, "correct horse"); !errors.Is(err, device.ErrInvalid) {
		t.Errorf("a certificate and a password: %v", err)
	}
	if _, _, err := r.Rotate(t.Context(), "card"); !errors.Is(err, device.ErrInvalid) || !strings.Contains(err.Error(), "tls.crl") {
		t.Errorf("a new password for a certificate: %v", err)
	}
}

func TestRevokeRestoreRotate(t *testing.T) {
	r := openWith(t, device.Options{})
	password := add(t, r, store.Device{Name: "soil-3"})
	refused := func(password, when string) {
		t.Helper()
		if _, err := login(t, r, "soil-3", password); !errors.Is(err, broker.ErrBadCredentials) {
			t.Errorf("%s: %v", when, err)
		}
	}
	admitted := func(password, when string) {
		t.Helper()
		if _, err := login(t, r, "soil-3", password); err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(r.Revoke(t.Context(), "soil-3"))
	refused(password, "revoked")
	must(r.Restore(t.Context(), "soil-3"))
	admitted(password, "restored")
	must(r.Revoke(t.Context(), "soil-3"))
	_, next, err := r.Rotate(t.Context(), "soil-3")
	must(err)
	refused(password, "the password before")
	admitted(next, "rotated")
	if err := r.Revoke(t.Context(), "nobody"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a device that is not there: %v", err)
	}
}

// TestClientIDsBelongToDevices: no device is called what another one may be
// called, whatever it asks for.
func TestClientIDsBelongToDevices(t *testing.T) {
	r := openWith(t, device.Options{})
	passwords := map[string]string{}
	for _, name := range []string{"a", "ab", "a-b", "soil-3"} {
		passwords[name] = add(t, r, store.Device{Name: name})
	}
	taken := map[string]string{}
	for name, password := range passwords {
		for _, client := range []string{"a", "ab", "a-b", "a:1", "a/1", "ab/1", "soil-3", "soil-3:x", "mqttjs_1", "", "a/a", "ab:a"} {
			id, err := r.Authenticate(t.Context(), broker.Credentials{Client: client, Username: name, Password: []byte(password)})
			if err != nil {
				t.Fatal(err)
			}
			if owner, ok := taken[id.Client]; ok && owner != name {
				t.Errorf("%s and %s may both be called %q", owner, name, id.Client)
			}
			taken[id.Client] = name
			if client == name && id.Client != name {
				t.Errorf("%s may not have its own name: %q", name, id.Client)
			}
		}
	}
	for client, want := range map[string]string{"soil-3:log": "soil-3:log", "mqttjs_1": "soil-3/mqttjs_1", "soil-33": "soil-3/soil-33"} {
		id, err := r.Authenticate(t.Context(), broker.Credentials{Client: client, Username: "soil-3", Password: []byte(passwords["soil-3"])})
		if err != nil || id.Client != want {
			t.Errorf("%s is called %q, want %q (%v)", client, id.Client, want, err)
		}
	}
}

// TestGuessesAreHeldUp guesses from one address, for a name that exists and for
// one that does not: both are answered alike, and neither guess is checked any
// more once the budget is gone. The device itself goes on from its own address.
func TestGuessesAreHeldUp(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	guard := throttle.New(throttle.Config{Now: func() time.Time { return now }})
	r := openWith(t, device.Options{Guesses: guard})
	password := add(t, r, store.Device{Name: "soil-3"})
	from := func(address, name, password string) error {
		_, err := r.Authenticate(t.Context(), broker.Credentials{Client: "c", Username: name, Password: []byte(password), RemoteAddr: address})
		return err
	}
	if err := from("192.0.2.7:1", "soil-3", password); err != nil {
		t.Fatal(err)
	}
	var answers [2][]string
	for i, name := range []string{"soil-3", "nobody"} {
		for n := range 15 {
			answers[i] = append(answers[i], from(fmt.Sprintf("198.51.100.%d:%d", i, n), name, "wrong").Error())
		}
	}
	if fmt.Sprint(answers[0]) != fmt.Sprint(answers[1]) {
		t.Errorf("a name that exists is answered unlike one that does not:\n%q\n%q", answers[0], answers[1])
	}
	if err := from("198.51.100.0:99", "soil-3", password); !errors.Is(err, broker.ErrTooManyFailures) {
		t.Errorf("the right password among the guesses: %v", err)
	}
	for n := range 200 { // and now from everywhere
		_ = from(fmt.Sprintf("203.0.113.%d:1", n), "soil-3", "wrong")
	}
	if err := from("203.0.113.250:1", "soil-3", password); !errors.Is(err, broker.ErrTooManyFailures) {
		t.Errorf("the right password from a new address: %v", err)
	}
	if err := from("192.0.2.7:2", "soil-3", password); err != nil {
		t.Errorf("from its own address: %v", err)
	}
	now = now.Add(time.Minute)
	if err := from("203.0.113.250:1", "soil-3", password); err != nil {
		t.Errorf("a minute later from the new address: %v", err)
	}
}

// Names that no device can have fill no table.
func TestImpossibleNamesFillNoTable(t *testing.T) {
	guard := throttle.New(throttle.Config{})
	r := openWith(t, device.Options{Guesses: guard})
	for i := range 100 {
		_, err := r.Authenticate(t.Context(), broker.Credentials{
			Username: strings.Repeat("x", 100+i), Password: []byte("x"), RemoteAddr: fmt.Sprintf("198.51.100.%d:1", i),
		})
		if !errors.Is(err, broker.ErrBadCredentials) {
			t.Fatal(err)
		}
	}
	if s := guard.Stats(); s.Identities != 0 || s.Addresses != 100 {
		t.Errorf("stats %+v", s)
	}
}
