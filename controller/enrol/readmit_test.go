package enrol_test

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/headgate-io/headgate/controller/enrol"
	"github.com/headgate-io/headgate/controller/store"
)

// restoredFrom has the rig go on with a copy of its database.
func (r *rig) restoredFrom(copied string, from time.Time) {
	r.t.Helper()
	s, err := store.Open(r.t.Context(), "sqlite:"+copied)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = s.Close() })
	err = s.Update(r.t.Context(), func(tx *store.Tx) error {
		return tx.AddWindow(r.t.Context(), store.Window{From: from, To: r.clock.now()})
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.store, r.service = s, enrol.New(s, r.authority, slog.New(slog.DiscardHandler), r.clock.now)
}

func issuedTo(t *testing.T, m enrol.Member) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(m.Issued.Chain)
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// What enrolled between a backup and its restore is readmitted by its certificate,
// once, and in no other time; who was put out stays out.
func TestReadmittedAfterARestore(t *testing.T) {
	r := newRig(t, sqlite(t))
	_, _, _ = r.member("before")
	early, earlyCert, _ := r.member("early")
	old, oldCert, _ := r.member("replaced")
	if err := r.store.Update(t.Context(), func(tx *store.Tx) error { return tx.RemoveGateway(t.Context(), early.Gateway.ID) }); err != nil {
		t.Fatal(err)
	}
	r.clock.add(time.Hour)
	copied := filepath.Join(t.TempDir(), "copy.db")
	if _, err := r.store.Copy(t.Context(), copied); err != nil {
		t.Fatal(err)
	}
	from := r.clock.now()
	r.clock.add(time.Minute)
	fresh, freshCert, key := r.member("fresh")
	replacing, err := r.enrol(r.token(enrol.NewToken{Replace: old.Gateway.ID}), newKey(t), "")
	if err != nil {
		t.Fatal(err)
	}
	r.clock.add(time.Minute)
	r.restoredFrom(copied, from)
	r.clock.add(time.Minute)

	g, err := r.service.Identify(t.Context(), freshCert)
	if err != nil || g.ID != fresh.Gateway.ID || g.Tenant != "acme" || g.Name != "gw-"+g.ID[:8] {
		t.Fatalf("%+v, %v", g, err)
	}
	if m, err := r.service.Renew(t.Context(), freshCert, csr(t, key)); err != nil || m.Gateway.ID != g.ID {
		t.Errorf("it does not renew: %v", err)
	}
	if n := r.service.Stats().Readmitted; n != 1 {
		t.Errorf("%d were readmitted", n)
	}
	// The old hardware is out again as soon as the new one shows itself.
	if _, err := r.service.Identify(t.Context(), oldCert); err != nil {
		t.Errorf("nobody knows of the replacement yet: %v", err)
	}
	if g, err := r.service.Identify(t.Context(), issuedTo(t, replacing)); err != nil || g.ID != old.Gateway.ID || g.Name != "replaced" {
		t.Errorf("%+v, %v", g, err)
	}
	if _, err := r.service.Identify(t.Context(), oldCert); !errors.Is(err, enrol.ErrDenied) {
		t.Errorf("the hardware that was replaced: %v", err)
	}
	if _, err := r.service.Identify(t.Context(), earlyCert); !errors.Is(err, enrol.ErrDenied) {
		t.Errorf("one that was deleted before the backup: %v", err)
	}
	// To delete it counts, though its certificate is of the time.
	if err := r.store.Update(t.Context(), func(tx *store.Tx) error { return tx.RemoveGateway(t.Context(), g.ID) }); err != nil {
		t.Fatal(err)
	}
	if _, err := r.service.Identify(t.Context(), freshCert); !errors.Is(err, enrol.ErrDenied) {
		t.Errorf("one that was deleted after the restore: %v", err)
	}
	// A certificate of before or after the time is nobody's.
	public := newKey(t)
	for _, at := range []time.Duration{-2 * time.Hour, time.Minute} {
		r.clock.add(at)
		issued, err := r.authority.Gateway("somebodyelse", "acme", &public.PublicKey)
		r.clock.add(-at)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.service.Identify(t.Context(), issuedTo(t, enrol.Member{Issued: issued})); !errors.Is(err, enrol.ErrDenied) {
			t.Errorf("issued %v off: %v", at, err)
		}
	}
}

// A certificate of the lost day brings nobody back whose place was taken since: on
// that day, or after the restore.
func TestReplacedStaysReplacedAfterARestore(t *testing.T) {
	for _, when := range []string{"on the lost day", "after the restore", "of one that renewed with another key"} {
		r := newRig(t, sqlite(t))
		known, knownCert, _ := r.member("known")
		r.clock.add(time.Hour)
		copied := filepath.Join(t.TempDir(), "copy.db")
		if _, err := r.store.Copy(t.Context(), copied); err != nil {
			t.Fatal(err)
		}
		from := r.clock.now()
		r.clock.add(time.Minute)
		lost := func() enrol.Member {
			var m enrol.Member
			var err error
			if when == "of one that renewed with another key" {
				m, err = r.service.Renew(t.Context(), knownCert, csr(t, newKey(t)))
			} else {
				m, err = r.enrol(r.token(enrol.NewToken{Replace: known.Gateway.ID}), newKey(t), "")
			}
			if err != nil {
				t.Fatal(err)
			}
			r.clock.add(time.Minute)
			return m
		}
		out := lost()
		last := out
		if when == "on the lost day" {
			last = lost()
		}
		r.restoredFrom(copied, from)
		r.clock.add(time.Minute)
		if when != "on the lost day" {
			var err error
			if last, err = r.enrol(r.token(enrol.NewToken{Replace: known.Gateway.ID}), newKey(t), ""); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := r.service.Identify(t.Context(), issuedTo(t, last)); err != nil {
			t.Errorf("%s: the one that has the place: %v", when, err)
		}
		if _, err := r.service.Identify(t.Context(), issuedTo(t, out)); !errors.Is(err, enrol.ErrDenied) {
			t.Errorf("%s: the one whose place was taken: %v", when, err)
		}
		if _, err := r.service.Identify(t.Context(), issuedTo(t, last)); err != nil {
			t.Errorf("%s: the one that has the place, afterwards: %v", when, err)
		}
	}
}
