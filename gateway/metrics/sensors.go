package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/headgate-io/headgate/sensors"
)

// Sensors shows the latest reading of each sensor: its value, while that is
// good, how good it is, and how old.
func Sensors(read func() []sensors.Reading) prometheus.Collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("headgate_sensor_"+name, help, append([]string{"sensor"}, labels...), nil)
	}
	return &sensorGauges{
		read:    read,
		value:   desc("value", "The latest value, while it is good.", "unit"),
		quality: desc("quality", "How good it is: 3 good, 2 stale, 1 bad, 0 unread."),
		age:     desc("age_seconds", "How old the latest value is."),
	}
}

type sensorGauges struct {
	read                func() []sensors.Reading
	value, quality, age *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (c *sensorGauges) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.value
	ch <- c.quality
	ch <- c.age
}

// Collect implements prometheus.Collector.
func (c *sensorGauges) Collect(ch chan<- prometheus.Metric) {
	for _, r := range c.read() {
		ch <- prometheus.MustNewConstMetric(c.quality, prometheus.GaugeValue, float64(r.Quality), r.Sensor)
		if r.Valid {
			ch <- prometheus.MustNewConstMetric(c.age, prometheus.GaugeValue, r.Age.Seconds(), r.Sensor)
		}
		if r.Valid && r.Quality == sensors.Good {
			ch <- prometheus.MustNewConstMetric(c.value, prometheus.GaugeValue, r.Value, r.Sensor, string(r.Unit))
		}
	}
}
