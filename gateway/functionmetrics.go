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
