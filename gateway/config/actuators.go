package config

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/template"
	"github.com/headgate-io/headgate/mqtt/topic"
	"github.com/headgate-io/headgate/sensors"
)

// Actuator is something that the gateway moves. Exactly one of GPIO, PWM, MQTT
// and Simulated says what it is wired to. Fields that are left out take the
// defaults named beside them.
type Actuator struct {
	// GPIO is a line by its name (GPIO17) or its chip and number (gpiochip0/3).
	GPIO string `yaml:"gpio"`
	// PWM is a channel of the kernel's, as pwmchip0/1, and Frequency its
	// frequency (1 kHz). The actuator can then be dimmed.
	PWM       string            `yaml:"pwm"`
	Frequency *sensors.Quantity `yaml:"frequency"`
	// MQTT is a device that takes commands.
	MQTT *MQTTActuator `yaml:"mqtt"`
	// Template is a kind of device whose topics are known, zigbee2mqtt or
	// tasmota, in the place of MQTT; Device is its name there, Field the relay
	// of several (state_l2, POWER2), and Base the first level of Zigbee2MQTT's
	// topics (zigbee2mqtt).
	Template string `yaml:"template"`
	Device   string `yaml:"device"`
	Field    string `yaml:"field"`
	Base     string `yaml:"base"`
	// Simulated is a file that holds 0 or 1 (relative paths are below StateDir).
	Simulated string `yaml:"simulated"`

	// Kind is switch (the default) or latching: a valve that a pulse opens and
	// another one closes. Close is the line, or the file, of the second, Pulse
	// how long they are (50ms).
	Kind  string            `yaml:"kind"`
	Close string            `yaml:"close"`
	Pulse function.Duration `yaml:"pulse"`
	// Active is the level that switches on: high (the default) or low.
	Active string `yaml:"active"`
	// Safe is the state that is safe: off, the only one there is.
	Safe string `yaml:"safe"`

	// MaxOn is the longest that it may be on without a break; it must be said.
	MaxOn function.Duration `yaml:"max_on"`
	// DefaultLease is what who asks for no lease gets (max_on, 10m at most).
	DefaultLease function.Duration `yaml:"default_lease"`
	// MinOff is how long it has to be off before it may come on again.
	MinOff function.Duration `yaml:"min_off"`
	// MaxPerDay bounds how long it is on in any 24 hours.
	MaxPerDay function.Duration `yaml:"max_per_day"`
	// StaleAfter is how old an event may be that leads to it (1m).
	StaleAfter function.Duration `yaml:"stale_after"`
	// Requires are actuators without which it must not be on. Exclusive is the
	// name of a group of which at most one may be on.
	Requires  []string `yaml:"requires"`
	Exclusive string   `yaml:"exclusive"`
	// Expect is what a sensor has to show while it is on.
	Expect *Expect `yaml:"expect"`
	// StopsItself is false for a device that has no timer of its own: nothing
	// stops it where the link to it is lost.
	StopsItself *bool `yaml:"stops_itself"`
}

// MQTTActuator is a device that takes commands by MQTT.
type MQTTActuator struct {
	// Set is the topic of commands; On and Off are what is sent there. In On,
	// {{lease_s}}, {{lease_ms}} and {{pulse_time}}, which is Tasmota's, stand for
	// how long the device is to be on.
	Set string `yaml:"set"`
	On  string `yaml:"on"`
	Off string `yaml:"off"`
	// State is the topic on which the device tells its state: the text, or the
	// Field of a JSON object (state), is StateOn (ON) where it is on.
	State   string `yaml:"state"`
	Field   string `yaml:"field"`
	StateOn string `yaml:"state_on"`
	// ConfirmWithin is how soon after a command it has to; left out it need not.
	ConfirmWithin function.Duration `yaml:"confirm_within"`
}

// Expect is what a sensor has to show while an actuator is on.
type Expect struct {
	Sensor string            `yaml:"sensor"`
	Above  *sensors.Quantity `yaml:"above"`
	Below  *sensors.Quantity `yaml:"below"`
	// Within is how soon (10s).
	Within function.Duration `yaml:"within"`
	// Otherwise is off (the default: the actuator is switched off) or report.
	Otherwise string `yaml:"otherwise"`
}

// Words of an actuator's configuration.
const (
	KindSwitch   = "switch"
	KindLatching = "latching"
	ActiveLow    = "low"
	ActiveHigh   = "high"
	OtherwiseOff = "off"
	// OtherwiseReport leaves the actuator on.
	OtherwiseReport = "report"
)

// maxLease bounds what may be configured, and defaultLease what is granted to
// who asks for nothing.
const (
	maxLease     = 7 * 24 * time.Hour
	defaultLease = 10 * time.Minute
	maxActuators = 256
	maxPulse     = time.Second
)

// WithDefaults fills in what is left out.
func (a Actuator) WithDefaults() Actuator {
	a.Kind = cmp.Or(a.Kind, KindSwitch)
	a.Active = cmp.Or(a.Active, ActiveHigh)
	a.Safe = cmp.Or(a.Safe, "off")
	a.DefaultLease = cmp.Or(a.DefaultLease, min(a.MaxOn, function.Duration(defaultLease)))
	a.StaleAfter = cmp.Or(a.StaleAfter, function.Duration(time.Minute))
	if a.Kind == KindLatching {
		a.Pulse = cmp.Or(a.Pulse, function.Duration(50*time.Millisecond))
	}
	if a.PWM != "" && a.Frequency == nil {
		a.Frequency = &sensors.Quantity{Value: 1, Unit: "kHz"}
	}
	if a.Expect != nil {
		e := *a.Expect
		e.Within = cmp.Or(e.Within, function.Duration(10*time.Second))
		e.Otherwise = cmp.Or(e.Otherwise, OtherwiseOff)
		a.Expect = &e
	}
	a.expandTemplate()
	if a.MQTT != nil {
		m := *a.MQTT
		m.Field = cmp.Or(m.Field, "state")
		m.StateOn = cmp.Or(m.StateOn, "ON")
		a.MQTT = &m
	}
	return a
}

// Stops reports whether the device stops by itself when the link to it is lost.
func (a *Actuator) Stops() bool { return a.StopsItself == nil || *a.StopsItself }

// CarriesLease reports whether each command tells the device how long it holds.
func (m *MQTTActuator) CarriesLease() bool {
	return strings.Contains(m.On, "{{lease_s}}") || strings.Contains(m.On, "{{lease_ms}}") || strings.Contains(m.On, template.PulseTime)
}

// SimulatedPath is the absolute path of a simulated actuator's file.
func (c *Config) SimulatedPath(file string) string { return c.inStateDir(filepath.Clean(file)) }

// validateActuators checks each, and what they say of each other.
func (c *Config) validateActuators(add func(string, ...any)) {
	if len(c.Actuators) > maxActuators {
		add(fmt.Sprintf("%d actuators, more than the %d there may be", len(c.Actuators), maxActuators), "actuators")
	}
	outlets := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(c.Actuators)) {
		a := c.Actuators[name].WithDefaults()
		at := func(message string, path ...any) { add(message, append([]any{"actuators", name}, path...)...) }
		if !function.ValidName(name) {
			at(fmt.Sprintf("%q: an actuator's name starts with a letter and has only a-z, 0-9, - and _", name))
		}
		if !c.validateActuatorTemplate(name, at) {
			continue
		}
		a.validateOutlet(at)
		a.validateBounds(at)
		c.validateInterlocks(name, &a, at)
		for field, outlet := range map[string]string{"gpio": a.GPIO, "close": a.Close, "pwm": a.PWM, "simulated": a.Simulated} {
			if outlet == "" {
				continue
			}
			if other, taken := outlets[outlet]; taken {
				at(fmt.Sprintf("%s is %s's already", outlet, other), field)
			}
			outlets[outlet] = name
		}
	}
}

func (a *Actuator) validateOutlet(at func(string, ...any)) {
	n := 0
	for _, set := range []bool{a.GPIO != "", a.PWM != "", a.MQTT != nil, a.Simulated != ""} {
		if set {
			n++
		}
	}
	if n != 1 {
		at("needs exactly one of gpio, pwm, mqtt, template and simulated: what it is wired to")
	}
	switch {
	case a.Kind != KindSwitch && a.Kind != KindLatching:
		at(fmt.Sprintf("%q must be switch or latching", a.Kind), "kind")
	case a.Kind == KindLatching && (a.PWM != "" || a.MQTT != nil):
		at("a latching valve has two lines: gpio opens it and close closes it", "kind")
	case a.Kind == KindLatching && a.Close == "":
		at("is needed: the line whose pulse closes the valve; one line alone cannot say which way", "close")
	case a.Kind == KindSwitch && (a.Close != "" || a.Pulse != 0):
		at("close and pulse are for kind: latching", "kind")
	}
	if a.Kind == KindLatching && (a.Pulse < function.Duration(time.Millisecond) || a.Pulse > function.Duration(maxPulse)) {
		at(fmt.Sprintf("%v is outside 1ms to %v: a longer one burns the coil", a.Pulse, maxPulse), "pulse")
	}
	if a.Active != ActiveLow && a.Active != ActiveHigh {
		at(fmt.Sprintf("%q must be high or low: the level that switches on", a.Active), "active")
	}
	if a.Safe != "off" {
		at(fmt.Sprintf("%q: off is the only state that is safe; for an actuator that stops water by being powered use active: low", a.Safe), "safe")
	}
	if a.Frequency != nil {
		if f, err := a.Frequency.In("Hz"); err != nil {
			at(err.Error(), "frequency")
		} else if a.PWM == "" || f.Value < 1 || f.Value > 1e6 {
			at("is for pwm, between 1 Hz and 1 MHz", "frequency")
		}
	}
	if a.MQTT != nil {
		a.validateMQTT(at)
	} else if a.StopsItself != nil {
		at("is for mqtt: the guard process stops what hangs on this board", "stops_itself")
	}
}

func (a *Actuator) validateMQTT(at func(string, ...any)) {
	m := a.MQTT
	for field, name := range map[string]string{"set": m.Set, "state": m.State} {
		if name == "" && field == "state" {
			continue
		}
		if err := topic.DefaultLimits.CheckName(name); err != nil {
			at(fmt.Sprintf("%q must be one topic, without wildcards: %v", name, err), "mqtt", field)
		}
	}
	if m.On == "" || m.Off == "" || m.On == m.Off {
		at("needs on and off: what is sent to switch it, such as ON and OFF", "mqtt")
	}
	switch {
	case a.Stops() && !m.CarriesLease():
		at("carries no duration: where the link is lost nothing switches it off. Give the device a timer with {{lease_s}} or {{lease_ms}}, or admit it with stops_itself: false", "mqtt", "on")
	case m.ConfirmWithin < 0 || m.ConfirmWithin > 0 && m.State == "":
		at("needs state: the topic on which the device tells its own", "mqtt", "confirm_within")
	}
}

func (a *Actuator) validateBounds(at func(string, ...any)) {
	second := function.Duration(time.Second)
	switch {
	case a.MaxOn == 0:
		at("is needed: the longest that it may be on without a break, such as 30m", "max_on")
	case a.MaxOn < second || a.MaxOn > function.Duration(maxLease):
		at(fmt.Sprintf("%v is outside 1s to %v", a.MaxOn, maxLease), "max_on")
	case a.DefaultLease < 0 || a.DefaultLease > a.MaxOn:
		at(fmt.Sprintf("%v is over max_on, %v", a.DefaultLease, a.MaxOn), "default_lease")
	}
	if a.MinOff < 0 || a.MinOff > function.Duration(maxLease) {
		at(fmt.Sprintf("%v is outside 0s to %v", a.MinOff, maxLease), "min_off")
	}
	if a.MaxPerDay < 0 || a.MaxPerDay > function.Duration(24*time.Hour) {
		at(fmt.Sprintf("%v is outside 0s to 24h", a.MaxPerDay), "max_per_day")
	}
	if a.StaleAfter < second {
		at(fmt.Sprintf("%v must be at least a second", a.StaleAfter), "stale_after")
	}
}

func (c *Config) validateInterlocks(name string, a *Actuator, at func(string, ...any)) {
	for i, other := range a.Requires {
		b, there := c.Actuators[other]
		switch {
		case !there:
			at(fmt.Sprintf("there is no actuator %s", other), "requires", i)
		case c.leadsTo(other, name, map[string]bool{}):
			at(fmt.Sprintf("%s requires %s too: neither could ever come on", other, name), "requires", i)
		case a.Exclusive != "" && b.Exclusive == a.Exclusive:
			at(fmt.Sprintf("%s is of the same exclusive group, %s: both can never be on", other, a.Exclusive), "requires", i)
		}
	}
	e := a.Expect
	if e == nil {
		return
	}
	if e.Sensor == "" {
		at("is needed: the sensor that shows whether it works", "expect", "sensor")
	}
	if s := c.Sensors[e.Sensor]; s == nil && e.Sensor != "" {
		at(fmt.Sprintf("there is no sensor %s: add it to sensors", e.Sensor), "expect", "sensor")
	} else if s != nil && s.Interval > e.Within {
		at(fmt.Sprintf("sensor %s is read every %v: within has to be longer", e.Sensor, s.Interval), "expect", "within")
	}
	if e.Above == nil && e.Below == nil {
		at("needs above or below, such as above: 2 l/min", "expect")
	}
	c.validateBounds(e, at)
	if e.Within < function.Duration(time.Second) {
		at(fmt.Sprintf("%v must be at least a second", e.Within), "expect", "within")
	}
	if e.Otherwise != OtherwiseOff && e.Otherwise != OtherwiseReport {
		at(fmt.Sprintf("%q must be off or report", e.Otherwise), "expect", "otherwise")
	}
}

// validateBounds refuses what the sensor can never show.
func (c *Config) validateBounds(e *Expect, at func(string, ...any)) {
	for _, b := range []struct {
		field string
		q     *sensors.Quantity
	}{{"above", e.Above}, {"below", e.Below}} {
		if b.q == nil {
			continue
		}
		if math.IsNaN(b.q.Value) || math.IsInf(b.q.Value, 0) {
			at("is no number", "expect", b.field)
		}
		s := c.Sensors[e.Sensor]
		if s == nil {
			continue
		}
		if _, err := b.q.In(s.unit()); err != nil {
			at(fmt.Sprintf("sensor %s is in %s: %v", e.Sensor, s.unit(), err), "expect", b.field)
		}
	}
}

// leadsTo reports whether from requires to, over any number of others.
func (c *Config) leadsTo(from, to string, seen map[string]bool) bool {
	if from == to {
		return true
	}
	if seen[from] {
		return false
	}
	seen[from] = true
	for _, next := range c.Actuators[from].Requires {
		if c.leadsTo(next, to, seen) {
			return true
		}
	}
	return false
}
