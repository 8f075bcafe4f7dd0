package gateway

import (
	"sync"

	"github.com/headgate-io/headgate/gateway/dispatch"
	"github.com/headgate-io/headgate/gateway/metrics"
)

// functionMetrics finds a function's counters by its name, without a lock once
// they are known.
type functionMetrics struct{ byName sync.Map }

func (f *functionMetrics) count(r *metrics.Registry, rec *dispatch.Record) {
	m, ok := f.byName.Load(rec.Function)
	if !ok {
		m, _ = f.byName.LoadOrStore(rec.Function, r.Function(rec.Function))
	}
	m.(*metrics.Function).Count(rec.Outcome, rec.Fuel, rec.Duration, rec.ColdStart)
}

func (f *functionMetrics) forget(r *metrics.Registry) func(name string) {
	return func(name string) {
		f.byName.Delete(name)
		r.Forget(name)
	}
}

// functionStates is what /metrics shows of every function that is deployed or
// has events waiting.
func (g *Gateway) functionStates() []metrics.FunctionState {
	stats := g.dispatcher.Stats().Functions
	out := make([]metrics.FunctionState, 0, len(stats))
	for i := range stats {
		s := &stats[i]
		if s.Version == 0 && s.Queued+s.Waiting == 0 {
			continue
		}
		f := metrics.FunctionState{
			Name: s.Name, Failures: s.Breaker.Failures, Queued: s.Queued, Waiting: s.Waiting, Pauses: s.Pauses,
			Retries: s.Retries, DeadLetters: s.DeadLetters, Expired: s.Expired, FailuresUnheard: s.FailuresUnheard, VolatileDropped: s.VolatileDropped,
		}
		switch s.Breaker.State {
		case dispatch.BreakerOpen:
			f.BreakerOpen = 1
		case dispatch.BreakerTrial:
			f.BreakerOpen = 0.5
		}
		out = append(out, f)
	}
	return out
}
