// Package client speaks the controller's HTTP API.
package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"syscall"
	"time"

	"github.com/headgate-io/headgate/controller/api"
)

// maxAnswer bounds one answer.
const maxAnswer = 64 << 20

// timeout bounds one request.
const timeout = time.Minute

// Client is a connection to a controller, as the bearer of a token. It may be
// used from any goroutine.
type Client struct {
	http  *http.Client
	base  string
	token string
}

// Error is a refusal by the controller.
type Error struct {
	Status int
	Detail string
}

// Error is the controller's own words.
func (e *Error) Error() string { return e.Detail }

// ErrUnreachable is wrapped by the error of a call that found no controller.
var ErrUnreachable = errors.New("cannot reach the controller")

// New makes a client for a controller at https://host:port. A token that ends
// with the fingerprint of a certificate authority trusts that one alone, others
// trust what the system does.
func New(address, token string) (*Client, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" {
		return nil, fmt.Errorf("controller address %q: want https://HOST:PORT", address)
	}
	secure := &tls.Config{MinVersion: tls.VersionTLS13}
	secret := token
	if parts := strings.SplitN(token, "_", 3); len(parts) == 3 {
		secret = parts[0] + "_" + parts[1]
		pin(secure, parts[2])
	}
	return &Client{
		http: &http.Client{Transport: &http.Transport{TLSClientConfig: secure, ForceAttemptHTTP2: true, Proxy: http.ProxyFromEnvironment}, Timeout: timeout},
		base: "https://" + u.Host, token: secret,
	}, nil
}

// pin trusts the authority whose key has this fingerprint, which a controller
// sends along.
func pin(c *tls.Config, fingerprint string) {
	c.InsecureSkipVerify = true // what stands for it is below
	c.VerifyConnection = func(s tls.ConnectionState) error {
		root := s.PeerCertificates[len(s.PeerCertificates)-1]
		sum := sha256.Sum256(root.RawSubjectPublicKeyInfo)
		if base64.RawURLEncoding.EncodeToString(sum[:]) != fingerprint {
			return errOther
		}
		roots := x509.NewCertPool()
		roots.AddCert(root)
		_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, DNSName: s.ServerName})
		return err
	}
}

// Close ends idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Do sends in, unless it is nil, and reads the answer into out, unless that is
// nil: of what out held nothing stays. A POST carries a key, so that it may be
// sent again.
func (c *Client) Do(ctx context.Context, method, path string, in, out any) error {
	raw, err := c.raw(ctx, method, path, in)
	if err != nil || out == nil {
		return err
	}
	reflect.ValueOf(out).Elem().SetZero()
	if err := json.Unmarshal(raw, out); err != nil {
		return fmt.Errorf("the controller's answer: %w", err)
	}
	return nil
}

// Upload puts the content of size bytes at a path. It may take as long as it
// needs: the controller gives up on one that stands still.
func (c *Client) Upload(ctx context.Context, path string, content io.Reader, size int64) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, c.base+path, content)
	if err != nil {
		return err
	}
	req.ContentLength = size
	req.Header.Set("Authorization", "Bearer "+c.token)
	req.Header.Set("Content-Type", "application/octet-stream")
	unhurried := &http.Client{Transport: c.http.Transport}
	resp, err := unhurried.Do(req)
	if err != nil {
		return c.unreachable(err)
	}
	_, err = answer(resp)
	return err
}

// Text is Do for an answer that is not JSON.
func (c *Client) Text(ctx context.Context, path string) ([]byte, error) {
	return c.raw(ctx, http.MethodGet, path, nil)
}

func (c *Client) raw(ctx context.Context, method, path string, in any) ([]byte, error) {
	body := []byte(nil)
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return nil, err
		}
	}
	key := rand.Text()
	for again := false; ; again = true {
		req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		req.Header.Set("Authorization", "Bearer "+c.token)
		if in != nil {
			req.Header.Set("Content-Type", "application/json")
		}
		if method == http.MethodPost {
			req.Header.Set("Idempotency-Key", key)
		}
		resp, err := c.http.Do(req)
		if err != nil {
			if again || ctx.Err() != nil || method != http.MethodPost {
				return nil, c.unreachable(err)
			}
			continue // once: the answer may have been lost, and the key makes it safe
		}
		return answer(resp)
	}
}

// errOther is an authority that the token does not name.
var errOther = errors.New("it is not the controller that the token is of")

// unreachable says what may be the matter with a controller that did not answer.
func (c *Client) unreachable(err error) error {
	var request *url.Error
	if errors.As(err, &request) {
		err = request.Err
	}
	var (
		unknown *net.DNSError
		noTLS   tls.RecordHeaderError
		alert   *net.OpError
		foreign x509.UnknownAuthorityError
		hint    string
	)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		hint = ": does it run there, and is this its port for people (8443 unless its http.listen says otherwise)?"
	case errors.As(err, &unknown):
		hint = ": look at the name in the address, and at the network"
	case errors.As(err, &alert) && alert.Op == "remote error", errors.As(err, &noTLS):
		hint = ": this is another port than its one for people (8443 unless its http.listen says otherwise)"
	case errors.Is(err, errOther):
		hint = ": look at the address, and whether the token was copied to its last letter; one that was set up anew has other tokens, one that was restored from a backup the same"
	case errors.As(err, &foreign):
		hint = ": a token that a controller prints ends with whom to trust, as hgc_…_…: was it copied to its last letter?"
	}
	return fmt.Errorf("%w at %s: %w%s", ErrUnreachable, c.base, err, hint)
}

func answer(resp *http.Response) ([]byte, error) {
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the controller's answer: %w", err)
	case len(raw) > maxAnswer:
		return nil, fmt.Errorf("the controller's answer is longer than %d bytes", maxAnswer)
	case resp.StatusCode < 300:
		return raw, nil
	}
	var problem struct {
		Detail string `json:"detail"`
		Errors []struct {
			Message  string `json:"message"`
			Location string `json:"location"`
		} `json:"errors"`
	}
	if err := json.Unmarshal(raw, &problem); err != nil || problem.Detail == "" {
		problem.Detail = resp.Status
	}
	for _, e := range problem.Errors {
		problem.Detail += "; " + strings.TrimPrefix(e.Location, "body.") + ": " + e.Message
	}
	return nil, &Error{Status: resp.StatusCode, Detail: problem.Detail}
}

// All reads every page of a list.
func All[T any](ctx context.Context, c *Client, path string, query url.Values) ([]T, error) {
	out := []T{}
	if query == nil {
		query = url.Values{}
	}
	query.Set("limit", "500")
	for {
		var page api.Page[T]
		if err := c.Do(ctx, http.MethodGet, path+"?"+query.Encode(), nil, &page); err != nil {
			return nil, err
		}
		out = append(out, page.Items...)
		if page.Next == "" {
			return out, nil
		}
		query.Set("cursor", page.Next)
	}
}
