package setup

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"time"

	"github.com/headgate-io/headgate/internal/durable"
)

// The certificate's life does not depend on what time the board believes it
// is: it has none that counts yet.
var (
	certificateFrom  = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	certificateUntil = time.Date(2049, 12, 31, 23, 59, 59, 0, time.UTC)
)

// certificate makes the admin API's key and certificate, where they are not
// there, and returns the SHA-256 of the certificate, by which clients know it.
func (b *Board) certificate(hostname string) (fingerprint string, err error) {
	raw, err := os.ReadFile(b.certificateFile())
	_, keyErr := os.Stat(b.keyFile())
	if errors.Is(err, fs.ErrNotExist) || errors.Is(keyErr, fs.ErrNotExist) {
		raw, err = b.makeCertificate(cmp.Or(hostname, "headgate"))
	}
	if err != nil {
		return "", fmt.Errorf("certificate of the admin API: %w", err)
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return "", fmt.Errorf("certificate of the admin API: %s holds none: remove it to have one made", b.certificateFile())
	}
	sum := sha256.Sum256(block.Bytes)
	return hex.EncodeToString(sum[:]), nil
}

func (b *Board) makeCertificate(hostname string) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: hostname}, DNSNames: []string{hostname, hostname + ".local"},
		NotBefore: certificateFrom, NotAfter: certificateUntil, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	if err := durable.Replace(b.keyFile(), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})); err != nil {
		return nil, err
	}
	raw := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return raw, durable.Replace(b.certificateFile(), raw)
}
