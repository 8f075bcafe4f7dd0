package enrol

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/headgate-io/headgate/event"
)

// requestTimeout bounds a request to the controller, maxAnswer its answer.
const (
	requestTimeout = time.Minute
	maxAnswer      = 1 << 20
)

// Refused is the controller's word that it will not: asking again is of no use.
type Refused struct {
	Status int
	Detail string
}

// Error implements error.
func (r *Refused) Error() string {
	return fmt.Sprintf("the controller refuses: %s (%d)", r.Detail, r.Status)
}

// Clock is the gateway's.
type Clock interface {
	Now() time.Time
	Trust() event.Trust
	// Estimate takes a controller's word for the time, where nothing better is
	// known.
	Estimate(ctx context.Context, now time.Time) error
}

// serverTLS is the client's side of TLS with the controller or its broker. roots
// finds whom to trust, given what the server shows. A clock that nobody has set
// is taken to be within the life of the server's certificate.
func serverTLS(host string, clock Clock, roots func(chain []*x509.Certificate) (*x509.CertPool, error)) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, ServerName: host, ClientSessionCache: tls.NewLRUClientSessionCache(4),
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection verifies, at a time that may not be the clock's
		VerifyConnection: func(c tls.ConnectionState) error {
			if len(c.PeerCertificates) == 0 {
				return errors.New("the server shows no certificate")
			}
			pool, err := roots(c.PeerCertificates)
			if err != nil {
				return err
			}
			leaf, others := c.PeerCertificates[0], x509.NewCertPool()
			for _, o := range c.PeerCertificates[1:] {
				others.AddCert(o)
			}
			_, err = leaf.Verify(x509.VerifyOptions{
				DNSName: host, Roots: pool, Intermediates: others, CurrentTime: within(leaf, clock), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
			})
			return err
		},
	}
}

// within is the present, and of a clock that cannot be relied on the moment of
// the certificate's life that is next to it.
func within(leaf *x509.Certificate, clock Clock) time.Time {
	now := clock.Now()
	if clock.Trust() == event.TimeSynchronised {
		return now
	}
	if now.Before(leaf.NotBefore) {
		return leaf.NotBefore
	}
	if now.After(leaf.NotAfter) {
		return leaf.NotAfter
	}
	return now
}

// fingerprinted trusts the CA with a fingerprint, which the server shows.
func fingerprinted(sum [sha256.Size]byte) func([]*x509.Certificate) (*x509.CertPool, error) {
	return func(chain []*x509.Certificate) (*x509.CertPool, error) {
		for _, c := range chain {
			if c.IsCA && sha256.Sum256(c.RawSubjectPublicKeyInfo) == sum {
				pool := x509.NewCertPool()
				pool.AddCert(c)
				return pool, nil
			}
		}
		return nil, errors.New("the server is not the controller that the token is of: check its address")
	}
}

// caller asks one controller.
type caller struct {
	base  *url.URL
	http  *http.Client
	clock Clock
}

func newCaller(base string, clock Clock, pair *tls.Certificate, roots func([]*x509.Certificate) (*x509.CertPool, error)) (*caller, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("%q is not the address of a controller: https://controller.example:8443", base)
	}
	c := serverTLS(u.Hostname(), clock, roots)
	if pair != nil {
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return pair, nil }
	}
	return &caller{u, &http.Client{
		Timeout:       requestTimeout,
		Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: c, ForceAttemptHTTP2: true, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, clock}, nil
}

// do asks and reads the answer.
func (c *caller) do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		raw, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(raw)
	}
	r, err := http.NewRequestWithContext(ctx, method, c.base.JoinPath(path).String(), body)
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	res, err := c.http.Do(r)
	if err != nil {
		return fmt.Errorf("ask the controller: %w", err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read the controller's answer: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		return problem(res.StatusCode, raw)
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return fmt.Errorf("the answer of %s is not a controller's: %w", c.base.Host, err)
	}
	return nil
}

// problem reads an RFC 9457 problem.
func problem(status int, raw []byte) error {
	var p struct {
		Title  string `json:"title"`
		Detail string `json:"detail"`
		Errors []struct {
			Message  string `json:"message"`
			Location string `json:"location"`
		} `json:"errors"`
	}
	detail := http.StatusText(status)
	if json.Unmarshal(raw, &p) == nil && p.Title+p.Detail != "" {
		detail = strings.TrimSpace(p.Detail)
		if detail == "" {
			detail = p.Title
		}
		for _, e := range p.Errors {
			detail += ": " + strings.TrimSpace(e.Location+" "+e.Message)
		}
	}
	if status >= 500 || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout {
		return fmt.Errorf("the controller answers: %s (%d): try again later", detail, status)
	}
	return &Refused{status, detail}
}

// answer is what enrolment and renewal are answered with.
type answer struct {
	Gateway     string    `json:"gateway"`
	Name        string    `json:"name"`
	Tenant      string    `json:"tenant"`
	Certificate string    `json:"certificate"`
	CA          string    `json:"ca"`
	MQTT        []string  `json:"mqtt"`
	Content     string    `json:"content"`
	Time        time.Time `json:"time"`
	Root        []byte    `json:"root"`
}

// adopt takes an answer over; it is complete and fits the key, or an error.
func (s *State) adopt(a *answer) error {
	s.Gateway, s.Name, s.Tenant, s.Certificate, s.CA = a.Gateway, a.Name, a.Tenant, a.Certificate, a.CA
	s.MQTT, s.Content = a.MQTT, a.Content
	if len(s.Root) == 0 { // later ones come by TUF's own rules
		s.Root = a.Root
	}
	if err := s.parse(); err != nil {
		return fmt.Errorf("the controller's answer: %w", err)
	}
	return nil
}

// request makes a signing request. The controller gives the names.
func request(key []byte) (string, error) {
	k, err := parseKey(key)
	if err != nil {
		return "", err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, k)
	if err != nil {
		return "", err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})), nil
}
