package web

import (
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// refusal is why a request is not answered by a function (RFC 9457).
type refusal struct {
	status int
	detail string
	// wait, where not 0, says when it is worth another try.
	wait time.Duration
	// header are fields beside it.
	header http.Header
	// count is the counter of its kind.
	count *atomic.Uint64
	// unread is true when the body has not been asked for: whoever is not
	// admitted gets no more of the connection.
	unread bool
}

// refuse answers with what is wrong.
func (s *Server) refuse(w http.ResponseWriter, r *refusal) {
	if r.count != nil {
		r.count.Add(1)
	}
	h := w.Header()
	for name, values := range r.header {
		h[name] = values
	}
	h.Set("Content-Type", "application/problem+json")
	h.Set("X-Content-Type-Options", "nosniff")
	if r.wait > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(r.wait.Seconds()))))
	}
	if r.unread {
		h.Set("Connection", "close")
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(time.Second)) // of a body that is on its way
	}
	s.mayWrite(w)
	w.WriteHeader(r.status)
	_ = json.NewEncoder(w).Encode(struct {
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail"`
	}{http.StatusText(r.status), r.status, r.detail}) // whoever asked may have left
}

// mayWrite bounds how long a client may take to read its answer.
func (s *Server) mayWrite(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(s.cfg.ReplyWithin)) // every connection has one
}
