package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/tail"
)

// maxTail bounds how many items a request may ask for.
const maxTail = 10_000

// streams are answers of one JSON value a line, which with follow=true go on
// until the client leaves.
func (s *Server) streams() {
	t := s.deps.Tails
	s.mux.Handle("GET /v1/invocations", stream(t.Invocations, func(i *api.Invocation) (string, int) { return i.Function, i.Version }))
	s.mux.Handle("GET /v1/logs", stream(t.Logs, func(l *api.LogLine) (string, int) { return l.Function, l.Version }))
	s.mux.Handle("GET /v1/events", streamEvents(t.Events))
	s.mux.HandleFunc("GET /v1/messages", s.subscribe)
}

func stream[T any](ring *tail.Ring[T], functionOf func(*T) (name string, version int)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var keep func(*T) bool
		if name := r.URL.Query().Get("function"); name != "" {
			version := r.URL.Query().Get("version")
			keep = func(item *T) bool {
				f, v := functionOf(item)
				return f == name && (version == "" || version == strconv.Itoa(v))
			}
		}
		serveRing(w, r, ring, keep)
	})
}

func streamEvents(ring *tail.Ring[api.Event]) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var keep func(*api.Event) bool
		if name := r.URL.Query().Get("function"); name != "" {
			keep = func(e *api.Event) bool {
				for _, f := range e.Functions {
					if f == name {
						return true
					}
				}
				return false
			}
		}
		serveRing(w, r, ring, keep)
	})
}

func serveRing[T any](w http.ResponseWriter, r *http.Request, ring *tail.Ring[T], keep func(*T) bool) {
	q := r.URL.Query()
	limit, err := queryInt(q.Get("limit"), 100, 0, maxTail)
	if err != nil {
		refuse(w, http.StatusUnprocessableEntity, "limit: "+err.Error())
		return
	}
	out := newLineWriter(w)
	if q.Get("follow") != "true" {
		for _, item := range ring.Last(limit, keep) {
			if out.write(item) != nil {
				return
			}
		}
		return
	}
	out.flush()
	for item := range ring.Follow(r.Context(), limit, keep) {
		if out.write(item) != nil {
			return
		}
		out.flush()
	}
}

// subscribe streams the messages that match a filter.
func (s *Server) subscribe(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	count, err := queryInt(q.Get("count"), 0, 0, 1<<30)
	if err != nil {
		refuse(w, http.StatusUnprocessableEntity, "count: "+err.Error())
		return
	}
	messages := make(chan api.Message, 1024)
	cancel, err := s.deps.Messenger.Subscribe(q.Get("filter"), func(m api.Message) {
		select {
		case messages <- m:
		default: // a reader that is too slow misses some
		}
	})
	if err != nil {
		refuse(w, http.StatusUnprocessableEntity, err.Error())
		return
	}
	defer cancel()
	out := newLineWriter(w)
	out.flush()
	for n := 0; count == 0 || n < count; n++ {
		select {
		case <-r.Context().Done():
			return
		case m := <-messages:
			if out.write(m) != nil {
				return
			}
			out.flush()
		}
	}
}

func queryInt(s string, missing, low, high int) (int, error) {
	if s == "" {
		return missing, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < low || n > high {
		return 0, fmt.Errorf("%q is not a number from %d to %d", s, low, high)
	}
	return n, nil
}

// lineWriter writes JSON values, one a line.
type lineWriter struct {
	enc     *json.Encoder
	control *http.ResponseController
}

func newLineWriter(w http.ResponseWriter) lineWriter {
	w.Header().Set("Content-Type", "application/x-ndjson")
	return lineWriter{enc: json.NewEncoder(w), control: http.NewResponseController(w)}
}

func (l lineWriter) write(v any) error { return l.enc.Encode(v) }

// flush sends what was written; where the connection is gone the next write
// says so.
func (l lineWriter) flush() { _ = l.control.Flush() }

// refuse answers with a problem (RFC 9457), as huma does for its operations.
func refuse(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(api.Problem{Status: status, Title: http.StatusText(status), Detail: detail})
}
