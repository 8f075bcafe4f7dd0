package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/dispatch"
	"github.com/headgate-io/headgate/gateway/object"
	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/gateway/token"
)

// bucketsPath is what all buckets are below.
const bucketsPath = "/buckets/"

// Listings of a bucket.
const (
	defaultListed = 100
	mostListed    = 1000
)

// slowest is the rate at which who sends or takes an object must at least be.
const slowest = 4 << 10 // bytes per second

// object answers a request for a bucket or for what is in it; rest is the
// path behind bucketsPath.
func (s *Server) object(w http.ResponseWriter, r *http.Request, rest string) *refusal {
	bucket, key, _ := strings.Cut(rest, "/")
	b, err := s.deps.Objects.Bucket(bucket)
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	r, from, refused := s.admitTo(r, reads && b.Public, "this bucket", func(g *token.Grant) string {
		switch {
		case reads && !g.MayRead(bucket):
			return "read bucket " + bucket
		case !reads && !g.MayWrite(bucket):
			return "write bucket " + bucket
		}
		return ""
	})
	if refused != nil {
		return refused
	}
	defer from.done()
	if err != nil {
		return s.objectRefusal(err)
	}
	if err := s.deps.Ready(); err != nil {
		return &refusal{status: http.StatusServiceUnavailable, count: &s.stats.busy, unread: true, wait: time.Second, detail: fmt.Sprintf("the gateway is %v", err)}
	}
	switch {
	case reads && key == "":
		return s.listObjects(w, r, bucket)
	case key == "":
		return &refusal{status: http.StatusMethodNotAllowed, count: &s.stats.wrongMethod, unread: true, detail: "a bucket can be listed: objects are below it, as " + bucketsPath + bucket + "/key", header: http.Header{"Allow": {"GET, HEAD"}}}
	case reads:
		return s.getObject(w, r, bucket, key)
	case r.Method == http.MethodPut:
		return s.putObject(w, r, from, bucket, key)
	case r.Method == http.MethodDelete:
		return s.deleteObject(w, r, from, bucket, key)
	}
	return &refusal{status: http.StatusMethodNotAllowed, count: &s.stats.wrongMethod, unread: true, detail: "an object takes GET, HEAD, PUT and DELETE", header: http.Header{"Allow": {"GET, HEAD, PUT, DELETE"}}}
}

// objectSource is where the events of a caller's changes come from.
func objectSource(from caller) string {
	if from.name == "" {
		return "/http"
	}
	return "/http/" + from.name
}

// listedObject is an object in a listing, and in the answer to an upload.
type listedObject struct {
	Key string `json:"key"`
	function.Object
}

func (s *Server) listObjects(w http.ResponseWriter, r *http.Request, bucket string) *refusal {
	q := r.URL.Query()
	limit := defaultListed
	if text := q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > mostListed {
			return &refusal{status: http.StatusBadRequest, count: &s.stats.malformed, detail: fmt.Sprintf("limit %q is not within 1 to %d", text, mostListed)}
		}
		limit = n
	}
	rows, more, err := s.deps.Objects.List(r.Context(), bucket, q.Get("prefix"), q.Get("after"), limit)
	if err != nil {
		return s.objectRefusal(err)
	}
	out := struct {
		Objects []listedObject `json:"objects"`
		Next    string         `json:"next,omitempty"`
	}{Objects: make([]listedObject, len(rows))}
	for i, row := range rows {
		out.Objects[i] = listedObject{row.Key, row.Object}
	}
	if more && len(rows) > 0 {
		out.Next = rows[len(rows)-1].Key
	}
	s.stats.answered.Add(1)
	s.answerJSON(w, http.StatusOK, out)
	return nil
}

func (s *Server) answerJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	s.mayWrite(w)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // whoever asked may have left
}

func (s *Server) getObject(w http.ResponseWriter, r *http.Request, bucket, key string) *refusal {
	o, f, err := s.deps.Objects.Open(r.Context(), bucket, key)
	if err != nil {
		return s.objectRefusal(err)
	}
	defer func() { _ = f.Close() }() // it was read alone
	h := w.Header()
	h.Set("Content-Type", o.Type)
	h.Set("Etag", etag(o))
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Content-Type-Options", "nosniff")
	// What somebody has put must not act in the name of the gateway's pages.
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	within := s.cfg.ReplyWithin + time.Duration(o.Size/slowest)*time.Second
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(within)) // every connection has one
	s.stats.answered.Add(1)
	http.ServeContent(w, r, "", o.Modified, f)
	return nil
}

func (s *Server) deleteObject(w http.ResponseWriter, r *http.Request, from caller, bucket, key string) *refusal {
	if err := s.deps.Objects.Delete(r.Context(), objectSource(from), bucket, key, condition(r.Header)); err != nil {
		return s.objectRefusal(err)
	}
	s.stats.answered.Add(1)
	s.mayWrite(w)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func etag(o function.Object) string { return `"` + o.Digest + `"` }

// errPrecondition is a change of something else than the caller meant.
var errPrecondition = errors.New("what is there is not what If-Match or If-None-Match says")

// condition is what the headers say of the object that is there (RFC 9110,
// 13.1); nil where they say nothing.
func condition(h http.Header) object.Condition {
	match, none := h.Values("If-Match"), h.Values("If-None-Match")
	if len(match)+len(none) == 0 {
		return nil
	}
	return func(o function.Object, found bool) error {
		if len(match) > 0 && !tagIn(match, o, found) || len(none) > 0 && tagIn(none, o, found) {
			return errPrecondition
		}
		return nil
	}
}

// tagIn reports whether the object is one of those that a header names.
func tagIn(values []string, o function.Object, found bool) bool {
	for _, v := range values {
		for tag := range strings.SplitSeq(v, ",") {
			if tag = strings.TrimSpace(tag); found && (tag == "*" || tag == etag(o)) {
				return true
			}
		}
	}
	return false
}

// objectRefusal says why an object is not answered or changed.
func (s *Server) objectRefusal(err error) *refusal {
	var quota *store.QuotaError
	var offset *object.OffsetError
	var body *object.BodyError
	why := &refusal{status: http.StatusServiceUnavailable, count: &s.stats.busy, unread: true, detail: err.Error()}
	switch {
	case errors.Is(err, object.ErrNoBucket), errors.Is(err, object.ErrNotFound), errors.Is(err, object.ErrMissing):
		why.status, why.count = http.StatusNotFound, &s.stats.notFound
	case errors.Is(err, errPrecondition):
		why.status, why.count = http.StatusPreconditionFailed, &s.stats.malformed
	case errors.Is(err, object.ErrTooLarge):
		why.status, why.count = http.StatusRequestEntityTooLarge, &s.stats.tooLarge
	case errors.Is(err, object.ErrDigest), errors.Is(err, object.ErrInvalid):
		why.status, why.count = http.StatusBadRequest, &s.stats.malformed
	case errors.As(err, &offset):
		why.status, why.count, why.header = http.StatusConflict, &s.stats.malformed, rangeHeader(offset.Offset)
	case errors.As(err, &body):
		why.status, why.count, why.header = http.StatusRequestTimeout, &s.stats.malformed, rangeHeader(body.Offset)
	case errors.Is(err, object.ErrBusy):
		why.status, why.wait = http.StatusTooManyRequests, 5*time.Second
	case errors.As(err, &quota) && (quota.What == "bucket" || quota.What == "disk"), errors.Is(err, object.ErrNoRoom):
		why.status = http.StatusInsufficientStorage
	case errors.As(err, &quota), errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrRolledBack), errors.Is(err, store.ErrClosed), errors.Is(err, dispatch.ErrClosed):
		why.wait = 5 * time.Second
	case errors.Is(err, context.Canceled):
		why.count, why.detail = &s.stats.gone, "the key was revoked, or the caller has left"
	default:
		s.deps.Logger.Error("object", "error", err)
		why.status, why.detail = http.StatusInternalServerError, "the gateway failed"
	}
	return why
}

// rangeHeader says how much of an upload is there; nothing is said of none.
func rangeHeader(offset int64) http.Header {
	if offset == 0 {
		return nil
	}
	return http.Header{"Range": {fmt.Sprintf("bytes=0-%d", offset-1)}}
}
