package headgate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"sort"
	"strings"
	"time"
)

// Request is an HTTP request that a function sends. Where to is said by
// permissions.fetch of its manifest.
type Request struct {
	// Method is GET when it is left out.
	Method string
	URL    string
	Header map[string]string
	// Body is a string or []byte as it is, anything else as JSON; nil is none.
	Body any
	// Timeout bounds the call; 0 leaves it to the gateway.
	Timeout time.Duration
	// Redirect is "follow" when it is left out, "manual" or "error".
	Redirect string
}

// Response is what came back.
type Response struct {
	Status int
	// URL is where it came from, behind all redirects.
	URL string
	// Header has lower-case names; several values of one are in their order.
	Header map[string][]string
	Body   []byte
}

// Get returns the first value of a header, "" when there is none.
func (r *Response) Get(name string) string {
	if v := r.Header[strings.ToLower(name)]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// OK reports whether the status is 200 to 299.
func (r *Response) OK() bool { return r.Status >= 200 && r.Status < 300 }

// JSON decodes the body into v.
func (r *Response) JSON(v any) error {
	if err := json.Unmarshal(r.Body, v); err != nil {
		return fmt.Errorf("answer of %s: %w", r.URL, err)
	}
	return nil
}

// Fetch sends an HTTP request and waits for its answer, whatever its status.
// It happens at once, outside the event's transaction: a retry sends it again,
// with the same Idempotency-Key. An error is an Errno; its reason is in the
// function's log.
func (c *Context) Fetch(r Request) (*Response, error) {
	raw, err := r.wire()
	if err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	answer, err := read(4096, func(dst []byte) int32 { return httpFetch(raw, dst) })
	if err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	return parseResponse(answer)
}

// wire is the request as http_fetch takes it: a line of JSON, then the body.
func (r *Request) wire() ([]byte, error) {
	head := struct {
		URL      string      `json:"url"`
		Method   string      `json:"method,omitempty"`
		Headers  [][2]string `json:"headers,omitempty"`
		Redirect string      `json:"redirect,omitempty"`
		Timeout  int64       `json:"timeout_ms,omitempty"`
	}{URL: r.URL, Method: r.Method, Redirect: r.Redirect, Timeout: int64((r.Timeout + time.Millisecond - 1) / time.Millisecond)}
	for name, value := range r.Header {
		head.Headers = append(head.Headers, [2]string{name, value})
	}
	sort.Slice(head.Headers, func(i, j int) bool { return head.Headers[i][0] < head.Headers[j][0] })
	line, err := json.Marshal(head)
	if err != nil || r.Body == nil {
		return line, err
	}
	body, err := payload(r.Body)
	return append(append(line, '\n'), body...), err
}

func parseResponse(answer []byte) (*Response, error) {
	line, body, _ := bytes.Cut(answer, []byte{'\n'})
	var head struct {
		Status  int         `json:"status"`
		URL     string      `json:"url"`
		Headers [][2]string `json:"headers"`
	}
	if err := json.Unmarshal(line, &head); err != nil {
		return nil, fmt.Errorf("fetch: the gateway's answer: %w", err)
	}
	r := &Response{Status: head.Status, URL: head.URL, Header: map[string][]string{}, Body: body}
	for _, h := range head.Headers {
		r.Header[h[0]] = append(r.Header[h[0]], h[1])
	}
	return r, nil
}
