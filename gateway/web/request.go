package web

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/trigger"
)

// serve answers one request.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.stats.requests.Add(1)
	s.stats.active.Add(1)
	defer s.stats.active.Add(-1)
	if why := s.answer(w, r); why != nil {
		s.refuse(w, why)
	}
}

// answer lets the route's function answer, or says why it does not.
func (s *Server) answer(w http.ResponseWriter, r *http.Request) *refusal {
	if why := checkRequest(r); why != "" {
		return &refusal{status: http.StatusBadRequest, count: &s.stats.malformed, unread: true, detail: why}
	}
	if rest, ok := strings.CutPrefix(r.URL.Path, bucketsPath); ok && s.deps.Objects != nil {
		return s.object(w, r, rest)
	}
	b := s.routes.current()
	if s.preflight(w, r, b) {
		return nil
	}
	x, allowed := b.find(r)
	switch {
	case x == nil && len(allowed) > 0:
		return &refusal{
			status: http.StatusMethodNotAllowed, count: &s.stats.wrongMethod, unread: true, detail: "this path takes " + strings.Join(allowed, ", "),
			header: http.Header{"Allow": {strings.Join(allowed, ", ")}},
		}
	case x == nil:
		return &refusal{status: http.StatusNotFound, count: &s.stats.notFound, unread: true, detail: "no function has this route"}
	}
	s.crossOrigin(w.Header(), r, x)
	r, from, refused := s.admit(r, x)
	if refused != nil {
		return refused
	}
	defer from.done()
	if err := s.deps.Ready(); err != nil {
		return &refusal{status: http.StatusServiceUnavailable, count: &s.stats.busy, unread: true, wait: time.Second, detail: fmt.Sprintf("the gateway is %v", err)}
	}
	ctx, cancel := context.WithTimeoutCause(r.Context(), x.trigger.ReplyWithin(), errTimeout)
	defer cancel()
	body, release, refused := s.read(w, r, x)
	if refused != nil {
		return refused
	}
	defer release()
	return s.start(ctx, w, r, x, from, body)
}

var errTimeout = errors.New("no answer in time")

// checkRequest refuses what could be read in two ways.
func checkRequest(r *http.Request) string {
	escaped := strings.ToLower(r.URL.EscapedPath())
	switch {
	case !strings.HasPrefix(r.URL.Path, "/"):
		return "the path is missing"
	case strings.Contains(escaped, "%2f") || strings.Contains(escaped, "%5c") || strings.ContainsRune(escaped, '\\'):
		return "an escaped slash or a backslash in a path is not understood: put the value into the query"
	case strings.Contains(escaped, "%00"):
		return "the path holds a NUL"
	case strings.Contains(r.URL.Path, "//"):
		return "the path has an empty part"
	}
	for level := range strings.SplitSeq(r.URL.Path, "/") {
		if level == "." || level == ".." {
			return "a path with . or .. in it is not understood: write where it leads"
		}
	}
	return ""
}

// read takes the body in, within the bounds of the route and of the server.
func (s *Server) read(w http.ResponseWriter, r *http.Request, x *route) (body []byte, release func(), why *refusal) {
	limit := int64(x.trigger.BodyLimit())
	tooLarge := &refusal{status: http.StatusRequestEntityTooLarge, count: &s.stats.tooLarge, unread: true, detail: fmt.Sprintf("the body is over %v", function.ByteSize(limit))}
	switch {
	case r.ContentLength > limit:
		return nil, nil, tooLarge
	case r.ContentLength == 0:
		return nil, func() {}, nil
	case r.ContentLength > 0:
		limit = r.ContentLength
	}
	if limit > s.cfg.MaxBodies || !s.bodies.TryAcquire(limit) {
		return nil, nil, &refusal{status: http.StatusServiceUnavailable, count: &s.stats.busy, unread: true, wait: time.Second, detail: "too many requests have a body"}
	}
	release = func() { s.bodies.Release(limit) }
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(s.cfg.BodyWithin)) // every connection has one
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	_ = control.SetReadDeadline(time.Time{}) // a client that leaves is noticed by its reader
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		release()
		return nil, nil, tooLarge
	case err != nil:
		release()
		return nil, nil, &refusal{status: http.StatusRequestTimeout, count: &s.stats.malformed, unread: true, detail: "the body did not arrive"}
	}
	return body, release, nil
}

// start makes the event and waits for what becomes of it.
func (s *Server) start(ctx context.Context, w http.ResponseWriter, r *http.Request, x *route, from caller, body []byte) *refusal {
	e := s.newEvent(r, from, body)
	method := x.method
	if method == function.AnyMethod {
		method = r.Method
	}
	m := trigger.Message{Kind: trigger.HTTP, Topic: trigger.HTTPSubject(method, r.URL.Path), Payload: body, Event: e}
	if x.trigger.Durable {
		m.QoS = 1
	}
	matches := s.deps.Triggers.Match(&m, nil)
	i := slices.IndexFunc(matches, func(m trigger.Match) bool { return m.Function == x.function })
	if i < 0 {
		return &refusal{status: http.StatusNotFound, count: &s.stats.notFound, detail: "the route's condition does not hold for this request"}
	}
	if x.trigger.Durable {
		return s.keep(ctx, w, r, x, from, e, &matches[i])
	}
	s.deps.Started(e, &matches[i])
	reply, err := s.deps.Dispatcher.Request(ctx, x.function, e, matches[i].Params)
	if err != nil {
		return s.notStarted(ctx, r, err)
	}
	return s.reply(w, x, e, &reply)
}

// hop are the headers that are the connection's (RFC 9110, 7.6.1).
var hop = []string{"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade"}

// newEvent makes an event of a request.
func (s *Server) newEvent(r *http.Request, from caller, body []byte) *event.Event {
	e := s.deps.NewEvent()
	e.Source, e.Type, e.Subject, e.Data = "/http", event.TypeHTTP, r.URL.Path, body
	e.DataContentType = r.Header.Get("Content-Type")
	remote, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		remote = r.RemoteAddr
	}
	e.Extensions = map[string]string{
		event.ExtHTTPMethod: r.Method, event.ExtHTTPQuery: r.URL.RawQuery, event.ExtHTTPHeaders: headersJSON(r, from.shown), event.ExtHTTPRemote: remote,
	}
	if from.name != "" {
		e.Source += "/" + from.name
		e.Extensions[event.ExtHTTPKey] = from.name
	}
	return e
}

// headersJSON is what the function gets of the headers. Cookies are not among
// them: all functions share one origin, and so would their cookies.
func headersJSON(r *http.Request, shown []string) string {
	out := map[string]string{"host": r.Host}
	named := r.Header.Values("Connection")
	for name, values := range r.Header {
		ofConnection := slices.ContainsFunc(named, func(v string) bool {
			return slices.ContainsFunc(strings.Split(v, ","), func(n string) bool { return strings.EqualFold(strings.TrimSpace(n), name) })
		})
		if ofConnection || slices.Contains(hop, name) || slices.Contains(shown, name) || name == "Cookie" {
			continue
		}
		out[strings.ToLower(name)] = strings.ToValidUTF8(strings.Join(values, ", "), "\ufffd")
	}
	b, err := json.Marshal(out)
	if err != nil {
		return "{}"
	}
	return string(b)
}

// idempotent is the event id that an Idempotency-Key stands for: the same for
// each request of the same caller with it that asks for the same. Where a client
// uses a key again for something else, that is another event: it would be
// answered as kept, and be lost.
func idempotent(from caller, x *route, r *http.Request, key string, body []byte) string {
	h := sha256.New()
	for _, part := range []string{from.name, x.function, x.String(), r.Method, r.URL.RequestURI(), key} {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	h.Write(body)
	return "http-" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(h.Sum(nil)[:15]))
}
