package dispatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/gateway/trigger"
	"github.com/headgate-io/headgate/sync/usage"
)

const failedOutcome = function.Failed

// Dispatcher moves events through functions. Its methods are safe for
// concurrent use.
type Dispatcher struct {
	cfg   Config
	log   *slog.Logger
	clock clock

	// ctx ends when running invocations must stop.
	ctx      context.Context
	cancel   context.CancelFunc
	stopping atomic.Bool
	stop     chan struct{}
	workers  sync.WaitGroup
	others   sync.WaitGroup

	mu        sync.Mutex // guards changes of functions
	functions atomic.Pointer[map[string]*fn]

	// unsettled is the data of arrivals that are not on disk, loaded that of
	// queued events that are in memory too.
	unsettled, loaded atomic.Int64
	tasks             sync.Pool
	stats             struct{ spilled, refused, duplicates atomic.Uint64 }
}

// New starts a dispatcher and takes up the queue that is on disk: its events
// run once their functions are set.
func New(ctx context.Context, cfg Config) (*Dispatcher, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	d := &Dispatcher{cfg: cfg, log: cfg.Logger, stop: make(chan struct{})}
	d.clock.wake = make(chan struct{}, 1)
	// Invocations outlive the call that starts the dispatcher.
	d.ctx, d.cancel = context.WithCancel(context.WithoutCancel(ctx))
	d.tasks.New = func() any { return new(task) }
	d.functions.Store(&map[string]*fn{})
	if err := d.recover(ctx); err != nil {
		d.cancel()
		return nil, fmt.Errorf("start dispatch: %w", err)
	}
	cfg.Store.OnLettersDropped(d.unblock)
	d.others.Add(2)
	go func() { defer d.others.Done(); d.clock.run(d.stop) }()
	go func() { defer d.others.Done(); d.housekeeping() }()
	return d, nil
}

func (d *Dispatcher) lookup(name string) *fn { return (*d.functions.Load())[name] }

// function returns the function called name, making it if need be.
func (d *Dispatcher) function(name string) *fn {
	if f := d.lookup(name); f != nil {
		return f
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	old := *d.functions.Load()
	if f := old[name]; f != nil {
		return f
	}
	f := &fn{d: d, name: name, source: "/functions/" + name, ref: d.cfg.Store.Function(name), lanes: make(map[string]*lane), usage: make(map[volatileKey]*usage.Totals)}
	next := make(map[string]*fn, len(old)+1)
	for k, v := range old {
		next[k] = v
	}
	next[name] = f
	d.functions.Store(&next)
	return f
}

func (f *fn) deployed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.live != nil
}

// RemoveFunction stops a function: invocations under way end, volatile events
// that wait are dropped, durable ones stay on disk until the function is set
// again.
func (d *Dispatcher) RemoveFunction(name string) {
	f := d.lookup(name)
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.replaceLocked(nil, nil)
	for f.oldest != nil {
		t := f.oldest
		f.withdrawLocked(t)
		f.stats.VolatileDropped++
	}
}

// Close takes no more events, spills what is not settled, waits for running
// invocations and writes the last usage. When ctx ends first the invocations
// are stopped. The store stays open.
func (d *Dispatcher) Close(ctx context.Context) error {
	if d.stopping.Swap(true) {
		return nil
	}
	for _, a := range d.clock.takeArrivals() {
		a.spill()
	}
	for _, f := range *d.functions.Load() {
		f.trimIdle(time.Now().Add(time.Hour))
	}
	var err error
	done := make(chan struct{})
	go func() { d.workers.Wait(); d.others.Wait(); close(done) }()
	close(d.stop)
	select {
	case <-done:
	case <-ctx.Done():
		err = fmt.Errorf("close dispatch: %w", ctx.Err())
		d.cancel()
		<-done
	}
	d.cancel()
	// What ran into a conflict at the end is not settled: it goes to disk.
	for _, a := range d.clock.takeArrivals() {
		a.spill()
	}
	flushed := make(chan error, 1)
	d.flushUsage(func(err error) { flushed <- err })
	select {
	case e := <-flushed:
		return errors.Join(err, e)
	case <-ctx.Done():
		return errors.Join(err, fmt.Errorf("close dispatch: flush usage: %w", ctx.Err()))
	}
}

// spawn runs fn on a goroutine that Close waits for.
func (d *Dispatcher) spawn(fn func()) {
	d.workers.Add(1)
	go func() { defer d.workers.Done(); fn() }()
}

// housekeeping flushes and closes usage and ends idle workers.
func (d *Dispatcher) housekeeping() {
	idle := time.NewTicker(d.cfg.IdleWorkers)
	defer idle.Stop()
	flush := time.NewTimer(d.untilFlush())
	defer flush.Stop()
	for {
		select {
		case <-idle.C:
			for _, f := range *d.functions.Load() {
				f.trimIdle(time.Now().Add(-d.cfg.IdleWorkers))
			}
		case <-flush.C:
			d.CloseUsage()
			flush.Reset(d.untilFlush())
		case <-d.stop:
			return
		}
	}
}

// flushDelay lets what ends with a minute still belong to it.
const flushDelay = 200 * time.Millisecond

// untilFlush is the time until just after the next whole minute, so that usage
// is closed minute by minute.
func (d *Dispatcher) untilFlush() time.Duration {
	now := d.cfg.Now()
	next := now.Truncate(d.cfg.UsageEvery).Add(d.cfg.UsageEvery + flushDelay)
	return min(next.Sub(now), d.cfg.UsageEvery+flushDelay)
}

// CloseUsage joins the usage of volatile events to the next commit, and with it
// closes, for a controller, all that was metered until now.
func (d *Dispatcher) CloseUsage() {
	d.flushUsage(func(err error) {
		if err != nil {
			d.log.Error("volatile usage is lost", "error", err)
		}
	})
	d.cfg.Store.CloseUsage()
}

// flushUsage joins the usage of volatile events to the next commit.
func (d *Dispatcher) flushUsage(done func(error)) {
	var all []usage.Rollup
	for _, f := range *d.functions.Load() {
		f.mu.Lock()
		for k, t := range f.usage {
			all = append(all, usage.Rollup{Key: usage.Key{Function: f.name, Version: k.version, Minute: k.minute}, Totals: *t})
		}
		clear(f.usage)
		f.mu.Unlock()
	}
	d.cfg.Store.AddUsage(all, done)
}

// newTask returns an empty task; only volatile ones come back by recycle.
func (d *Dispatcher) newTask() *task { return d.tasks.Get().(*task) }

func (d *Dispatcher) recycle(t *task) {
	if t.kind != volatile || t.list != nil {
		return
	}
	// Volatile tasks settle without the mutex.
	t.fn, t.ev, t.params, t.key, t.order, t.arr, t.call, t.version = nil, nil, trigger.Params{}, "", 0, nil, nil, nil
	t.state, t.conflicts, t.tries, t.lane, t.free, t.shareOf = waiting, 0, 0, nil, false, 0
	t.row = store.QueueRow{}
	if t.out != nil {
		*t.out = outcome{}
	}
	d.tasks.Put(t)
}
