package client

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// errOtherCertificate is a server that is not the one that was named.
var errOtherCertificate = errors.New("the server shows another certificate than the one that its address names: it was made anew, or this is not your gateway")

// pinned trusts the one certificate that the address names, and no CA.
func pinned(u *url.URL) (*tls.Config, error) {
	text, ok := strings.CutPrefix(u.Fragment, "sha256=")
	want, err := hex.DecodeString(strings.ReplaceAll(text, ":", ""))
	if !ok || err != nil || len(want) != sha256.Size || u.Scheme != "https" {
		return nil, fmt.Errorf("gateway address %q: after # comes sha256= and the 64 digits of the certificate's fingerprint, with https://", u.Redacted())
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		// Not by a CA, but by VerifyConnection, which resumed sessions pass too.
		InsecureSkipVerify: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 0 {
				return errOtherCertificate
			}
			got := sha256.Sum256(s.PeerCertificates[0].Raw)
			if subtle.ConstantTimeCompare(got[:], want) != 1 {
				return errOtherCertificate
			}
			return nil
		},
	}, nil
}
