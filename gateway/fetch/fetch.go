package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/headgate-io/headgate/sandbox/abi"
	"github.com/headgate-io/headgate/sandbox/host"
)

var errStopping = errors.New("the gateway is stopping")

// Fetch implements host.Fetcher.
func (c *Client) Fetch(ctx context.Context, f *host.Fetch) (r host.FetchResult, err error) {
	c.stats.calls.Add(1)
	o, err := c.newOutgoing(f)
	if err == nil && c.stopping.Load() {
		err = errStopping
	}
	if err != nil {
		c.stats.refused.Add(1)
		return r, err
	}
	timeout := c.cfg.Timeout
	if ms := f.Request.TimeoutMillis; ms > 0 {
		timeout = time.Duration(min(ms, int64(24*time.Hour/time.Millisecond))) * time.Millisecond
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no whole answer within %v", timeout))
	defer cancel()
	leave, err := c.slots.enter(ctx, f.Function)
	if err != nil {
		c.stats.refused.Add(1)
		return r, refusal(abi.Unavailable, "as many calls are under way as fetch.max_calls and fetch.max_calls_per_function allow, and none ended in time")
	}
	defer leave()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	defer context.AfterFunc(c.stopped, func() { stop(errStopping) })()
	err = c.follow(ctx, o, &r)
	c.stats.sent.Add(uint64(r.Sent))
	c.stats.received.Add(uint64(r.Received))
	if err != nil {
		c.stats.failed.Add(1)
		return r, c.explain(ctx, err)
	}
	c.stats.answered.Add(1)
	return r, nil
}

// explain finds the words for a failure.
func (c *Client) explain(ctx context.Context, err error) error {
	var known *host.FetchError
	var blocked *blockedError
	switch cause := context.Cause(ctx); {
	case errors.As(err, &known):
		return known
	case errors.As(err, &blocked):
		return refusal(abi.Denied, "%v", blocked)
	case errors.Is(cause, errStopping):
		return errStopping
	case cause != nil:
		c.stats.timedOut.Add(1)
		return cause
	}
	return err
}

// maxRedirects is how many redirects are followed.
const maxRedirects = 5

// follow sends the request, and again where it is redirected to.
func (c *Client) follow(ctx context.Context, o *outgoing, r *host.FetchResult) error {
	transport, err := c.transport()
	if err != nil {
		return err
	}
	for redirects := 0; ; redirects++ {
		var sent atomic.Bool // not when there is nobody to send it to
		trace := &httptrace.ClientTrace{WroteHeaders: func() { sent.Store(true) }}
		resp, err := transport.RoundTrip(o.request(httptrace.WithClientTrace(ctx, trace)))
		if sent.Load() {
			r.Sent += o.size()
		}
		if err != nil {
			return err
		}
		r.Received += headSize(resp.Header) + 15 // HTTP/1.1 200 OK
		location := resp.Header.Get("Location")
		if !redirect(resp.StatusCode) || location == "" || o.of.Request.Redirect == abi.RedirectManual {
			return c.read(o, resp, r)
		}
		discard(resp.Body)
		if o.of.Request.Redirect == abi.RedirectError {
			return refusal(abi.Unavailable, "the answer %d is a redirect", resp.StatusCode)
		}
		if redirects == maxRedirects {
			return refusal(abi.Unavailable, "more than %d redirects", maxRedirects)
		}
		if err := o.redirect(resp.StatusCode, location); err != nil {
			c.stats.redirectsRefused.Add(1)
			return err
		}
		c.stats.redirects.Add(1)
	}
}

// discard closes a body that nobody wants; a short one is read to its end, so
// that the connection can be used again.
func discard(body io.ReadCloser) {
	_, _ = io.CopyN(io.Discard, body, 4096) // nothing hangs on it
	_ = body.Close()
}

// read takes the answer in.
func (c *Client) read(o *outgoing, resp *http.Response, r *host.FetchResult) error {
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, c.cfg.MaxResponse+1))
	r.Received += int64(len(body))
	if err != nil {
		return fmt.Errorf("the answer breaks off: %w", err)
	}
	if int64(len(body)) > c.cfg.MaxResponse {
		c.stats.tooLarge.Add(1)
		return refusal(abi.Limit, "the answer is over the %d bytes of fetch.max_response", c.cfg.MaxResponse)
	}
	r.Answer = abi.FetchAnswer{Status: resp.StatusCode, URL: o.url.String(), Headers: answerHeaders(resp.Header), Body: body}
	return nil
}

// answerHeaders are a response's, by name, so that an answer is the same
// whenever it is.
func answerHeaders(h http.Header) abi.Headers {
	out := abi.Headers{}
	for _, name := range slices.Sorted(maps.Keys(h)) {
		if slices.Contains(hop, name) {
			continue
		}
		for _, v := range h[name] {
			out = append(out, abi.Header{Name: strings.ToLower(name), Value: v})
		}
	}
	return out
}
