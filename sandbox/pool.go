package sandbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sandbox/host"
)

// PoolConfig bounds a Pool.
type PoolConfig struct {
	// Concurrency caps the invocations that run at once; 0 takes the limits'.
	Concurrency int
	// Idle is how long an unused instance stays; 0 takes the limits'.
	Idle time.Duration
	// MinInstances stay however long they are unused, unless memory runs short;
	// 0 takes the limits'.
	MinInstances int
}

// Pool holds the instances of one module: as many as run, and those that
// ran lately. It may be used by any number of goroutines.
type Pool struct {
	engine      *Engine
	module      *Module
	concurrency int
	idleFor     time.Duration
	minimum     int

	mu       sync.Mutex
	idle     []*instance // most recently used last
	running  int
	closed   bool
	drained  chan struct{} // closed when a closed pool has no call running
	timer    *time.Timer   // sweeps idle instances; nil while none is armed
	sweeps   sync.WaitGroup
	filling  bool
	lastUsed time.Time
	stats    PoolStats
}

// PoolStats are the counters of one pool.
type PoolStats struct {
	// Running and Idle are instances now.
	Running, Idle int
	// MemoryBytes is the linear memory that the module's instances hold now.
	MemoryBytes int64
	Invocations uint64
	// ColdStarts counts invocations that an instance had to be made for.
	ColdStarts uint64
	// Retired counts instances that were not fit for another event.
	Retired uint64
	// Refused counts invocations that found no instance.
	Refused uint64
	// Evicted counts idle instances that made room for others.
	Evicted uint64
}

// NewPool makes a pool for m.
func (e *Engine) NewPool(m *Module, cfg PoolConfig) *Pool {
	p := &Pool{engine: e, module: m, concurrency: cfg.Concurrency, idleFor: cfg.Idle, minimum: cfg.MinInstances, drained: make(chan struct{}), lastUsed: time.Now()}
	if p.concurrency <= 0 {
		p.concurrency = m.limits.Concurrency
	}
	if p.idleFor <= 0 {
		p.idleFor = time.Duration(m.limits.Idle)
	}
	if p.minimum <= 0 {
		p.minimum = m.limits.MinInstances
	}
	p.minimum = min(p.minimum, p.concurrency)
	e.mu.Lock()
	e.pools = append(e.pools, p)
	e.mu.Unlock()
	p.mu.Lock()
	p.arm(p.idleFor)
	p.fillLocked()
	p.mu.Unlock()
	return p
}

// Invoke runs one invocation in a clean instance. What went wrong is in the
// result; when no instance may be made its outcome is Refused. The result's
// Output belongs to calls.
func (p *Pool) Invoke(ctx context.Context, calls *host.Calls) function.Result {
	in, reason := p.enter()
	if reason != "" {
		return function.Result{Outcome: function.Refused, Error: reason}
	}
	cold := in == nil
	if cold {
		var err error
		if in, _, err = p.module.newInstance(ctx); err != nil {
			p.leave(nil, false, true)
			return function.Result{Outcome: function.Refused, ColdStart: true, Error: fmt.Sprintf("function %s: no instance: %v", p.module.name, err)}
		}
	}
	r, fit := in.run(ctx, calls)
	r.ColdStart = cold
	if !fit || !in.restore() {
		in.close()
		in = nil
	}
	p.leave(in, cold, false)
	return r
}

// enter admits a call and returns an idle instance, if there is one.
func (p *Pool) enter() (in *instance, refused string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, fmt.Sprintf("function %s: this version is being shut down", p.module.name)
	}
	if p.running >= p.concurrency {
		p.stats.Refused++
		return nil, fmt.Sprintf("function %s: %d invocations are running, as many as limits.concurrency allows", p.module.name, p.running)
	}
	p.running++
	if n := len(p.idle); n > 0 {
		in = p.idle[n-1]
		p.idle[n-1] = nil
		p.idle = p.idle[:n-1]
	}
	return in, ""
}

// leave takes a call's end: in is nil when its instance is gone.
func (p *Pool) leave(in *instance, cold, refused bool) {
	p.mu.Lock()
	p.running--
	switch {
	case refused:
		p.stats.Refused++
	default:
		p.stats.Invocations++
		if cold {
			p.stats.ColdStarts++
		}
		if in == nil {
			p.stats.Retired++
			p.fillLocked()
		}
	}
	if in != nil && !p.closed {
		p.idle = append(p.idle, in)
		p.lastUsed = in.lastUsed
		in = nil
	}
	if p.timer == nil && !p.closed {
		p.arm(p.idleFor)
	}
	if p.closed && p.running == 0 {
		close(p.drained)
	}
	p.mu.Unlock()
	if in != nil {
		in.close()
	}
}

// arm starts the sweep. The caller holds mu.
func (p *Pool) arm(after time.Duration) {
	p.sweeps.Add(1)
	p.timer = time.AfterFunc(after, func() {
		defer p.sweeps.Done()
		p.sweep()
	})
}

// sweep closes instances that were idle for long enough, and when none is
// left frees the clean state: the function is at zero.
func (p *Pool) sweep() {
	now := time.Now()
	p.mu.Lock()
	p.timer = nil
	if p.closed {
		p.mu.Unlock()
		return
	}
	stale := 0
	for stale < len(p.idle) && len(p.idle)-stale+p.running > p.minimum && now.Sub(p.idle[stale].lastUsed) >= p.idleFor {
		stale++
	}
	old := slices.Clone(p.idle[:stale])
	p.idle = slices.Delete(p.idle, 0, stale)
	left := len(p.idle) > 0 || p.running > 0 || now.Sub(p.lastUsed) < p.idleFor || p.minimum > 0
	if left {
		next := p.idleFor
		if len(p.idle) > p.minimum {
			next = p.idleFor - now.Sub(p.idle[0].lastUsed)
		}
		p.arm(max(next, time.Millisecond))
	}
	p.fillLocked()
	p.mu.Unlock()
	for _, in := range old {
		in.close()
	}
	if !left {
		p.module.dropImage()
	}
}

// fillLocked makes instances up to the minimum, in the background. Where there
// is no memory for them the next sweep tries it again.
func (p *Pool) fillLocked() {
	if p.closed || p.filling || len(p.idle)+p.running >= p.minimum {
		return
	}
	p.filling = true
	p.sweeps.Go(p.fill)
}

func (p *Pool) fill() {
	for {
		in, _, err := p.module.newInstance(context.Background())
		p.mu.Lock()
		short := err == nil && !p.closed && len(p.idle)+p.running < p.minimum
		if short {
			in.lastUsed = time.Now()
			p.idle = slices.Insert(p.idle, 0, in)
			in = nil
		}
		more := short && len(p.idle)+p.running < p.minimum
		p.filling = more
		p.mu.Unlock()
		if err == nil && in != nil {
			in.close()
		}
		if !more {
			return
		}
	}
}

// Shrink lets go of everything that is idle, the clean state included when no
// call runs. The next call starts from zero.
func (p *Pool) Shrink() {
	p.mu.Lock()
	old := p.idle
	p.idle = nil
	p.mu.Unlock()
	for _, in := range old {
		in.close()
	}
	p.module.dropImage()
}

// oldestIdle is since when the pool's oldest idle instance is unused.
func (p *Pool) oldestIdle() (time.Time, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) == 0 {
		return time.Time{}, false
	}
	return p.idle[0].lastUsed, true
}

// evict closes the pool's oldest idle instance.
func (p *Pool) evict() bool {
	p.mu.Lock()
	if len(p.idle) == 0 {
		p.mu.Unlock()
		return false
	}
	in := p.idle[0]
	p.idle = slices.Delete(p.idle, 0, 1)
	p.stats.Evicted++
	p.mu.Unlock()
	in.close()
	return true
}

// Close refuses further calls, waits for those that run and releases the
// instances. When ctx ends first it returns its error; the last call then
// releases its instance by itself.
func (p *Pool) Close(ctx context.Context) error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return errors.New("pool is closed already")
	}
	p.closed = true
	old := p.idle
	p.idle = nil
	if p.timer != nil && p.timer.Stop() {
		p.sweeps.Done()
	}
	p.timer = nil
	if p.running == 0 {
		close(p.drained)
	}
	p.mu.Unlock()
	for _, in := range old {
		in.close()
	}
	p.engine.mu.Lock()
	p.engine.pools = slices.DeleteFunc(p.engine.pools, func(q *Pool) bool { return q == p })
	p.engine.mu.Unlock()
	p.sweeps.Wait()
	select {
	case <-p.drained:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("function %s: calls still running: %w", p.module.name, ctx.Err())
	}
}

// Stats returns the pool's counters.
func (p *Pool) Stats() PoolStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stats
	s.Running, s.Idle = p.running, len(p.idle)
	s.MemoryBytes = p.module.memory.Load()
	return s
}
