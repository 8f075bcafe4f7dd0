package metrics

import "github.com/prometheus/client_golang/prometheus"

// labelled makes metrics of a list of states, each with its name as label.
type labelled[T any] struct {
	label  string
	read   func() []T
	name   func(*T) string
	series []labelledSeries[T]
}

type labelledSeries[T any] struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*T) float64
}

func newLabelled[T any](label string, read func() []T, name func(*T) string) *labelled[T] {
	return &labelled[T]{label: label, read: read, name: name}
}

// add shows one value of every state as headgate_LABEL_NAME.
func (c *labelled[T]) add(name, help string, kind prometheus.ValueType, value func(*T) float64) {
	desc := prometheus.NewDesc("headgate_"+c.label+"_"+name, help, []string{c.label}, nil)
	c.series = append(c.series, labelledSeries[T]{desc, kind, value})
}

// Describe sends the descriptions.
func (c *labelled[T]) Describe(ch chan<- *prometheus.Desc) {
	for _, s := range c.series {
		ch <- s.desc
	}
}

// Collect sends the values now.
func (c *labelled[T]) Collect(ch chan<- prometheus.Metric) {
	states := c.read()
	for i := range states {
		for _, s := range c.series {
			ch <- prometheus.MustNewConstMetric(s.desc, s.kind, s.value(&states[i]), c.name(&states[i]))
		}
	}
}
