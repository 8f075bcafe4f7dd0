// Package metrics shows the gateway's counters to Prometheus.
package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/headgate-io/headgate/internal/metric"
)

// Stats collects what read returns, a struct, as headgate_<subsystem>_….
func Stats(subsystem string, read func() any) prometheus.Collector {
	return metric.Stats("headgate", subsystem, read)
}
