package metrics

import "github.com/prometheus/client_golang/prometheus"

// FunctionState is what one function has now, and what happened to its events.
type FunctionState struct {
	Name string
	// BreakerOpen is 1 while the function is paused because it keeps failing,
	// 0.5 while a trial decides.
	BreakerOpen float64
	// Failures counts those in a row.
	Failures int
	// Queued is what waits for a turn, Waiting what waits for its next attempt.
	Queued, Waiting int
	// Since the start of the gateway.
	Pauses, Retries, DeadLetters, Expired, FailuresUnheard, VolatileDropped uint64
}

// FunctionStates collects what read returns as headgate_function_….
func FunctionStates(read func() []FunctionState) prometheus.Collector {
	c := newLabelled("function", read, func(f *FunctionState) string { return f.Name })
	add := c.add
	add("breaker_open", "1 while paused because it keeps failing, 0.5 while a trial decides.", prometheus.GaugeValue,
		func(f *FunctionState) float64 { return f.BreakerOpen })
	add("failures_in_a_row", "Failures since the last success.", prometheus.GaugeValue,
		func(f *FunctionState) float64 { return float64(f.Failures) })
	add("queued_events", "Events that wait for their turn.", prometheus.GaugeValue,
		func(f *FunctionState) float64 { return float64(f.Queued) })
	add("waiting_events", "Events that wait for their next attempt.", prometheus.GaugeValue,
		func(f *FunctionState) float64 { return float64(f.Waiting) })
	add("pauses_total", "Times paused because it kept failing.", prometheus.CounterValue,
		func(f *FunctionState) float64 { return float64(f.Pauses) })
	add("retries_total", "Failed attempts that were followed by another.", prometheus.CounterValue,
		func(f *FunctionState) float64 { return float64(f.Retries) })
	add("dead_letters_total", "Events given up.", prometheus.CounterValue,
		func(f *FunctionState) float64 { return float64(f.DeadLetters) })
	add("expired_total", "Events given up because their age was over before their turn came.", prometheus.CounterValue,
		func(f *FunctionState) float64 { return float64(f.Expired) })
	add("failures_unheard_total", "Events given up of which on_failure did not tell.", prometheus.CounterValue,
		func(f *FunctionState) float64 { return float64(f.FailuresUnheard) })
	add("volatile_dropped_total", "Volatile events dropped.", prometheus.CounterValue,
		func(f *FunctionState) float64 { return float64(f.VolatileDropped) })
	return c
}
