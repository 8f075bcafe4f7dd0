package api

import "time"

// Sensor is a configured sensor with its latest reading.
type Sensor struct {
	Name string `json:"name"`
	// Driver is the kind of driver, Measures what the value is of, where known.
	Driver   string `json:"driver"`
	Measures string `json:"measures,omitempty"`
	Topic    string `json:"topic"`
	// Interval is how often it is read, StaleAfter the age at which a value is
	// stale, both in seconds.
	Interval   float64 `json:"interval_s"`
	StaleAfter float64 `json:"stale_after_s"`
	// Value is there only while the quality is good, in Unit; Last is the last
	// that is known, otherwise.
	Value   *float64 `json:"value,omitempty"`
	Last    *float64 `json:"last,omitempty"`
	Unit    string   `json:"unit,omitempty"`
	Quality string   `json:"quality" enum:"good,stale,bad,unread"`
	// Fault is why it is not good.
	Fault string `json:"fault,omitempty"`
	// At is when the value was measured, Age how many milliseconds ago.
	At       time.Time `json:"at,omitzero"`
	Age      int64     `json:"age_ms"`
	Retained bool      `json:"retained,omitempty"`
	Sequence uint64    `json:"seq"`
}

// Hardware is what is connected to the gateway's pins and buses.
type Hardware struct {
	Chips   []GPIOChip       `json:"gpio_chips"`
	Buses   []I2CBus         `json:"i2c_buses"`
	OneWire []HardwareDevice `json:"one_wire"`
	// Faults are what kept the board from being looked at.
	Faults []string `json:"faults"`
}

// GPIOChip is a chip with its lines.
type GPIOChip struct {
	Name  string     `json:"name"`
	Label string     `json:"label"`
	Lines []GPIOLine `json:"lines"`
}

// GPIOLine is a line, with who holds it.
type GPIOLine struct {
	Line     string `json:"line"`
	Name     string `json:"name,omitempty"`
	Used     bool   `json:"used"`
	Consumer string `json:"consumer,omitempty"`
	Output   bool   `json:"output"`
}

// I2CBus is a bus with who answers on it.
type I2CBus struct {
	Name    string           `json:"name"`
	Adapter string           `json:"adapter,omitempty"`
	Devices []HardwareDevice `json:"devices"`
	Fault   string           `json:"fault,omitempty"`
}

// HardwareDevice is something that answers.
type HardwareDevice struct {
	// Address is that on I²C, or the id on 1-Wire.
	Address string `json:"address"`
	// Driver is the word for it in a configuration, where it is known, Options
	// what belongs below that, in YAML, and Note what more can be said.
	Driver  string `json:"driver,omitempty"`
	Options string `json:"options,omitempty"`
	Note    string `json:"note,omitempty"`
}
