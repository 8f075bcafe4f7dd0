package ca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"
)

// Server is the controller's own certificate, which renews itself. It may be
// used from any goroutine.
type Server struct {
	authority *Authority
	names     []string
	addresses []net.IP

	mu      sync.Mutex
	current *tls.Certificate
	renew   time.Time
	issued  uint64
}

// Server makes the certificate of a server with these names and addresses.
func (a *Authority) Server(names []string) (*Server, error) {
	s := &Server{authority: a}
	s.names, s.addresses = split(names)
	_, err := s.Certificate(nil)
	return s, err
}

// Broker makes the certificate of another server that gateways trust: a broker
// beside the controller. What it says of the key is its owner's word.
func (a *Authority) Broker(names []string, life time.Duration, public *ecdsa.PublicKey) (Issued, error) {
	hosts, addresses := split(names)
	now := a.now()
	der, err := a.serve("Headgate broker", hosts, addresses, now, life, public)
	if err != nil {
		return Issued{}, fmt.Errorf("sign a broker's certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return Issued{}, err
	}
	return Issued{Chain: append(encode(der), a.PEM()...), Serial: leaf.SerialNumber.Text(16), NotBefore: leaf.NotBefore, Expires: leaf.NotAfter}, nil
}

// serve makes a certificate of a server, in DER.
func (a *Authority) serve(name string, hosts []string, addresses []net.IP, now time.Time, life time.Duration, public *ecdsa.PublicKey) ([]byte, error) {
	tmpl := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: name}, DNSNames: hosts, IPAddresses: addresses,
		NotBefore: now.Add(-backdate), NotAfter: now.Add(life),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	return x509.CreateCertificate(rand.Reader, tmpl, a.certificate, public, a.key)
}

// split tells addresses from names.
func split(names []string) (hosts []string, addresses []net.IP) {
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			addresses = append(addresses, ip)
		} else {
			hosts = append(hosts, name)
		}
	}
	return hosts, addresses
}

// Certificate returns the certificate of now; it is for tls.Config's
// GetCertificate, and for GetClientCertificate's answers.
func (s *Server) Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.authority.now()
	if s.current != nil && now.Before(s.renew) && !now.Before(s.current.Leaf.NotBefore) {
		return s.current, nil
	}
	c, err := s.issue(now)
	if err != nil {
		return nil, err
	}
	s.current, s.renew = c, now.Add(serverLife*2/3)
	s.issued++
	return c, nil
}

func (s *Server) issue(now time.Time) (*tls.Certificate, error) {
	a := s.authority
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := a.serve("Headgate controller", s.names, s.addresses, now, serverLife, &key.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("sign the controller's certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	// The authority's own certificate goes along: a gateway knows it by its
	// fingerprint alone.
	return &tls.Certificate{Certificate: [][]byte{der, a.certificate.Raw}, PrivateKey: key, Leaf: leaf}, nil
}

// Stats counts the controller's certificates.
type Stats struct {
	// Issued counts those that were made since the start.
	Issued uint64
	// Remaining is how long the present one is good.
	Remaining time.Duration
}

// Stats returns the counters.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Stats{Issued: s.issued, Remaining: s.current.Leaf.NotAfter.Sub(s.authority.now())}
}

// Has reports whether the certificate is for a name or address.
func (s *Server) Has(host string) bool {
	if ip := net.ParseIP(host); ip != nil {
		return slices.ContainsFunc(s.addresses, ip.Equal)
	}
	return slices.Contains(s.names, host)
}

// Name is a name or an address that the certificate is for.
func (s *Server) Name() string {
	if len(s.names) > 0 {
		return s.names[0]
	}
	if len(s.addresses) > 0 {
		return s.addresses[0].String()
	}
	return ""
}

// Config is that of a server whose clients may show a certificate. Whether it is
// good is judged by what they ask for, not here: one that has expired may still
// be renewed.
func (s *Server) Config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: s.Certificate, ClientAuth: tls.RequestClientCert}
}
