// Package client speaks the admin API: over the Unix socket on the box, through
// ssh to that socket, or over TCP with a token.
package client

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"syscall"
	"time"

	"github.com/headgate-io/headgate/gateway/admin/api"
)

// Client is a connection to one gateway. It may be used from any goroutine.
type Client struct {
	http  *http.Client
	base  string
	token string
	where string
}

// Error is a refusal by the gateway.
type Error struct {
	Status int
	Detail string
}

// Error is the gateway's own words.
func (e *Error) Error() string { return e.Detail }

// ErrUnreachable is wrapped by the error of a call that found no gateway.
var ErrUnreachable = errors.New("cannot reach the gateway")

// New makes a client for host: "unix:///path", "ssh://user@host",
// "http://host:port" or "https://host:port". A certificate that no CA vouches
// for is named by its fingerprint: "https://host:port#sha256=HEX".
func New(host, token string) (*Client, error) {
	u, err := url.Parse(host)
	if err != nil {
		return nil, fmt.Errorf("gateway address %q: %w", host, err)
	}
	if u.Scheme == "ssh" {
		r, err := parseSSH(u)
		if err != nil {
			return nil, err
		}
		// A connection is a process on both sides: those in use are few, and
		// one that is idle stays for the next request.
		transport := &http.Transport{DialContext: r.dial, IdleConnTimeout: time.Minute}
		return &Client{http: &http.Client{Transport: transport}, base: "http://headgate", where: host}, nil
	}
	if u.User != nil || u.RawQuery != "" {
		return nil, errors.New("gateway address: it holds no user, password or token, which would end up in logs: pass it with --token or HEADGATE_TOKEN")
	}
	switch u.Scheme {
	case "unix":
		dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", u.Path)
		}
		return &Client{http: &http.Client{Transport: &http.Transport{DialContext: dial}}, base: "http://headgate", where: u.Path}, nil
	case "http", "https":
		transport := http.DefaultTransport.(*http.Transport).Clone()
		if u.Fragment != "" {
			if transport.TLSClientConfig, err = pinned(u); err != nil {
				return nil, err
			}
		}
		u.Fragment = ""
		return &Client{http: &http.Client{Transport: transport}, base: strings.TrimSuffix(u.String(), "/"), token: token, where: host}, nil
	}
	return nil, fmt.Errorf("gateway address %q: want unix:///path/admin.sock, ssh://user@host, http://host:port or https://host:port", host)
}

// Close ends idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Do sends one request and decodes the answer into out, where out is not nil: of
// what out held nothing stays, not even what the answer leaves out.
// The body is sent as JSON, or as it is where it is []byte or an io.Reader.
func (c *Client) Do(ctx context.Context, method, path string, body, out any) error {
	resp, err := c.send(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	}
	reflect.ValueOf(out).Elem().SetZero()
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("%s %s: read the answer: %w", method, path, err)
	}
	return nil
}

// Download copies an answer to w as it is.
func (c *Client) Download(ctx context.Context, path string, w io.Writer) error {
	resp, err := c.send(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(w, resp.Body); err != nil {
		return fmt.Errorf("GET %s: read the answer: %w", path, err)
	}
	return nil
}

func (c *Client) send(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var reader io.Reader
	contentType := "application/json"
	switch b := body.(type) {
	case nil:
	case []byte:
		reader, contentType = bytes.NewReader(b), "application/octet-stream"
	case io.Reader:
		reader, contentType = b, "application/octet-stream"
	default:
		raw, err := json.Marshal(b)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", method, path, err)
		}
		reader = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, reader)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	if reader != nil {
		req.Header.Set("Content-Type", contentType)
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	if resp.StatusCode >= 400 {
		defer resp.Body.Close()
		return nil, problem(resp)
	}
	return resp, nil
}

func (c *Client) unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	hint := "name it with --host or HEADGATE_HOST"
	var untrusted *tls.CertificateVerificationError
	var far *sshError
	switch {
	case errors.As(err, &far):
		return fmt.Errorf("%w at %s: %w; %s", ErrUnreachable, c.where, far, far.hint())
	case errors.As(err, &untrusted):
		hint = "where the certificate is your own, trust it: SSL_CERT_FILE=gateway.crt, or name it: https://HOST:PORT#sha256=FINGERPRINT"
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		hint = "is it running? start it with 'headgate run', or name another with --host or HEADGATE_HOST"
	case errors.Is(err, fs.ErrPermission):
		hint = "this user may not open the socket: use sudo, or join the socket's group"
	}
	return fmt.Errorf("%w at %s: %w; %s", ErrUnreachable, c.where, rootCause(err), hint)
}

func rootCause(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

func problem(resp *http.Response) error {
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("read the gateway's refusal: %w", err)
	}
	var p api.Problem
	if json.Unmarshal(raw, &p) != nil || p.Detail == "" {
		return &Error{Status: resp.StatusCode, Detail: fmt.Sprintf("the gateway answered %s: %s", resp.Status, bytes.TrimSpace(raw))}
	}
	detail := p.Detail
	for _, e := range p.Errors {
		detail += "\n  " + strings.TrimSpace(e.Location+" "+e.Message)
	}
	return &Error{Status: p.Status, Detail: detail}
}

// Stream yields the items of a streaming answer until it ends or ctx does.
func Stream[T any](ctx context.Context, c *Client, path string) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		resp, err := c.send(ctx, http.MethodGet, path, nil)
		if err != nil {
			yield(zero, err)
			return
		}
		defer resp.Body.Close()
		dec := json.NewDecoder(bufio.NewReader(resp.Body))
		for {
			var item T
			err := dec.Decode(&item)
			if errors.Is(err, io.EOF) || ctx.Err() != nil {
				return
			}
			if err != nil {
				yield(zero, fmt.Errorf("the stream from the gateway broke off: %w", err))
				return
			}
			if !yield(item, nil) {
				return
			}
		}
	}
}

// WaitReady polls until the gateway says that it is ready.
func (c *Client) WaitReady(ctx context.Context) error {
	for {
		err := c.Do(ctx, http.MethodGet, "/readyz", nil, nil)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("gateway is not ready: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
