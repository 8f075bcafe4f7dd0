package web

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/headgate-io/headgate/gateway/object"
)

// putObject takes an object in, or a part of one.
func (s *Server) putObject(w http.ResponseWriter, r *http.Request, from caller, bucket, key string) *refusal {
	u := object.Upload{
		Bucket: bucket, Key: key, Type: r.Header.Get("Content-Type"), Source: objectSource(from),
		Length: r.ContentLength, May: condition(r.Header),
	}
	part, err := parseContentRange(r.Header)
	if err == nil {
		u.BodyDigest, u.Digest, err = digests(r.Header)
	}
	if err == nil && r.Header.Get("Content-Encoding") != "" {
		err = errors.New("Content-Encoding: send the bytes as they are to be kept")
	}
	if err != nil {
		return &refusal{status: http.StatusBadRequest, count: &s.stats.malformed, unread: true, detail: err.Error()}
	}
	switch {
	case part == nil:
	case part.asks:
		return s.answerOffset(w, r, bucket, key, part)
	case r.ContentLength != part.last-part.first+1:
		return &refusal{status: http.StatusBadRequest, count: &s.stats.malformed, unread: true, detail: "the body's length is not that of Content-Range"}
	default:
		u.Ranged, u.From, u.Total = true, part.first, part.total
	}
	u.Body = s.slowBody(w, r)
	stored, err := s.deps.Objects.Put(r.Context(), u)
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // a client that leaves is noticed by its reader
	if err != nil {
		return s.objectRefusal(err)
	}
	s.stats.answered.Add(1)
	if !stored.Complete {
		s.resume(w, stored.Offset)
		return nil
	}
	w.Header().Set("Etag", etag(stored.Object))
	status := http.StatusCreated
	if stored.Replaced {
		status = http.StatusOK
	}
	s.answerJSON(w, status, listedObject{key, stored.Object})
	return nil
}

// answerOffset says how much of an upload is there.
func (s *Server) answerOffset(w http.ResponseWriter, r *http.Request, bucket, key string, part *contentRange) *refusal {
	offset := s.deps.Objects.Offset(bucket, key, part.total)
	s.stats.answered.Add(1)
	if offset > 0 {
		s.resume(w, offset)
		return nil
	}
	// It may have arrived as a whole, with the answer lost.
	if o, err := s.deps.Objects.Stat(r.Context(), bucket, key); err == nil && o.Size == part.total {
		w.Header().Set("Etag", etag(o))
		s.answerJSON(w, http.StatusOK, listedObject{key, o})
		return nil
	}
	s.resume(w, 0)
	return nil
}

// resume asks for the rest of an upload, as Google Cloud Storage does.
func (s *Server) resume(w http.ResponseWriter, offset int64) {
	for name, values := range rangeHeader(offset) {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Length", "0")
	s.mayWrite(w)
	w.WriteHeader(http.StatusPermanentRedirect)
}

// contentRange is which part of an object a request has (RFC 9110, 14.4).
type contentRange struct {
	first, last, total int64
	asks               bool // it has none, and asks what is there
}

func parseContentRange(h http.Header) (*contentRange, error) {
	values := h.Values("Content-Range")
	if len(values) == 0 {
		return nil, nil
	}
	bad := fmt.Errorf("Content-Range %q: write bytes FIRST-LAST/TOTAL, or bytes */TOTAL to ask what is there", strings.Join(values, ", "))
	text, ok := strings.CutPrefix(values[0], "bytes ")
	span, total, found := strings.Cut(text, "/")
	if !ok || !found || len(values) > 1 {
		return nil, bad
	}
	c := &contentRange{asks: span == "*"}
	var err error
	if c.total, err = parseSize(total); err != nil || c.total == 0 {
		return nil, bad
	}
	if c.asks {
		return c, nil
	}
	first, last, _ := strings.Cut(span, "-")
	c.first, err = parseSize(first)
	if err == nil {
		c.last, err = parseSize(last)
	}
	if err != nil || c.first > c.last || c.last >= c.total {
		return nil, bad
	}
	return c, nil
}

func parseSize(s string) (int64, error) {
	n, err := strconv.ParseUint(s, 10, 62)
	return int64(n), err
}

// digests are the SHA-256 that the headers say the body has, and the whole
// object (RFC 9530, and RFC 3230 before it); nil where they say none.
func digests(h http.Header) (body, whole []byte, err error) {
	if body, err = digest(h, "Content-Digest", "sha-256=:", ":"); err != nil {
		return nil, nil, err
	}
	if whole, err = digest(h, "Repr-Digest", "sha-256=:", ":"); err == nil && whole == nil {
		whole, err = digest(h, "Digest", "sha-256=", "")
	}
	return body, whole, err
}

// digest finds the SHA-256 among the digests of a header; others say nothing.
func digest(h http.Header, name, before, behind string) ([]byte, error) {
	for _, v := range h.Values(name) {
		for member := range strings.SplitSeq(v, ",") {
			member = strings.TrimSpace(member)
			if len(member) < len(before) || !strings.EqualFold(member[:len(before)], before) {
				continue
			}
			sum, err := base64.StdEncoding.DecodeString(strings.TrimSuffix(member[len(before):], behind))
			if err != nil || len(sum) != 32 {
				return nil, fmt.Errorf("%s: %q is not the SHA-256 in base64", name, member)
			}
			return sum, nil
		}
	}
	return nil, nil
}

// slowBody is a body that may take long as long as it goes on, and ends with
// the key it came with.
func (s *Server) slowBody(w http.ResponseWriter, r *http.Request) io.Reader {
	return &slowBody{ctx: r.Context(), body: r.Body, control: http.NewResponseController(w), within: s.cfg.BodyWithin, began: time.Now()}
}

type slowBody struct {
	ctx     context.Context
	body    io.Reader
	control *http.ResponseController
	within  time.Duration
	began   time.Time
	n       int64
}

// Read reads on within the time that is left.
func (b *slowBody) Read(p []byte) (int, error) {
	if err := context.Cause(b.ctx); err != nil {
		return 0, err
	}
	end := b.began.Add(b.within + time.Duration(b.n/slowest)*time.Second)
	if soon := time.Now().Add(b.within); soon.Before(end) {
		end = soon
	}
	_ = b.control.SetReadDeadline(end) // every connection has one
	n, err := b.body.Read(p)
	b.n += int64(n)
	return n, err
}
