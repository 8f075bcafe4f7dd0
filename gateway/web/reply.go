package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/dispatch"
	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/gateway/trigger"
	"github.com/headgate-io/headgate/mqtt/broker"
	"github.com/headgate-io/headgate/sandbox/abi"
)

// EventHeader names the event that a request became.
const EventHeader = "Headgate-Event"

// reply writes what the function said.
func (s *Server) reply(w http.ResponseWriter, x *route, e *event.Event, r *dispatch.Reply) *refusal {
	w.Header().Set(EventHeader, e.ID)
	if r.Result.Outcome != function.OK {
		return s.failed(r)
	}
	status, err := setReply(w.Header(), r, len(x.trigger.CORS) > 0)
	if err != nil {
		s.deps.Logger.Warn("a function's answer cannot be sent", "function", x.function, "event_id", e.ID, "error", err)
		return &refusal{status: http.StatusInternalServerError, count: &s.stats.failed, detail: s.inner("the function's answer cannot be sent", err)}
	}
	s.stats.answered.Add(1)
	s.mayWrite(w)
	w.WriteHeader(status)
	_, _ = w.Write(r.Output) // whoever asked may have left
	return nil
}

// inner is what callers see of an error.
func (s *Server) inner(outer string, err error) string {
	if s.cfg.Errors {
		return fmt.Sprintf("%s: %v", outer, err)
	}
	return outer
}

func (s *Server) failed(r *dispatch.Reply) *refusal {
	why := &refusal{status: http.StatusInternalServerError, count: &s.stats.failed}
	why.detail = s.inner("the function failed", errors.New(r.Result.Error))
	switch r.Result.Outcome {
	case function.TimedOut:
		why.status, why.count = http.StatusGatewayTimeout, &s.stats.timedOut
		why.detail = s.inner("the function did not answer in time", errors.New(r.Result.Error))
	case function.Refused:
		why.status, why.count, why.wait = http.StatusServiceUnavailable, &s.stats.busy, time.Second
		why.detail = s.inner("the function could not be started", errors.New(r.Result.Error))
	}
	return why
}

// ours are the headers that a function cannot set: the connection's, the
// gateway's, and cookies, which it would not get back.
var ours = append(slices.Clone(hop), "Content-Length", "Date", "Set-Cookie", EventHeader)

// setReply sets the headers that the function's attributes ask for. With cors who
// may read the answer is said already.
func setReply(h http.Header, r *dispatch.Reply, cors bool) (status int, err error) {
	status = http.StatusOK
	h.Set("X-Content-Type-Options", "nosniff")
	if utf8.Valid(r.Output) {
		h.Set("Content-Type", "text/plain; charset=utf-8")
	} else {
		h.Set("Content-Type", "application/octet-stream")
	}
	for _, a := range r.Attributes {
		name, isHeader := strings.CutPrefix(a.Key, abi.OutputHeaderPrefix)
		switch {
		case a.Key == abi.OutputStatus:
			if status, err = strconv.Atoi(a.Value); err != nil || status < 200 || status > 599 {
				return 0, fmt.Errorf("status %q is not within 200 to 599", a.Value)
			}
		case a.Key == abi.MetaContentType:
			if !validValue(a.Value) {
				return 0, fmt.Errorf("the content type holds a control character")
			}
			h.Set("Content-Type", a.Value)
		case isHeader:
			name = http.CanonicalHeaderKey(name)
			if !validName(name) {
				return 0, fmt.Errorf("%q is not the name of a header", name)
			}
			if slices.Contains(ours, name) || cors && strings.HasPrefix(name, "Access-Control-") {
				continue
			}
			h.Del(name)
			for value := range strings.SplitSeq(a.Value, "\n") {
				if !validValue(value) {
					return 0, fmt.Errorf("header %s holds a control character", name)
				}
				h.Add(name, value)
			}
		}
	}
	if len(r.Output) > 0 && (status == http.StatusNoContent || status == http.StatusNotModified) {
		return 0, fmt.Errorf("status %d has no body", status)
	}
	if len(r.Output) == 0 && status != http.StatusOK {
		h.Del("Content-Type")
	}
	return status, nil
}

func validName(s string) bool {
	return s != "" && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~") == ""
}

func validValue(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

// notStarted explains why no function answered.
func (s *Server) notStarted(ctx context.Context, r *http.Request, err error) *refusal {
	var rate *dispatch.RateError
	busy := &refusal{status: http.StatusServiceUnavailable, count: &s.stats.busy, wait: 5 * time.Second}
	switch {
	case errors.As(err, &rate):
		return &refusal{status: http.StatusTooManyRequests, count: &s.stats.rateLimited, wait: max(rate.Wait, time.Millisecond), detail: "the function is called more often than its rate allows"}
	case errors.Is(context.Cause(ctx), errTimeout):
		return &refusal{status: http.StatusGatewayTimeout, count: &s.stats.timedOut, detail: "the function did not answer in time"}
	case r.Context().Err() != nil:
		s.stats.gone.Add(1)
		return &refusal{status: http.StatusServiceUnavailable, detail: "the key was revoked, or the caller has left"}
	case errors.Is(err, dispatch.ErrPaused):
		busy.detail = "the function is paused, because it keeps failing"
	case errors.Is(err, dispatch.ErrNotDeployed):
		busy.detail = "the function does not run"
	case errors.Is(err, dispatch.ErrBusy):
		busy.detail = "too much waits for the function"
	case errors.Is(err, dispatch.ErrClosed):
		busy.detail = "the gateway is shutting down"
	case errors.Is(err, store.ErrRolledBack):
		busy.detail = "the answer could not be stored"
	default:
		s.deps.Logger.Error("request", "error", err)
		busy.status, busy.wait, busy.detail = http.StatusInternalServerError, 0, "the gateway failed"
	}
	return busy
}

// kept hears that an event is safe.
type kept chan broker.ReasonCode

// Release takes the one answer.
func (k kept) Release(code broker.ReasonCode) { k <- code }

// keep stores the event and answers with its id.
func (s *Server) keep(ctx context.Context, w http.ResponseWriter, r *http.Request, x *route, from caller, e *event.Event, m *trigger.Match) *refusal {
	in := dispatch.Arrival{Event: e, Matches: []trigger.Match{*m}}
	keys := r.Header.Values("Idempotency-Key")
	switch {
	case len(keys) > 1 || len(keys) == 1 && (keys[0] == "" || len(keys[0]) > 256):
		return &refusal{status: http.StatusBadRequest, count: &s.stats.malformed, detail: "Idempotency-Key is there twice, empty or over 256 bytes"}
	case len(keys) == 1:
		e.ID = idempotent(from, x, r, keys[0], e.Data)
		in.Dedupe = store.NewDedupeKey("http/"+from.name, e.Source, e.ID)
	}
	safe := make(kept, 1)
	in.Release = safe
	s.deps.Started(e, m)
	s.deps.Dispatcher.Submit(in)
	select {
	case code := <-safe:
		return s.answerKept(w, e, code)
	case <-ctx.Done():
		return s.notStarted(ctx, r, ctx.Err())
	}
}

func (s *Server) answerKept(w http.ResponseWriter, e *event.Event, code broker.ReasonCode) *refusal {
	switch code {
	case broker.Success:
	case broker.QuotaExceeded:
		return &refusal{status: http.StatusServiceUnavailable, count: &s.stats.busy, wait: 5 * time.Second, detail: "there is no room for the event"}
	case broker.ServerShuttingDown:
		return &refusal{status: http.StatusServiceUnavailable, count: &s.stats.busy, wait: 5 * time.Second, detail: "the gateway is shutting down"}
	default:
		return &refusal{status: http.StatusServiceUnavailable, count: &s.stats.busy, wait: 5 * time.Second, detail: "the event could not be stored"}
	}
	s.stats.kept.Add(1)
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set(EventHeader, e.ID)
	s.mayWrite(w)
	w.WriteHeader(http.StatusAccepted)
	_ = json.NewEncoder(w).Encode(map[string]string{"id": e.ID}) // whoever asked may have left
	return nil
}
