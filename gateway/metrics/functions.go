package metrics

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/headgate-io/headgate/function"
)

// Registry is everything that /metrics shows.
type Registry struct {
	registry    *prometheus.Registry
	invocations *prometheus.CounterVec
	duration    *prometheus.HistogramVec
	fuel        *prometheus.CounterVec
	coldStarts  *prometheus.CounterVec
}

// New makes a registry with the process's own metrics and the functions'.
func New() *Registry {
	r := &Registry{
		registry: prometheus.NewRegistry(),
		invocations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "headgate_function_invocations_total", Help: "Attempts, by how they ended.",
		}, []string{"function", "outcome"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "headgate_function_duration_seconds", Help: "Time inside the guest.",
			Buckets: prometheus.ExponentialBuckets(1e-6, 4, 12),
		}, []string{"function"}),
		fuel: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "headgate_function_fuel_total", Help: "Work done, in fuel units.",
		}, []string{"function"}),
		coldStarts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "headgate_function_cold_starts_total", Help: "Attempts that an instance had to be made for.",
		}, []string{"function"}),
	}
	r.registry.MustRegister(r.invocations, r.duration, r.fuel, r.coldStarts,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// Add shows what c collects too.
func (r *Registry) Add(c ...prometheus.Collector) { r.registry.MustRegister(c...) }

// Handler answers /metrics.
func (r *Registry) Handler() http.Handler {
	return promhttp.HandlerFor(r.registry, promhttp.HandlerOpts{})
}

// Function is where the attempts of one function are counted. Its counters are
// looked up once, so that counting is cheap.
type Function struct {
	outcomes   [function.Outcomes]prometheus.Counter
	duration   prometheus.Observer
	fuel       prometheus.Counter
	coldStarts prometheus.Counter
}

// Function returns the counters of the function called name.
func (r *Registry) Function(name string) *Function {
	f := &Function{
		duration: r.duration.WithLabelValues(name), fuel: r.fuel.WithLabelValues(name),
		coldStarts: r.coldStarts.WithLabelValues(name),
	}
	for o := range f.outcomes {
		f.outcomes[o] = r.invocations.WithLabelValues(name, function.Outcome(o).String())
	}
	return f
}

// Forget drops the counters of a function that was removed.
func (r *Registry) Forget(name string) {
	labels := prometheus.Labels{"function": name}
	r.invocations.DeletePartialMatch(labels)
	r.duration.DeletePartialMatch(labels)
	r.fuel.DeletePartialMatch(labels)
	r.coldStarts.DeletePartialMatch(labels)
}

// Count counts one attempt.
func (f *Function) Count(o function.Outcome, fuel uint64, d time.Duration, cold bool) {
	f.outcomes[o].Inc()
	f.duration.Observe(d.Seconds())
	f.fuel.Add(float64(fuel))
	if cold {
		f.coldStarts.Inc()
	}
}
