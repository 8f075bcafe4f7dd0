package headgate

import (
	"encoding/json"
	"fmt"
	"time"
)

// Reading is what is known of a sensor.
type Reading struct {
	// Value is nil unless Quality is good: an old value cannot be taken for a
	// new one. Last is the last value known, while it is not.
	Value *float64 `json:"value"`
	Last  *float64 `json:"last"`
	Unit  string   `json:"unit"`
	// Quality is good, stale, bad or unread, and Fault why it is not good.
	Quality string `json:"quality"`
	Fault   string `json:"fault"`
	// AgeMillis is how old the value is, and At when it was measured.
	AgeMillis int64  `json:"age_ms"`
	At        string `json:"at"`
	Sensor    string `json:"sensor"`
	Sequence  uint64 `json:"seq"`
	// Retained marks a value that a broker had kept.
	Retained bool `json:"retained"`
}

// Sensor returns the latest reading of a sensor, or ErrNotFound. An invocation
// hears of one sensor always the same.
func (c *Context) Sensor(name string) (Reading, error) {
	var r Reading
	raw, err := read(512, func(dst []byte) int32 { return sensorRead([]byte(name), dst) })
	if err == nil {
		err = json.Unmarshal(raw, &r)
	}
	if err != nil {
		return r, fmt.Errorf("sensor %s: %w", name, err)
	}
	return r, nil
}

// SensorValue returns the value of a sensor that is good and no older than
// maxAge, else an error that is ErrUnavailable.
func (c *Context) SensorValue(name string, maxAge time.Duration) (float64, error) {
	r, err := c.Sensor(name)
	if err != nil {
		return 0, err
	}
	if r.Value == nil || r.AgeMillis > maxAge.Milliseconds() {
		return 0, fmt.Errorf("sensor %s: %s, %v old: %w", name, r.Quality, time.Duration(r.AgeMillis)*time.Millisecond, ErrUnavailable)
	}
	return *r.Value, nil
}
