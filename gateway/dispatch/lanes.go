package dispatch

import (
	"sync"
	"time"

	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/sync/usage"
)

// fn is one function by name, whatever its version: what waits for it, and
// what runs.
type fn struct {
	d    *Dispatcher
	name string
	// source is where events come from that the function causes.
	source string
	ref    *store.FunctionRef

	mu   sync.Mutex
	live *version // nil while no version is deployed
	// versions are all that can run, by number. split takes weight of
	// AllTraffic; it is nil where there is none.
	versions map[int]*version
	split    *version
	weight   uint32
	// keyed holds the heads of lanes that can run, free what has no key.
	keyed, free list
	lanes       map[string]*lane
	// serial is true once the function has been seen to write state: keyless
	// tasks then run one at a time, or they would only conflict.
	serial  bool
	freeRun int
	running int
	idle    []*worker
	order   int64
	// exclusive waits to run, or runs, alone.
	exclusive *task

	// Volatile tasks that wait, from the oldest on.
	oldest, newest *task
	volatiles      int
	volatileBytes  int64

	tokens  float64
	refill  time.Time
	rateSet bool // a timer will look again

	calls []*call
	usage map[volatileKey]*usage.Totals

	breaker breaker

	aged aged
	naps uint64

	// undelivered counts units of the function whose publishes have not left;
	// last is the latest of them.
	undelivered int
	last        store.Ticket

	stats FunctionStats
}

type volatileKey struct {
	version int
	minute  int64
}

// lane keeps the order of one key: active is the task that runs, awaits its
// settle or its next attempt; the others wait.
type lane struct {
	key    string
	active *task
	wait   list
	// blocks counts the dead letters whose redrive the key waits for.
	blocks int
}

// version is a function version with the invocations that use it.
type version struct {
	Function
	refs    int // guarded by the function's mutex
	retired bool
}

func (f *fn) concurrency() int {
	switch {
	case f.live == nil || f.d.stopping.Load() || f.pausedLocked():
		return 0
	case f.breaker.failures >= breakAfter:
		return 1 // a trial after the pause
	}
	return max(f.live.Limits.Concurrency, 1)
}

// enqueueLocked puts a task in its place.
func (f *fn) enqueueLocked(t *task) {
	if t.order == 0 {
		f.order++
		t.order = f.order
	}
	if t.kind == volatile {
		f.countVolatileLocked(t)
	}
	f.ageLocked(t)
	if t.key == "" {
		f.free.insert(t)
		return
	}
	l := f.lanes[t.key]
	if l == nil {
		l = &lane{key: t.key}
		f.lanes[t.key] = l
	}
	t.lane = l
	if l.active == nil && l.blocks == 0 && l.wait.n == 0 {
		l.active = t
		f.keyed.push(t)
		return
	}
	l.wait.insert(t)
}

// advanceLocked lets the next task of a lane run.
func (f *fn) advanceLocked(l *lane) {
	l.active = nil
	if l.blocks > 0 {
		return
	}
	if t := l.wait.pop(); t != nil {
		l.active = t
		f.keyed.push(t)
		return
	}
	delete(f.lanes, l.key)
}

// leaveLocked ends a task's hold on its key.
func (f *fn) leaveLocked(t *task) {
	f.unageLocked(t)
	if t.free {
		t.free = false
		f.freeRun--
	}
	if f.exclusive == t {
		f.exclusive = nil
	}
	if l := t.lane; l != nil && l.active == t {
		t.lane = nil
		f.advanceLocked(l)
	}
}

// withdrawLocked takes a task that waits out of its list.
func (f *fn) withdrawLocked(t *task) bool {
	l := t.list
	if l == nil {
		return false
	}
	l.remove(t)
	f.uncountLocked(t)
	f.leaveLocked(t)
	return true
}

func (f *fn) countVolatileLocked(t *task) {
	t.counted, t.older, t.newer = true, f.newest, nil
	if f.newest != nil {
		f.newest.newer = t
	} else {
		f.oldest = t
	}
	f.newest = t
	f.volatiles++
	f.volatileBytes += t.bytes()
}

func (f *fn) uncountLocked(t *task) {
	if !t.counted {
		return
	}
	if t.older != nil {
		t.older.newer = t.newer
	} else {
		f.oldest = t.newer
	}
	if t.newer != nil {
		t.newer.older = t.older
	} else {
		f.newest = t.older
	}
	t.counted, t.older, t.newer = false, nil, nil
	f.volatiles--
	f.volatileBytes -= t.bytes()
}

// dropOldestLocked keeps the volatile tasks within their bounds.
func (f *fn) dropOldestLocked() {
	for f.volatiles > f.d.cfg.MaxVolatile || f.volatileBytes > f.d.cfg.MaxVolatileBytes && f.volatiles > 1 {
		t := f.oldest
		f.withdrawLocked(t)
		f.stats.VolatileDropped++
		f.d.recycle(t)
	}
}

// nextLocked returns a task to run now, or nil.
func (f *fn) nextLocked() *task {
	if f.running >= f.concurrency() {
		return nil
	}
	if f.exclusive != nil {
		t := f.exclusive
		if f.running > 0 || t.list == nil {
			return nil
		}
		v := f.pickLocked(t)
		t.list.remove(t)
		return f.startLocked(t, v)
	}
	l := &f.keyed
	if free := f.free.head; free != nil && (!f.serial || f.freeRun == 0) {
		if l.head == nil || free.order < l.head.order {
			l = &f.free
		}
	}
	t := l.head
	if t == nil {
		return nil
	}
	if t.kind == durable && t.stored.Load() && f.leftLocked(t) <= 0 {
		f.expireLocked()
		return nil
	}
	v := f.pickLocked(t)
	if v != nil && v.refs >= max(v.Limits.Concurrency, 1) {
		return nil // one of its own ends first
	}
	if t.kind == durable && !f.takeTokenLocked() {
		return nil
	}
	l.remove(t)
	return f.startLocked(t, v)
}

// startLocked begins a task on v. A task that asked for a version which is gone
// begins on none: run answers it.
func (f *fn) startLocked(t *task, v *version) *task {
	f.uncountLocked(t)
	if t.key == "" && !t.free {
		t.free = true
		f.freeRun++
	}
	f.running++
	if t.version = v; v != nil {
		v.refs++
	}
	return t
}

// takeTokenLocked spends one start of the rate; without one it arranges to
// look again.
func (f *fn) takeTokenLocked() bool {
	rate := float64(f.live.Limits.Rate)
	if rate <= 0 {
		return true
	}
	now := time.Now()
	if f.refill.IsZero() {
		f.tokens = max(rate, 1)
	} else {
		f.tokens = min(f.tokens+rate*now.Sub(f.refill).Seconds(), max(rate, 1))
	}
	f.refill = now
	if f.tokens >= 1 {
		f.tokens--
		return true
	}
	if !f.rateSet {
		f.rateSet = true
		f.stats.RateWaits++
		wait := time.Duration((1 - f.tokens) / rate * float64(time.Second))
		f.d.clock.at(now.Add(wait+time.Millisecond), func() {
			f.mu.Lock()
			f.rateSet = false
			f.kickLocked()
			f.mu.Unlock()
		})
	}
	return false
}

// dropVersionLocked ends one use of a version.
func (f *fn) dropVersionLocked(v *version) {
	if v == nil {
		return
	}
	v.refs--
	f.retireLocked(v)
}

func (f *fn) retireLocked(v *version) {
	if v.refs == 0 && f.versions[v.Version] != v && !v.retired {
		v.retired = true
		if v.Retire != nil {
			f.d.spawn(v.Retire)
		}
	}
}

// meterLocked counts an attempt that no unit carries.
func (f *fn) meterLocked(r *usage.Record) {
	k := volatileKey{r.Version, usage.MinuteOf(r.At)}
	t := f.usage[k]
	if t == nil {
		t = new(usage.Totals)
		f.usage[k] = t
	}
	t.Add(r)
}

// readyLocked lets a task run again: after its wait, a conflict, or a rollback.
func (f *fn) readyLocked(t *task) {
	if t.order == 0 { // it was delayed, and comes now
		f.enqueueLocked(t)
		return
	}
	f.ageLocked(t)
	switch {
	case t.key == "":
		f.free.insert(t)
	case t.lane != nil && t.lane.active == t:
		f.keyed.push(t)
	default:
		f.enqueueLocked(t)
	}
}
