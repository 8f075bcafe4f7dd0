// Package metric makes Prometheus metrics of counters. Packages keep theirs in
// plain Stats structs and know nothing of it.
package metric

import (
	"reflect"
	"strings"
	"time"
	"unicode"

	"github.com/prometheus/client_golang/prometheus"
)

// statsCollector makes metrics of the fields of a Stats struct: unsigned
// fields are counters (_total), all others gauges. Names follow Prometheus'
// rules: base units, bytes and seconds last.
type statsCollector struct {
	read   func() any
	fields []statsField
}

type statsField struct {
	index int
	desc  *prometheus.Desc
	kind  prometheus.ValueType
}

// Stats collects what read returns, a struct, as <namespace>_<subsystem>_….
// Fields that are not numbers, durations or booleans are left out.
func Stats(namespace, subsystem string, read func() any) prometheus.Collector {
	c := &statsCollector{read: read}
	t := reflect.TypeOf(read())
	for i := range t.NumField() {
		f := t.Field(i)
		kind := prometheus.GaugeValue
		switch {
		case f.Type == reflect.TypeFor[time.Duration]():
		case f.Type.Kind() == reflect.Uint64:
			kind = prometheus.CounterValue
		case f.Type.Kind() == reflect.Int, f.Type.Kind() == reflect.Int64, f.Type.Kind() == reflect.Bool:
		default:
			continue
		}
		name := prometheus.BuildFQName(namespace, subsystem, metricName(f.Name, f.Type, kind))
		c.fields = append(c.fields, statsField{i, prometheus.NewDesc(name, help(subsystem, f.Name), nil, nil), kind})
	}
	return c
}

// Describe sends the descriptions.
func (c *statsCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, f := range c.fields {
		ch <- f.desc
	}
}

// Collect sends the values now.
func (c *statsCollector) Collect(ch chan<- prometheus.Metric) {
	v := reflect.ValueOf(c.read())
	for _, f := range c.fields {
		ch <- prometheus.MustNewConstMetric(f.desc, f.kind, number(v.Field(f.index)))
	}
}

func number(v reflect.Value) float64 {
	switch {
	case v.Type() == reflect.TypeFor[time.Duration]():
		return time.Duration(v.Int()).Seconds()
	case v.Kind() == reflect.Bool:
		if v.Bool() {
			return 1
		}
		return 0
	case v.CanUint():
		return float64(v.Uint())
	}
	return float64(v.Int())
}

// metricName makes queued_bytes of QueuedBytes, received_bytes_total of the
// counter BytesReceived and uptime_seconds of a duration.
func metricName(field string, t reflect.Type, kind prometheus.ValueType) string {
	words := split(field)
	if words[0] == "bytes" && len(words) > 1 {
		words = append(words[1:], "bytes")
	}
	if t == reflect.TypeFor[time.Duration]() {
		words = append(words, "seconds")
	}
	if kind == prometheus.CounterValue {
		words = append(words, "total")
	}
	return strings.Join(words, "_")
}

// split takes a Go name apart: WALBytes is wal, bytes.
func split(name string) []string {
	var words []string
	r := []rune(name)
	start := 0
	for i := 1; i < len(r); i++ {
		switch {
		case unicode.IsUpper(r[i]) && !unicode.IsUpper(r[i-1]):
		case unicode.IsUpper(r[i]) && i+1 < len(r) && unicode.IsLower(r[i+1]):
		default:
			continue
		}
		words = append(words, strings.ToLower(string(r[start:i])))
		start = i
	}
	return append(words, strings.ToLower(string(r[start:])))
}

func help(subsystem, field string) string {
	return strings.Join(split(field), " ") + " (" + subsystem + ")"
}
