package abi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// The wire form of http_fetch, both ways: a head in JSON on one line, a line
// feed, and then the body as it is, up to the end. JSON text holds no line
// feed but between its parts, so the first one ends the head. A request
// without a line feed has no body.

// FetchRequest is what a guest asks http_fetch to send.
type FetchRequest struct {
	// URL is absolute, http or https.
	URL string `json:"url"`
	// Method is GET when it is left out.
	Method string `json:"method,omitempty"`
	// Headers are sent as they are, in this order.
	Headers Headers `json:"headers,omitempty"`
	// Redirect is RedirectFollow when it is left out.
	Redirect string `json:"redirect,omitempty"`
	// TimeoutMillis bounds the call; 0 leaves it to the gateway. The end of the
	// invocation bounds it in any case.
	TimeoutMillis int64 `json:"timeout_ms,omitempty"`

	Body []byte `json:"-"`
}

// What http_fetch does with an answer that redirects.
const (
	// RedirectFollow goes on to where the function may fetch from.
	RedirectFollow = "follow"
	// RedirectManual hands the answer that redirects to the guest.
	RedirectManual = "manual"
	// RedirectError makes it a failure.
	RedirectError = "error"
)

// FetchAnswer is what came back.
type FetchAnswer struct {
	Status int `json:"status"`
	// URL is where the answer came from, behind all redirects.
	URL string `json:"url"`
	// Headers have lower-case names, each value apart.
	Headers Headers `json:"headers"`

	Body []byte `json:"-"`
}

// Header is one field of a request or an answer.
type Header struct{ Name, Value string }

// Headers are written as a list of pairs, [["accept","text/plain"]]. They are
// read from an object too, {"accept":"text/plain"}, which is easier to write
// by hand.
type Headers []Header

// MarshalJSON writes a list of pairs.
func (h Headers) MarshalJSON() ([]byte, error) {
	pairs := make([][2]string, len(h))
	for i, f := range h {
		pairs[i] = [2]string{f.Name, f.Value}
	}
	var b bytes.Buffer
	err := encode(&b, pairs)
	return b.Bytes(), err
}

var errHeaders = errors.New(`headers must be a list of pairs, [["name","value"]], or an object of texts`)

// UnmarshalJSON reads a list of pairs or an object.
func (h *Headers) UnmarshalJSON(raw []byte) error {
	*h = nil
	d := json.NewDecoder(bytes.NewReader(raw))
	switch start, err := d.Token(); {
	case err != nil:
		return err
	case start == nil:
		return nil
	case start == json.Delim('['):
		var pairs [][]string
		if json.Unmarshal(raw, &pairs) != nil {
			return errHeaders
		}
		for _, p := range pairs {
			if len(p) != 2 {
				return errHeaders
			}
			*h = append(*h, Header{p[0], p[1]})
		}
		return nil
	case start != json.Delim('{'):
		return errHeaders
	}
	for d.More() { // token by token, so that the order stays
		name, err := d.Token()
		if err != nil {
			return err
		}
		value, err := d.Token()
		if err != nil {
			return err
		}
		n, _ := name.(string)
		v, ok := value.(string)
		if !ok {
			return errHeaders
		}
		*h = append(*h, Header{n, v})
	}
	return nil
}

// ParseFetchRequest reads a request. Fields that are not known are refused: a
// guest that asks for something must not be told that it got it.
func ParseFetchRequest(raw []byte) (FetchRequest, error) {
	var r FetchRequest
	body, err := parseHead(raw, &r, true)
	if err != nil {
		return r, err
	}
	r.Body = body
	return r, nil
}

// ParseFetchAnswer reads an answer.
func ParseFetchAnswer(raw []byte) (FetchAnswer, error) {
	var a FetchAnswer
	body, err := parseHead(raw, &a, false)
	if err != nil {
		return a, err
	}
	a.Body = body
	return a, nil
}

func parseHead(raw []byte, head any, strict bool) (body []byte, err error) {
	line, body, _ := bytes.Cut(raw, []byte{'\n'})
	d := json.NewDecoder(bytes.NewReader(line))
	if strict {
		d.DisallowUnknownFields()
	}
	if err := d.Decode(head); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("it ends too early; the head is one line")
		}
		return nil, fmt.Errorf("the head is not the JSON that is expected: %w", err)
	}
	if d.More() {
		return nil, errors.New("the head is followed by something that is no line feed")
	}
	return body, nil
}

// Append writes the request in its wire form.
func (r *FetchRequest) Append(dst []byte) ([]byte, error) { return appendMessage(dst, r, r.Body) }

// Append writes the answer in its wire form.
func (a *FetchAnswer) Append(dst []byte) ([]byte, error) { return appendMessage(dst, a, a.Body) }

func appendMessage(dst []byte, head any, body []byte) ([]byte, error) {
	b := bytes.NewBuffer(dst)
	if err := encode(b, head); err != nil {
		return nil, err
	}
	b.WriteByte('\n')
	b.Write(body)
	return b.Bytes(), nil
}

// encode writes JSON on one line, without the escapes that only pages need.
func encode(b *bytes.Buffer, v any) error {
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	b.Truncate(b.Len() - 1) // the encoder's line feed
	return nil
}
