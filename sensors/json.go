package sensors

import (
	"encoding/json"
	"math"
	"time"
)

// readingJSON is a reading as functions, topics and the admin API have it. The
// order of the fields is part of it: value comes first.
type readingJSON struct {
	// Value is there only while the quality is good, so that nobody takes an
	// old value for a new one by mistake; Last is the last known, otherwise.
	Value    *float64 `json:"value,omitempty"`
	Unit     Unit     `json:"unit,omitempty"`
	Quality  Quality  `json:"quality"`
	Age      int64    `json:"age_ms"`
	At       string   `json:"at,omitempty"`
	Last     *float64 `json:"last,omitempty"`
	Fault    string   `json:"fault,omitempty"`
	Sensor   string   `json:"sensor"`
	Sequence uint64   `json:"seq"`
	Retained bool     `json:"retained,omitempty"`
}

// MarshalJSON writes value (only while the quality is good), unit, quality,
// age_ms, at, last (the last value known, while it is not good), fault, sensor
// and seq. Values are rounded to a millionth.
func (r Reading) MarshalJSON() ([]byte, error) {
	j := readingJSON{
		Unit: r.Unit, Quality: r.Quality, Age: r.Age.Milliseconds(), Fault: r.Fault, Sensor: r.Sensor, Sequence: r.Sequence, Retained: r.Retained,
	}
	if r.Valid {
		v := round(r.Value)
		j.At = r.At.UTC().Format("2006-01-02T15:04:05.000Z07:00")
		if r.Quality == Good {
			j.Value = &v
		} else {
			j.Last = &v
		}
	}
	return json.Marshal(j)
}

// round drops what floating point adds.
func round(v float64) float64 {
	const millionth = 1e6
	if r := math.Round(v*millionth) / millionth; !math.IsInf(r, 0) {
		return r
	}
	return v
}

// UnmarshalJSON reads what MarshalJSON writes.
func (r *Reading) UnmarshalJSON(b []byte) error {
	var j readingJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return err
	}
	*r = Reading{
		Sensor: j.Sensor, Unit: j.Unit, Quality: j.Quality, Fault: j.Fault, Age: time.Duration(j.Age) * time.Millisecond,
		Sequence: j.Sequence, Retained: j.Retained,
	}
	switch {
	case j.Value != nil:
		r.Value, r.Valid = *j.Value, true
	case j.Last != nil:
		r.Value, r.Valid = *j.Last, true
	}
	if j.At != "" {
		at, err := time.Parse(time.RFC3339, j.At)
		if err != nil {
			return err
		}
		r.At = at
	}
	return nil
}
