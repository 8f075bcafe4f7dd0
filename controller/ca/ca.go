// Package ca is the controller's own certificate authority: it says who is a
// gateway, and who is the controller.
package ca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/headgate-io/headgate/internal/durable"
)

// Lifetimes of certificates.
const (
	// GatewayLife is a gateway's: it renews after two thirds.
	GatewayLife = 90 * 24 * time.Hour
	// Grace is for how long after its end a gateway's certificate may still be
	// renewed, and nothing else.
	Grace = 180 * 24 * time.Hour
	// serverLife is the controller's own.
	serverLife = 90 * 24 * time.Hour
	// rootLife is the authority's.
	rootLife = 30 * 365 * 24 * time.Hour
	// backdate is how far a certificate begins before its making, for clocks
	// that are a little behind.
	backdate = time.Hour
)

// Names of the authority's files.
const (
	certificateFile = "ca.crt"
	keyFile         = "ca.key"
)

// Authority signs certificates. It may be used from any goroutine.
type Authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	roots       *x509.CertPool
	now         func() time.Time
}

// In reports whether dir holds an authority, whole or not.
func In(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, certificateFile))
	_, errKey := os.Stat(filepath.Join(dir, keyFile))
	return err == nil || errKey == nil
}

// Open loads the authority in dir, and makes one where there is none. A nil now
// is time.Now.
func Open(dir string, now func() time.Time) (*Authority, error) {
	if now == nil {
		now = time.Now
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "ca.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %w: make the folder writable for this user, or choose another", err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return nil, fmt.Errorf("certificate authority: lock %s: %w", lock.Name(), err)
	}
	a := &Authority{now: now, roots: x509.NewCertPool()}
	crt, key := filepath.Join(dir, certificateFile), filepath.Join(dir, keyFile)
	if err := a.load(crt, key); errors.Is(err, fs.ErrNotExist) {
		err = a.create(crt, key)
		if err != nil {
			return nil, fmt.Errorf("make a certificate authority: %w", err)
		}
	} else if err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	a.roots.AddCert(a.certificate)
	return a, nil
}

// load reads both files; fs.ErrNotExist says that neither is there, or that the
// making of them was interrupted after the first.
func (a *Authority) load(crt, key string) error {
	rawCertificate, errCertificate := os.ReadFile(crt)
	rawKey, errKey := os.ReadFile(key)
	switch {
	case errors.Is(errCertificate, fs.ErrNotExist) && (errKey == nil || errors.Is(errKey, fs.ErrNotExist)):
		return errCertificate
	case errors.Is(errKey, fs.ErrNotExist):
		return fmt.Errorf("%s is there, but %s is not: put it back, for without it no gateway can renew its certificate", crt, key)
	case errCertificate != nil || errKey != nil:
		return errors.Join(errCertificate, errKey)
	}
	block, _ := pem.Decode(rawCertificate)
	if block == nil {
		return fmt.Errorf("%s holds no certificate in PEM", crt)
	}
	var err error
	if a.certificate, err = x509.ParseCertificate(block.Bytes); err != nil {
		return fmt.Errorf("%s: %w", crt, err)
	}
	if block, _ = pem.Decode(rawKey); block == nil {
		return fmt.Errorf("%s holds no key in PEM", key)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	k, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || !k.PublicKey.Equal(a.certificate.PublicKey) {
		return fmt.Errorf("%s is not the key of %s", key, crt)
	}
	a.key = k
	return nil
}

func (a *Authority) create(crt, key string) error {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	spki, err := x509.MarshalPKIXPublicKey(&k.PublicKey)
	if err != nil {
		return err
	}
	id := sha256.Sum256(spki)
	now := a.now()
	tmpl := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "Headgate certificate authority"}, SubjectKeyId: id[:20],
		// Gateways without a clock may verify it at any time of its life.
		NotBefore: now.Add(-24 * time.Hour), NotAfter: now.Add(rootLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &k.PublicKey, k)
	if err != nil {
		return err
	}
	if a.certificate, err = x509.ParseCertificate(der); err != nil {
		return err
	}
	a.key = k
	rawKey, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return err
	}
	// The certificate comes last: with it the authority is there.
	if err := durable.Replace(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: rawKey})); err != nil {
		return err
	}
	return durable.Replace(crt, a.PEM())
}

// serial makes the number of a certificate: 127 random bits.
func serial() *big.Int {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	b[0] &= 0x7f
	b[15] |= 1 // not zero
	return new(big.Int).SetBytes(b)
}

// PEM is the authority's own certificate.
func (a *Authority) PEM() []byte { return encode(a.certificate.Raw) }

// Roots trusts the authority alone.
func (a *Authority) Roots() *x509.CertPool { return a.roots.Clone() }

// Fingerprint is the SHA-256 of the authority's SubjectPublicKeyInfo, in
// base64url: a gateway trusts whoever can show a chain to it.
func (a *Authority) Fingerprint() string {
	sum := sha256.Sum256(a.certificate.RawSubjectPublicKeyInfo)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func encode(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// Issued is a certificate that was made.
type Issued struct {
	// Chain is the certificate and the authority's, in PEM.
	Chain []byte
	// Serial is its number in hexadecimal.
	Serial             string
	NotBefore, Expires time.Time
}

// Gateway makes the certificate of a gateway. Nothing in it comes from the
// gateway but its public key.
func (a *Authority) Gateway(id, tenant string, public *ecdsa.PublicKey) (Issued, error) {
	now := a.now()
	tmpl := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: id, Organization: []string{tenant}},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(GatewayLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.certificate, public, a.key)
	if err != nil {
		return Issued{}, fmt.Errorf("sign a certificate: %w", err)
	}
	return Issued{
		Chain: append(encode(der), a.PEM()...), Serial: tmpl.SerialNumber.Text(16),
		NotBefore: tmpl.NotBefore.Truncate(time.Second).UTC(), Expires: tmpl.NotAfter.Truncate(time.Second).UTC(),
	}, nil
}

// Issuing is when the authority made a certificate.
func Issuing(c *x509.Certificate) time.Time { return c.NotBefore.Add(backdate) }

// Errors of Verify.
var (
	// ErrForeign is a certificate that this authority did not make for a
	// client.
	ErrForeign = errors.New("the certificate is not of this controller")
	// ErrExpired is one that is past its end, and past the grace that was asked
	// for.
	ErrExpired = errors.New("the certificate has expired")
)

// Verify checks that the authority made a client's certificate, and that it has
// not ended more than grace ago.
func (a *Authority) Verify(c *x509.Certificate, grace time.Duration) error {
	at := a.now()
	if at.After(c.NotAfter.Add(grace)) {
		return ErrExpired
	}
	if at.After(c.NotAfter) {
		at = c.NotAfter
	}
	_, err := c.Verify(x509.VerifyOptions{Roots: a.roots, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrForeign, err)
	}
	return nil
}

// Client makes a certificate of the controller's own, with which it shows itself
// to its broker.
func (a *Authority) Client(name string) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	issued, err := a.Gateway(name, "", &key.PublicKey)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(issued.Chain)
	return &tls.Certificate{Certificate: [][]byte{block.Bytes}, PrivateKey: key}, nil
}
