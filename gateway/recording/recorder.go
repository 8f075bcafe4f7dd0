package recording

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sandbox/host"
)

// Order says what is to be recorded of a function.
type Order struct {
	// Failures leaves out invocations that succeed.
	Failures bool
	// Count is how many are recorded, Until when it ends in any case, on the
	// monotonic clock.
	Count int
	Until time.Time
}

// Subject is what a recording says of the function.
type Subject struct {
	Spec    function.Spec
	Version int
	Digest  string
}

// Config configures a Recorder.
type Config struct {
	Shelf  *Shelf
	Logger *slog.Logger
	// Subject tells of a live function version; false is none.
	Subject func(name string, version int) (Subject, bool)
	// Stopped reports whether falling space has stopped recordings.
	Stopped func() bool
	// Now is the wall clock.
	Now func() time.Time
	// Gateway and Sandbox are put into every recording.
	Gateway, Sandbox string
}

// Recorder records invocations while somebody wants it. Invocations are not
// held up: what cannot be written at once waits in a short queue.
type Recorder struct {
	cfg Config

	armed  atomic.Int32 // how many orders there are
	mu     sync.Mutex   // guards orders and closed
	orders map[string]*Order
	closed bool

	queue chan *Recording
	done  chan struct{}

	kept, dropped, lost atomic.Uint64
}

// Stats are counters since New, and what is so now.
type Stats struct {
	// Kept counts recordings written, Dropped those that made room for newer
	// ones, Lost those that could not be kept: the writer was behind, the disk
	// full or they were too large.
	Kept, Dropped, Lost uint64
	// Orders is how many functions are being recorded, Bytes what the
	// recordings take.
	Orders int
	Bytes  int64
}

// queued is how many recordings wait for the disk.
const queued = 16

// New starts a recorder.
func New(cfg Config) *Recorder {
	r := &Recorder{cfg: cfg, orders: map[string]*Order{}, queue: make(chan *Recording, queued), done: make(chan struct{})}
	go r.write()
	return r
}

// Close waits until what was recorded is written.
func (r *Recorder) Close() {
	r.mu.Lock()
	if !r.closed {
		r.closed = true
		close(r.queue)
	}
	r.mu.Unlock()
	<-r.done
}

func (r *Recorder) write() {
	defer close(r.done)
	for rec := range r.queue {
		if r.cfg.Stopped() {
			r.lost.Add(1)
			continue
		}
		dropped, err := r.cfg.Shelf.Put(rec)
		r.dropped.Add(uint64(dropped))
		if err != nil {
			r.lost.Add(1)
			r.cfg.Logger.Warn("recording is lost", "function", rec.Spec.Name, "event_id", rec.Event.ID, "error", err)
			continue
		}
		r.kept.Add(1)
	}
}

// Start records a function from now on; an order that it has is replaced.
func (r *Recorder) Start(name string, o Order) error {
	if o.Count < 1 || o.Count > MaxRecordings {
		return fmt.Errorf("count %d: it must be 1 to %d", o.Count, MaxRecordings)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return errors.New("the gateway is stopping")
	}
	r.orders[name] = &o
	r.armed.Store(int32(len(r.orders)))
	return nil
}

// Stop ends recording a function; it reports whether it was recorded.
func (r *Recorder) Stop(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	o := r.orders[name]
	was := o != nil && r.liveLocked(name, o)
	delete(r.orders, name)
	r.armed.Store(int32(len(r.orders)))
	return was
}

// Orders are the functions that are being recorded.
func (r *Recorder) Orders() map[string]Order {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string]Order{}
	for name, o := range r.orders {
		if r.liveLocked(name, o) {
			out[name] = *o
		}
	}
	return out
}

func (r *Recorder) liveLocked(name string, o *Order) bool {
	if o.Count > 0 && (o.Until.IsZero() || time.Now().Before(o.Until)) {
		return true
	}
	delete(r.orders, name)
	r.armed.Store(int32(len(r.orders)))
	return false
}

// Stats returns the counters.
func (r *Recorder) Stats() Stats {
	return Stats{
		Kept: r.kept.Load(), Dropped: r.dropped.Load(), Lost: r.lost.Load(),
		Orders: len(r.Orders()), Bytes: r.cfg.Shelf.Bytes(),
	}
}

// Listener returns what listens to one invocation of a function version; nil
// where nobody wants it.
func (r *Recorder) Listener(name string, version int) *Listener {
	if r.armed.Load() == 0 {
		return nil
	}
	r.mu.Lock()
	o := r.orders[name]
	wanted := o != nil && r.liveLocked(name, o)
	r.mu.Unlock()
	if !wanted {
		return nil
	}
	return &Listener{r: r, name: name, version: version}
}

// Listener records one invocation.
type Listener struct {
	Tape
	r       *Recorder
	name    string
	version int
}

// Cut ends the recording. Nothing of its arguments is kept.
func (l *Listener) Cut(ev *event.Event, meta host.Meta, calls *host.Calls, result *function.Result) {
	r := l.r
	subject, ok := r.cfg.Subject(l.name, l.version)
	if !ok || !r.take(l.name, result.Outcome != function.OK) {
		return
	}
	rec := l.Tape.Cut(&subject.Spec, ev, meta, calls, result)
	rec.Time, rec.Version, rec.Digest = r.cfg.Now().UTC(), subject.Version, subject.Digest
	rec.Gateway, rec.Sandbox = r.cfg.Gateway, r.cfg.Sandbox
	rec.ID = identity(rec)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		r.lost.Add(1)
		return
	}
	select {
	case r.queue <- rec:
	default:
		r.lost.Add(1)
	}
}

// take counts one invocation against the order.
func (r *Recorder) take(name string, failed bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	o := r.orders[name]
	if o == nil || !r.liveLocked(name, o) || o.Failures && !failed {
		return false
	}
	o.Count--
	return true
}

// identity names a recording by what it is of: an attempt that is run again
// because its reads were stale replaces itself.
func identity(r *Recording) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%d\x00%s\x00%s\x00%s", r.Spec.Name, r.Version, r.Event.Source, r.Event.ID, r.Meta["attempt"]))
	return hex.EncodeToString(sum[:5])
}
