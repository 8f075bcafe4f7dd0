// Package certs keeps a listener's certificate, key, client CA and revocation
// list in step with their files: what an ACME client or an installer puts there
// is used from the next handshake on, and no connection is dropped for it.
package certs

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/headgate-io/headgate/gateway/config"
)

// PollEvery is how often Watch looks at the files.
const PollEvery = 30 * time.Second

// maxFile bounds one file.
const maxFile = 4 << 20

// Source is what a listener shows and asks of its clients, as the files had it
// when they were last good. It may be used from any goroutine.
type Source struct {
	name  string // of the listener
	files config.TLS
	min   uint16
	now   func() time.Time
	log   *slog.Logger

	change sync.Mutex // held through a reload; guards seen and failed
	seen   []stamp
	failed []stamp // of the last files that were no good, and were reported

	current atomic.Pointer[loaded]

	reloads, failures, revoked atomic.Uint64
}

// loaded is one state of the files, immutable.
type loaded struct {
	config *tls.Config
	leaf   *x509.Certificate
	cas    []*x509.Certificate
	crl    *x509.RevocationList
}

// New loads the files of the listener called name, which must be good, for
// clients of at least the TLS version min. Their certificates are judged by now,
// which on a board without a battery knows better than the machine's clock; nil
// is time.Now.
func New(name string, files config.TLS, min uint16, now func() time.Time, log *slog.Logger) (*Source, error) {
	if now == nil {
		now = time.Now
	}
	s := &Source{name: name, files: files, min: min, now: now, log: log, seen: stamps(files)}
	l, err := s.load()
	if err != nil {
		return nil, err
	}
	s.current.Store(l)
	return s, nil
}

// Config is the listener's configuration. It hands out what the files hold at
// each handshake.
func (s *Source) Config() *tls.Config {
	return &tls.Config{
		MinVersion: s.min,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return s.current.Load().config, nil
		},
	}
}

// Watch looks at the files every PollEvery until ctx ends, and loads them when
// they have changed.
func (s *Source) Watch(ctx context.Context) {
	tick := time.NewTicker(PollEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.poll()
		}
	}
}

func (s *Source) poll() {
	s.change.Lock()
	defer s.change.Unlock()
	if now := stamps(s.files); !slices.Equal(now, s.seen) {
		// What is no good yet may be half of a change: it is tried again at
		// the next poll, and reported once.
		_ = s.reloadLocked(now)
	}
}

// Reload loads the files now. Where they are no good, what was loaded before
// stays, and the error says what is wrong.
func (s *Source) Reload() error {
	s.change.Lock()
	defer s.change.Unlock()
	s.failed = nil
	return s.reloadLocked(stamps(s.files))
}

func (s *Source) reloadLocked(now []stamp) error {
	l, err := s.load()
	if err != nil {
		if !slices.Equal(now, s.failed) {
			s.failed = now
			s.failures.Add(1)
			s.log.Error("TLS files are not good: the ones before stay in use", "listener", s.name, "error", err, "expires", s.current.Load().leaf.NotAfter)
		}
		return err
	}
	s.seen, s.failed = now, nil
	s.current.Store(l)
	s.reloads.Add(1)
	s.log.Info("TLS files loaded", "listener", s.name, "subject", l.leaf.Subject.String(), "expires", l.leaf.NotAfter)
	return nil
}

func (s *Source) load() (*loaded, error) {
	cert, err := readFile("tls.certificate", s.files.Certificate)
	if err != nil {
		return nil, err
	}
	key, err := readFile("tls.key", s.files.Key)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("tls.certificate %s, tls.key %s: %w", s.files.Certificate, s.files.Key, err)
	}
	l := &loaded{leaf: pair.Leaf, config: &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: s.min, Time: s.now}}
	if s.files.ClientCA == "" {
		return l, nil
	}
	if err := s.loadClientCA(l); err != nil {
		return nil, err
	}
	l.config.ClientAuth = tls.VerifyClientCertIfGiven
	if s.files.RequireClient {
		l.config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	// A resumed session would not be checked against the files as they are
	// then, but as they were.
	l.config.SessionTicketsDisabled = true
	l.config.VerifyConnection = func(c tls.ConnectionState) error { return s.checkRevoked(l, c) }
	return l, nil
}

func (s *Source) loadClientCA(l *loaded) error {
	raw, err := readFile("tls.client_ca", s.files.ClientCA)
	if err != nil {
		return err
	}
	l.config.ClientCAs = x509.NewCertPool()
	for block, rest := pem.Decode(raw); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		ca, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return fmt.Errorf("tls.client_ca %s: %w", s.files.ClientCA, err)
		}
		l.cas = append(l.cas, ca)
		l.config.ClientCAs.AddCert(ca)
	}
	if len(l.cas) == 0 {
		return fmt.Errorf("tls.client_ca: %s holds no certificate in PEM", s.files.ClientCA)
	}
	if s.files.CRL == "" {
		return nil
	}
	return s.loadCRL(l)
}

// loadCRL takes a list that one of the CAs has signed. One that is past its
// next update is used, and reported: a gateway may be offline for weeks, and an
// old list is better than none.
func (s *Source) loadCRL(l *loaded) error {
	raw, err := readFile("tls.crl", s.files.CRL)
	if err != nil {
		return err
	}
	if block, _ := pem.Decode(raw); block != nil {
		raw = block.Bytes
	}
	l.crl, err = x509.ParseRevocationList(raw)
	if err != nil {
		return fmt.Errorf("tls.crl %s: %w", s.files.CRL, err)
	}
	signed := slices.ContainsFunc(l.cas, func(ca *x509.Certificate) bool { return l.crl.CheckSignatureFrom(ca) == nil })
	if !signed {
		return fmt.Errorf("tls.crl %s: none of the CAs in tls.client_ca has signed it", s.files.CRL)
	}
	if !l.crl.NextUpdate.IsZero() && s.now().After(l.crl.NextUpdate) {
		s.log.Warn("the revocation list is old: have the CA issue another", "listener", s.name, "file", s.files.CRL, "next_update", l.crl.NextUpdate)
	}
	return nil
}

var errRevoked = errors.New("the client's certificate is revoked (tls.crl)")

func (s *Source) checkRevoked(l *loaded, c tls.ConnectionState) error {
	if l.crl == nil {
		return nil
	}
	for _, chain := range c.VerifiedChains {
		for _, cert := range chain {
			if !bytes.Equal(cert.RawIssuer, l.crl.RawIssuer) {
				continue
			}
			for i := range l.crl.RevokedCertificateEntries {
				if l.crl.RevokedCertificateEntries[i].SerialNumber.Cmp(cert.SerialNumber) == 0 {
					s.revoked.Add(1)
					return errRevoked
				}
			}
		}
	}
	return nil
}

// Stats are a source's counters.
type Stats struct {
	// Reloads were good, Failures were files that were not.
	Reloads, Failures uint64
	// Revoked handshakes were refused by the revocation list.
	Revoked uint64
	// CertificateExpires is when the listener's certificate does, in seconds
	// since the Unix epoch.
	CertificateExpires int64
}

// Add adds the counters of another source; the certificate that expires first
// counts.
func (s *Stats) Add(o Stats) {
	s.Reloads, s.Failures, s.Revoked = s.Reloads+o.Reloads, s.Failures+o.Failures, s.Revoked+o.Revoked
	if s.CertificateExpires == 0 || o.CertificateExpires < s.CertificateExpires {
		s.CertificateExpires = o.CertificateExpires
	}
}

// Stats returns the counters now.
func (s *Source) Stats() Stats {
	return Stats{
		Reloads: s.reloads.Load(), Failures: s.failures.Load(), Revoked: s.revoked.Load(),
		CertificateExpires: s.current.Load().leaf.NotAfter.Unix(),
	}
}

// Status is what there is to know of a listener's files.
type Status struct {
	Listener string
	Files    config.TLS
	// Subject and the rest are the certificate's.
	Subject             string
	NotBefore, NotAfter time.Time
	// CANotAfter is when the first of the client CAs expires, CRLNextUpdate
	// when another list is due; zero where there is none.
	CANotAfter, CRLNextUpdate time.Time
	// Stale is true when the files have changed and are not in use, because
	// they are not good.
	Stale bool
}

// Status returns it now.
func (s *Source) Status() Status {
	l := s.current.Load()
	st := Status{
		Listener: s.name, Files: s.files, Subject: l.leaf.Subject.String(),
		NotBefore: l.leaf.NotBefore, NotAfter: l.leaf.NotAfter,
	}
	for _, ca := range l.cas {
		if st.CANotAfter.IsZero() || ca.NotAfter.Before(st.CANotAfter) {
			st.CANotAfter = ca.NotAfter
		}
	}
	if l.crl != nil {
		st.CRLNextUpdate = l.crl.NextUpdate
	}
	s.change.Lock()
	defer s.change.Unlock()
	st.Stale = s.failed != nil
	return st
}

// stamp is how a file is told from another one in its place.
type stamp struct {
	modified time.Time
	size     int64
	missing  bool
}

func stamps(t config.TLS) []stamp {
	var out []stamp
	for _, file := range []string{t.Certificate, t.Key, t.ClientCA, t.CRL} {
		if file == "" {
			continue
		}
		info, err := os.Stat(file) // follows links, which is how ACME clients switch
		if err != nil {
			out = append(out, stamp{missing: true})
			continue
		}
		out = append(out, stamp{modified: info.ModTime(), size: info.Size()})
	}
	return out
}

func readFile(field, file string) ([]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", field, err)
	}
	if info.Size() > maxFile || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: %s is not a file of at most %d bytes", field, file, maxFile)
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", field, err)
	}
	return raw, nil
}
