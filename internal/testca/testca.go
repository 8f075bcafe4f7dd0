// Package testca is a certificate authority for tests: it issues what TLS
// listeners and clients show, and revokes it.
package testca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// Authority signs certificates for one test.
type Authority struct {
	tb   testing.TB
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	next atomic.Int64
}

// New makes an authority.
func New(tb testing.TB) *Authority {
	tb.Helper()
	a := &Authority{tb: tb}
	pair := a.Issue("test authority", func(c *x509.Certificate) {
		c.IsCA, c.BasicConstraintsValid = true, true
		c.KeyUsage |= x509.KeyUsageCertSign | x509.KeyUsageCRLSign
		c.SubjectKeyId = []byte{1, 2, 3, 4}
	})
	a.cert, a.key = pair.Leaf, pair.PrivateKey.(*ecdsa.PrivateKey)
	return a
}

// Issue makes a certificate with a common name, for 127.0.0.1 and both uses;
// change may alter it before it is signed.
func (a *Authority) Issue(name string, change ...func(*x509.Certificate)) tls.Certificate {
	a.tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.tb.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano() + a.next.Add(1)), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, c := range change {
		c(tmpl)
	}
	parent, signer := tmpl, key
	if a.cert != nil {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, signer)
	if err != nil {
		a.tb.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		a.tb.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// URI is a change that adds a URI to a certificate's names.
func URI(uri string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		if u, err := url.Parse(uri); err == nil {
			c.URIs = append(c.URIs, u)
		}
	}
}

// DNS is a change that adds DNS names.
func DNS(names ...string) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.DNSNames = append(c.DNSNames, names...) }
}

// Pool trusts the authority.
func (a *Authority) Pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// WriteCA writes the authority's own certificate to file.
func (a *Authority) WriteCA(file string) {
	a.tb.Helper()
	a.write(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}))
}

// Write writes a certificate and its key to name.crt and name.key in dir, and
// returns the two paths.
func (a *Authority) Write(dir, name string, c tls.Certificate) (crt, key string) {
	a.tb.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		a.tb.Fatal(err)
	}
	crt, key = filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	a.write(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	a.write(crt, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]}))
	return crt, key
}

// WriteCRL writes a list that revokes these certificates.
func (a *Authority) WriteCRL(file string, revoked ...tls.Certificate) {
	a.tb.Helper()
	tmpl := &x509.RevocationList{Number: big.NewInt(a.next.Add(1)), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(time.Hour)}
	for _, c := range revoked {
		tmpl.RevokedCertificateEntries = append(tmpl.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: c.Leaf.SerialNumber, RevocationTime: time.Now().Add(-time.Minute)})
	}
	der, err := x509.CreateRevocationList(rand.Reader, tmpl, a.cert, a.key)
	if err != nil {
		a.tb.Fatal(err)
	}
	a.write(file, pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}))
}

// write replaces the file at once, as whoever renews certificates does, and
// gives it a time of its own.
func (a *Authority) write(file string, content []byte) {
	a.tb.Helper()
	temporary := file + ".new"
	if err := os.WriteFile(temporary, content, 0o600); err != nil {
		a.tb.Fatal(err)
	}
	when := time.Now().Add(time.Duration(a.next.Add(1)) * time.Second)
	if err := os.Chtimes(temporary, when, when); err != nil {
		a.tb.Fatal(err)
	}
	if err := os.Rename(temporary, file); err != nil {
		a.tb.Fatal(err)
	}
}
