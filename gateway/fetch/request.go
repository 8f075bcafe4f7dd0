package fetch

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/headgate-io/headgate/sandbox/abi"
	"github.com/headgate-io/headgate/sandbox/host"
)

// IdempotencyKey is the header that tells a server that a request is the same
// one again (draft-ietf-httpapi-idempotency-key-header).
const IdempotencyKey = "Idempotency-Key"

// Bounds of the headers that a function sends.
const (
	maxHeaders       = 64
	maxHeadersLength = 16 << 10
)

// outgoing is one request on its way, through all its redirects.
type outgoing struct {
	of     *host.Fetch
	method string
	url    *url.URL
	header http.Header
	body   []byte
}

func refusal(e abi.Errno, format string, args ...any) *host.FetchError {
	return &host.FetchError{Errno: e, Reason: fmt.Sprintf(format, args...)}
}

// newOutgoing checks what the guest asks for.
func (c *Client) newOutgoing(f *host.Fetch) (*outgoing, error) {
	r := &f.Request
	o := &outgoing{of: f, method: strings.ToUpper(r.Method), url: f.URL, header: http.Header{}, body: r.Body}
	if o.method == "" {
		o.method = http.MethodGet
	}
	switch {
	case !token(o.method) || len(o.method) > 32:
		return nil, refusal(abi.Invalid, "the method is not one")
	case slices.Contains([]string{http.MethodConnect, http.MethodTrace, "TRACK"}, o.method):
		return nil, refusal(abi.Invalid, "%s is not sent", o.method)
	case len(o.body) > 0 && (o.method == http.MethodGet || o.method == http.MethodHead):
		return nil, refusal(abi.Invalid, "%s has no body", o.method)
	case int64(len(o.body)) > c.cfg.MaxRequest:
		return nil, refusal(abi.Limit, "a body of %d bytes is over the %d of fetch.max_request", len(o.body), c.cfg.MaxRequest)
	case !slices.Contains([]string{"", abi.RedirectFollow, abi.RedirectManual, abi.RedirectError}, r.Redirect):
		return nil, refusal(abi.Invalid, "redirect is follow, manual or error")
	case r.TimeoutMillis < 0:
		return nil, refusal(abi.Invalid, "timeout_ms is below 0")
	}
	if err := o.setHeaders(r.Headers); err != nil {
		return nil, err
	}
	if o.header.Get(IdempotencyKey) == "" {
		o.header.Set(IdempotencyKey, c.key(f))
	}
	if o.header.Get("User-Agent") == "" {
		o.header.Set("User-Agent", c.cfg.UserAgent)
	}
	return o, nil
}

// hop are the headers that are the connection's and not the function's.
var hop = []string{"Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Expect"}

func (o *outgoing) setHeaders(all abi.Headers) error {
	if len(all) > maxHeaders {
		return refusal(abi.Limit, "%d headers are over %d", len(all), maxHeaders)
	}
	length := 0
	for _, h := range all {
		name := http.CanonicalHeaderKey(h.Name)
		if length += len(h.Name) + len(h.Value); length > maxHeadersLength {
			return refusal(abi.Limit, "the headers are over %d bytes", maxHeadersLength)
		}
		switch {
		case !token(h.Name):
			return refusal(abi.Invalid, "%q is not the name of a header", h.Name)
		case !fieldValue(h.Value):
			return refusal(abi.Invalid, "header %s: its value holds a line break or another control character", name)
		case name == "Host" && strings.EqualFold(h.Value, o.url.Host), name == "Content-Length" && h.Value == strconv.Itoa(len(o.body)):
			continue // it is what is sent anyway
		case name == "Host" || name == "Content-Length" || slices.Contains(hop, name):
			return refusal(abi.Invalid, "header %s is the gateway's to set: leave it out", name)
		}
		o.header.Add(name, h.Value)
	}
	return nil
}

// token reports whether s is a token of HTTP (RFC 9110, 5.6.2).
func token(s string) bool {
	for i := range len(s) {
		b := s[i]
		if b <= ' ' || b >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, b) >= 0 {
			return false
		}
	}
	return s != ""
}

// fieldValue reports whether s can be the value of a header (RFC 9110, 5.5).
func fieldValue(s string) bool {
	for i := range len(s) {
		if b := s[i]; b < ' ' && b != '\t' || b == 0x7f {
			return false
		}
	}
	return true
}

// key names the call so that a server knows it again: in a rerun, and in a
// retry of the same event. It has the form of a UUID (RFC 9562, version 8),
// which many servers want.
func (c *Client) key(f *host.Fetch) string {
	h := sha256.New()
	for _, part := range []string{c.cfg.Salt, f.Function, f.Source, f.ID, strconv.Itoa(f.Call)} {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	b := h.Sum(nil)[:16]
	b[6], b[8] = b[6]&0x0f|0x80, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// request makes the HTTP request, with a body of its own.
func (o *outgoing) request(ctx context.Context) *http.Request {
	r := (&http.Request{
		Method: o.method, URL: o.url, Header: o.header.Clone(), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Host: o.url.Host,
	}).WithContext(ctx)
	if len(o.body) > 0 {
		r.ContentLength = int64(len(o.body))
		r.Body = io.NopCloser(bytes.NewReader(o.body))
		r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(o.body)), nil }
	} else if o.method == http.MethodPost || o.method == http.MethodPut || o.method == http.MethodPatch {
		r.Body = http.NoBody // Content-Length: 0
	}
	return r
}

// size is about what the request takes on the wire.
func (o *outgoing) size() int64 {
	return headSize(o.header) + int64(len(o.method)+len(o.url.RequestURI())+len(o.url.Host)+len(o.body))
}

func headSize(h http.Header) (n int64) {
	for name, values := range h {
		for _, v := range values {
			n += int64(len(name) + len(v) + 4)
		}
	}
	return n
}
