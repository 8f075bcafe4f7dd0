package host

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sandbox/abi"
)

// Fetcher sends a function's HTTP requests. It may be used by any goroutine.
type Fetcher interface {
	// Fetch sends one request and returns its answer; ctx ends with the
	// invocation. An error that is a *FetchError says which errno the guest
	// hears, any other is abi.Unavailable. The result counts what was moved, in
	// case of an error too.
	Fetch(ctx context.Context, f *Fetch) (FetchResult, error)
}

// Fetch is one call of http_fetch that the function's permissions allow.
type Fetch struct {
	Function string
	// Source and ID name the event, and Call counts the invocation's fetches
	// from 0: together they are the same in a retry and in a rerun.
	Source, ID string
	Call       int
	// Origins are what the function may fetch from: redirects have to be asked.
	Origins []function.Origin
	URL     *url.URL
	Request abi.FetchRequest
}

// FetchResult is what came of a Fetch.
type FetchResult struct {
	Answer abi.FetchAnswer
	// Sent and Received are the bytes of the heads and bodies.
	Sent, Received int64
}

// FetchError is why there is no answer.
type FetchError struct {
	Errno  abi.Errno
	Reason string
}

// Error returns the reason.
func (e *FetchError) Error() string { return e.Reason }

// Committer is a State that knows when what was read from it is on disk.
type Committer interface {
	// Committed waits until everything that was read so far has committed. It
	// fails when that was taken back.
	Committed(ctx context.Context) error
}

// Bounds of the fetches of one invocation.
const (
	// MaxFetches is how many it may make.
	MaxFetches = 64
	// MaxFetchedBytes is how much their answers may hold, together: a rerun has
	// to hear them again.
	MaxFetchedBytes = 16 << 20
)

// fetched is a call of http_fetch and its answer, which a rerun hears again.
type fetched struct {
	request [sha256.Size]byte
	answer  []byte
	errno   abi.Errno
	reason  string
	// raw is the request itself, kept of invocations that are recorded.
	raw []byte
}

// fetches are those of one event.
type fetches struct {
	journal []fetched
	bytes   int // of the answers in journal
	made    int // by this run
	// short is true while the last answer was larger than the guest's room: the
	// same request then asks for it again.
	short          bool
	sent, received int64
}

// reset forgets everything. The answers are not kept for reuse: they may be
// large, and few events fetch.
func (f *fetches) reset() { *f = fetches{} }

// rewind begins a rerun.
func (f *fetches) rewind() { f.made, f.short = 0, false }

// Fetched is how many bytes the invocation's fetches have sent and received,
// its reruns included.
func (c *Calls) Fetched() (sent, received int64) { return c.fetches.sent, c.fetches.received }

// ForgetFetched lets the answers go that are kept for a rerun.
func (c *Calls) ForgetFetched() { c.fetches.reset() }

// Fetch answers http_fetch, for a guest with room for that many bytes. The
// answer is valid until Reset.
//
// An answer that does not fit is kept: the same request hears it again, and
// nothing is sent twice.
func (c *Calls) Fetch(ctx context.Context, raw []byte, room int) ([]byte, abi.Errno) {
	f := &c.fetches
	request := sha256.Sum256(raw)
	if f.short && f.journal[f.made-1].request == request {
		return c.fetchAnswer(room)
	}
	if f.made == MaxFetches {
		return nil, c.refuse(abi.Limit, "http_fetch: one invocation may fetch %d times", MaxFetches)
	}
	if f.made < len(f.journal) && f.journal[f.made].request != request {
		// This rerun asks for something else: what follows is new.
		for _, gone := range f.journal[f.made:] {
			f.bytes -= len(gone.answer)
		}
		clear(f.journal[f.made:])
		f.journal = f.journal[:f.made]
	}
	if f.made == len(f.journal) {
		entry := c.fetchAnew(ctx, raw)
		if c.abort != nil {
			return nil, abi.Unavailable
		}
		if entry.request = request; c.in.Recorded {
			entry.raw = bytes.Clone(raw)
		}
		f.bytes += len(entry.answer)
		f.journal = append(f.journal, entry)
	}
	f.made++
	return c.fetchAnswer(room)
}

// fetchAnswer hands out the answer of the last call.
func (c *Calls) fetchAnswer(room int) ([]byte, abi.Errno) {
	entry := &c.fetches.journal[c.fetches.made-1]
	c.fetches.short = entry.errno == 0 && len(entry.answer) > room
	if entry.errno != 0 {
		return nil, c.refuse(entry.errno, "%s", entry.reason)
	}
	return entry.answer, 0
}

func noAnswer(e abi.Errno, format string, args ...any) fetched {
	return fetched{errno: e, reason: "http_fetch: " + fmt.Sprintf(format, args...)}
}

// fetchAnew makes a call that was not made before. It ends with the invocation.
func (c *Calls) fetchAnew(ctx context.Context, raw []byte) fetched {
	if !c.deadline.IsZero() {
		var done context.CancelFunc
		ctx, done = context.WithDeadline(ctx, c.deadline)
		defer done()
	}
	r, err := abi.ParseFetchRequest(raw)
	if err != nil {
		return noAnswer(abi.Invalid, "the request cannot be read: %v", err)
	}
	u, err := function.ParseFetchURL(r.URL)
	if err != nil {
		return noAnswer(abi.Invalid, "%v", err)
	}
	shown := Shown(u)
	if err := function.MayFetch(c.grant.origins, u); err != nil {
		return noAnswer(abi.Denied, "%s: %v", shown, err)
	}
	if c.grant.fetcher == nil {
		return noAnswer(abi.Unsupported, "%s: there is nobody here who fetches", shown)
	}
	if !c.committed(ctx) {
		return fetched{}
	}
	// Whoever sends the body may still read it when the guest goes on.
	r.Body = bytes.Clone(r.Body)
	source, _ := c.Lookup([]byte(abi.MetaSource))
	id, _ := c.Lookup([]byte(abi.MetaID))
	result, err := c.grant.fetcher.Fetch(ctx, &Fetch{
		Function: c.grant.name, Source: source, ID: id, Call: c.fetches.made, Origins: c.grant.origins, URL: u, Request: r,
	})
	c.fetches.sent += result.Sent
	c.fetches.received += result.Received
	if err != nil {
		var why *FetchError
		if errors.As(err, &why) {
			return noAnswer(why.Errno, "%s: %s", shown, why.Reason)
		}
		return noAnswer(abi.Unavailable, "%s: %v", shown, err)
	}
	answer, err := result.Answer.Append(nil)
	switch {
	case err != nil:
		return noAnswer(abi.Unavailable, "%s: %v", shown, err)
	case c.fetches.bytes+len(answer) > MaxFetchedBytes:
		return noAnswer(abi.Limit, "%s: the answers of one invocation may hold %d bytes together", shown, MaxFetchedBytes)
	}
	return fetched{answer: answer}
}

// committed waits until what the guest has read is on disk: what it tells
// others must not be taken back. It reports false when the invocation cannot go
// on.
func (c *Calls) committed(ctx context.Context) bool {
	s, ok := c.in.State.(Committer)
	if !ok {
		return true
	}
	err := s.Committed(ctx)
	switch {
	case err == nil:
		return true
	case ctx.Err() != nil:
		c.fail(function.TimedOut, "http_fetch: what the function has read was not on disk when its time was up")
	default:
		c.fail(function.Failed, "http_fetch: %v", err)
	}
	return false
}

// Shown is a URL as logs may have it: without its query, which may hold keys.
func Shown(u *url.URL) string {
	shown := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}
	return cut([]byte(shown.String()), 256)
}

// Arm says when the invocation ends. The sandbox calls it at the start.
func (c *Calls) Arm(deadline time.Time) { c.deadline = deadline }

// remaining is how many milliseconds are left. Unlike Now it moves: it is for
// those who want to stop in time.
func (c *Calls) remaining() int64 {
	if c.deadline.IsZero() {
		return time.Duration(c.grant.limits.Timeout).Milliseconds()
	}
	return max(0, time.Until(c.deadline).Milliseconds())
}
