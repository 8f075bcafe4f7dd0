package api

import "time"

// Actuator is one actuator as it is now.
type Actuator struct {
	Name string `json:"name"`
	// Kind says what it is wired to, as gpio GPIO17 or mqtt zigbee2mqtt/v2/set.
	Wired string  `json:"wired"`
	State string  `json:"state" enum:"on,off,unknown"`
	Value float64 `json:"value"`
	// Left is how long the lease still runs, Since how long ago it came on.
	Left  time.Duration `json:"left_ns,omitempty"`
	Since time.Duration `json:"since_ns,omitempty"`
	Who   string        `json:"who,omitempty"`
	// Used is how long it was on in the last 24 hours, of MaxPerDay, where that
	// is bounded.
	Used      time.Duration `json:"used_ns"`
	MaxPerDay time.Duration `json:"max_per_day_ns,omitempty"`
	MaxOn     time.Duration `json:"max_on_ns"`
	Fault     string        `json:"fault,omitempty"`
	// Feedback is what the sensor shows that is expected to, Reported what a
	// device said of itself last.
	Feedback string `json:"feedback,omitempty"`
	Reported string `json:"reported,omitempty"`
}

// Actuated is an actuator that a function switched.
type Actuated struct {
	Actuator string `json:"actuator"`
	// Value is 0 for off, 1 for on, between where the actuator can be dimmed.
	Value float64 `json:"value"`
	// Granted is how long it may be on; 0 where it was switched off.
	Granted time.Duration `json:"granted_ns,omitempty"`
}

// ActuatorCommand switches an actuator. The answer comes when that has happened.
type ActuatorCommand struct {
	// Value is 0 for off, 1 for on, between where the actuator can be dimmed.
	Value float64 `json:"value" minimum:"0" maximum:"1"`
	// Lease is how long it is to be on; left out it is the actuator's default.
	Lease time.Duration `json:"lease_ns,omitempty" minimum:"0"`
}

// ActuatorGrant is what came of an ActuatorCommand.
type ActuatorGrant struct {
	Actuator string  `json:"actuator"`
	Value    float64 `json:"value"`
	// Granted is how long it is on, Until when it goes off.
	Granted time.Duration `json:"granted_ns,omitempty"`
	Until   time.Time     `json:"until,omitzero"`
}

// ActuatorRecord is an entry of the safety ledger.
type ActuatorRecord struct {
	Seq      uint64    `json:"seq"`
	Time     time.Time `json:"time"`
	Trust    string    `json:"time_trust,omitempty"`
	Actuator string    `json:"actuator"`
	Happens  string    `json:"happens"`
	Value    float64   `json:"value,omitempty"`
	Who      string    `json:"who,omitempty"`
	EventID  string    `json:"event_id,omitempty"`
	Reason   string    `json:"reason,omitempty"`
	// Lease is how long it was granted.
	Lease time.Duration `json:"lease_ns,omitempty"`
}
