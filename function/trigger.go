package function

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// TriggerKind is what starts a function. Its values are the names of the
// fields of a Trigger that say so.
type TriggerKind string

// The kinds.
const (
	TriggerMQTT      TriggerKind = "mqtt"
	TriggerHTTP      TriggerKind = "http"
	TriggerCron      TriggerKind = "cron"
	TriggerEvery     TriggerKind = "every"
	TriggerState     TriggerKind = "state"
	TriggerQueue     TriggerKind = "queue"
	TriggerFile      TriggerKind = "file"
	TriggerSensor    TriggerKind = "sensor"
	TriggerLifecycle TriggerKind = "lifecycle"
	TriggerFailure   TriggerKind = "failure"
	TriggerActuator  TriggerKind = "actuator"
)

// Trigger starts a function. Exactly one kind is set; the other fields are
// options, each of some kinds.
type Trigger struct {
	// MQTT is a topic filter with + and # and named captures in braces:
	// farm/{field}/moisture.
	MQTT string `yaml:"mqtt" json:"mqtt,omitempty"`
	// HTTP is a method and a path with named captures: GET /fields/{field}. Either
	// may be left out, see Route.
	HTTP string `yaml:"http" json:"http,omitempty"`
	// Cron is a calendar of five fields (minute, hour, day of the month, month,
	// day of the week), or @hourly, @daily, @weekly, @monthly or @yearly.
	Cron string `yaml:"cron" json:"cron,omitempty"`
	// Every is an interval, at least a second.
	Every *Duration `yaml:"every" json:"every,omitempty"`
	// State is a pattern of keys, with captures: readings/{probe} of the
	// function's own state, weather:today/# of another function's.
	State string `yaml:"state" json:"state,omitempty"`
	// Queue is the name of a queue, or a pattern of names: orders/{region}.
	Queue string `yaml:"queue" json:"queue,omitempty"`
	// File is a pattern of objects, with captures: camera/{camera}/{name} is those
	// of the bucket camera with keys of two levels, camera is all of them.
	File string `yaml:"file" json:"file,omitempty"`
	// Sensor is a sensor of the gateway, with * for any run of characters.
	Sensor string `yaml:"sensor" json:"sensor,omitempty"`
	// Lifecycle is one of Lifecycles.
	Lifecycle string `yaml:"lifecycle" json:"lifecycle,omitempty"`
	// Failure is a function whose dead letters start this one, with * for any
	// run of characters.
	Failure string `yaml:"failure" json:"failure,omitempty"`
	// Actuator is an actuator, with * for any run of characters; Happens are what
	// of it starts the function, of ActuatorHappenings, all of them by default.
	Actuator string `yaml:"actuator" json:"actuator,omitempty"`

	// Timezone is where Cron's clock hangs, as Europe/Madrid; UTC by default.
	Timezone string `yaml:"timezone" json:"timezone,omitempty"`
	// Missed says what follows for instants of Cron or Every at which the
	// gateway was off: skip (the default), once or all.
	Missed string `yaml:"missed" json:"missed,omitempty"`
	// OnEstimate lets Cron go by a clock that is not synchronised.
	OnEstimate bool `yaml:"on_estimate" json:"on_estimate,omitempty"`
	// QoS caps the quality of service of the subscription, 1 by default. An
	// event is durable when both it and the message have at least 1.
	QoS *int `yaml:"qos" json:"qos,omitempty"`
	// OrderBy names the capture, or the data.field, whose value is the
	// ordering key: events of one key run in order, one at a time.
	OrderBy string `yaml:"order_by" json:"order_by,omitempty"`
	// When is a condition over the event and config.
	When string `yaml:"when" json:"when,omitempty"`
	// Retained makes the trigger start for stored retained messages too.
	Retained bool `yaml:"retained" json:"retained,omitempty"`
	// Change is what of File starts it: created (the default) for an object that
	// was put, in the place of another too, deleted, or any. Of Sensor it is by
	// how much its value must have moved since this trigger last started.
	Change string `yaml:"change" json:"change,omitempty"`
	// Above and Below start once when Sensor's value crosses them, and again only
	// after it has come back by Hysteresis.
	Above      *float64 `yaml:"above" json:"above,omitempty"`
	Below      *float64 `yaml:"below" json:"below,omitempty"`
	Hysteresis float64  `yaml:"hysteresis" json:"hysteresis,omitempty"`
	// Quality is good (the default), or any for Sensor's failures too.
	Quality string `yaml:"quality" json:"quality,omitempty"`
	// Durable has a request kept and answered with 202; without it the caller
	// gets the function's answer.
	Durable bool `yaml:"durable" json:"durable,omitempty"`
	// Happens narrows Actuator down.
	Happens []string `yaml:"happens" json:"happens,omitempty"`
	// Public lets everybody call the route. Keys names the tokens that may,
	// of those that may call the function; empty is all of these.
	Public bool     `yaml:"public" json:"public,omitempty"`
	Keys   []string `yaml:"keys" json:"keys,omitempty"`
	// CORS are the origins whose pages may call it, * is every page.
	CORS []string `yaml:"cors" json:"cors,omitempty"`
	// MaxBody caps a request's body, 1MiB by default.
	MaxBody ByteSize `yaml:"max_body" json:"max_body,omitempty"`
	// Timeout is how long a caller waits at most, 30s by default.
	Timeout Duration `yaml:"timeout" json:"timeout,omitempty"`
}

// triggerOptions are the options that belong to a kind. OrderBy and When are
// those of every kind.
var triggerOptions = map[TriggerKind][]string{
	TriggerMQTT:  {"qos", "retained"},
	TriggerHTTP:  {"durable", "public", "keys", "cors", "max_body", "timeout"},
	TriggerCron:  {"timezone", "missed", "on_estimate"},
	TriggerEvery: {"missed"},
	TriggerFile:  {"change"},

	TriggerSensor:   {"change", "above", "below", "hysteresis", "quality"},
	TriggerActuator: {"happens"},
}

// kinds are the kinds that are set, with what each says.
func (t *Trigger) kinds() (kinds []TriggerKind, values []string) {
	every := ""
	if t.Every != nil {
		every = t.Every.String()
	}
	for _, k := range [...]struct {
		kind  TriggerKind
		value string
	}{
		{TriggerMQTT, t.MQTT},
		{TriggerHTTP, t.HTTP},
		{TriggerCron, t.Cron},
		{TriggerEvery, every},
		{TriggerState, t.State},
		{TriggerQueue, t.Queue},
		{TriggerFile, t.File},
		{TriggerSensor, t.Sensor},
		{TriggerLifecycle, t.Lifecycle},
		{TriggerFailure, t.Failure},
		{TriggerActuator, t.Actuator},
	} {
		if k.value != "" {
			kinds, values = append(kinds, k.kind), append(values, k.value)
		}
	}
	return kinds, values
}

// Kind is the kind that is set, the first where there are several; empty where
// there is none.
func (t *Trigger) Kind() TriggerKind {
	if kinds, _ := t.kinds(); len(kinds) > 0 {
		return kinds[0]
	}
	return ""
}

// String is the trigger in short: its kind and what that says, as
// mqtt:farm/{field}/moisture or cron:0 5 * * * (Europe/Madrid).
func (t *Trigger) String() string {
	kinds, values := t.kinds()
	if len(kinds) == 0 {
		return "none"
	}
	s := string(kinds[0]) + ":" + values[0]
	if t.Timezone != "" {
		s += " (" + t.Timezone + ")"
	}
	return s
}

// EffectiveQoS is QoS or its default.
func (t *Trigger) EffectiveQoS() byte {
	if t.QoS == nil {
		return 1
	}
	return byte(*t.QoS)
}

// Timer reports whether a timer starts it, and that timer's name and schedule.
// The name comes from what the schedule says: a trigger that moves in its list
// or is deployed again keeps its timer, with its next firing.
func (t *Trigger) Timer(function string) (name, schedule string, ok bool) {
	switch kind := t.Kind(); kind {
	case TriggerCron:
		schedule = strings.Join(strings.Fields(t.Cron), " ")
	case TriggerEvery:
		schedule = "@every " + t.Every.String()
	default:
		return "", "", false
	}
	sum := sha256.Sum256([]byte(schedule + "\x00" + t.Timezone))
	return function + "/" + hex.EncodeToString(sum[:6]), schedule, true
}

// StateNamespace is whose keys the trigger watches, and the pattern of them,
// for a trigger of the function called own.
func (t *Trigger) StateNamespace(own string) (namespace, keys string) {
	if namespace, keys, other := strings.Cut(t.State, ":"); other {
		return namespace, keys
	}
	return own, t.State
}

// Lifecycles are what a lifecycle trigger may name.
func Lifecycles() []string {
	return []string{
		LifecycleConnected, LifecycleDisconnected, LifecycleRefused, LifecycleStarted, LifecycleStopping,
		LifecycleSynchronised, LifecycleStorageLow, LifecycleStorageRecovered, LifecycleSensorFailed, LifecycleSensorRecovered,
	}
}

// What happens to devices and to the gateway itself.
const (
	LifecycleConnected        = "device.connected"
	LifecycleDisconnected     = "device.disconnected"
	LifecycleRefused          = "device.refused"
	LifecycleStarted          = "gateway.started"
	LifecycleStopping         = "gateway.stopping"
	LifecycleSynchronised     = "clock.synchronised"
	LifecycleStorageLow       = "storage.low"
	LifecycleStorageRecovered = "storage.recovered"
	LifecycleSensorFailed     = "sensor.failed"
	LifecycleSensorRecovered  = "sensor.recovered"
)

func (t *Trigger) validate(s *Spec, at func(string, ...any)) {
	kinds, _ := t.kinds()
	switch len(kinds) {
	case 0:
		at("needs mqtt, http, cron, every, state, queue, file, sensor, lifecycle, failure or actuator: what starts the function, such as mqtt: farm/{field}/moisture")
		return
	case 1:
	default:
		at(fmt.Sprintf("has both %s and %s: a trigger is of one kind, make two of it", kinds[0], kinds[1]), string(kinds[1]))
		return
	}
	t.validateOptions(kinds[0], at)
	switch kinds[0] {
	case TriggerHTTP:
		t.validateHTTP(s.Name, at)
	case TriggerState:
		t.validateState(s, at)
	case TriggerFile:
		t.validateFile(at)
	case TriggerSensor:
		t.validateSensor(at)
	case TriggerLifecycle:
		if all := Lifecycles(); !slices.Contains(all, t.Lifecycle) {
			at(fmt.Sprintf("%q is not known: it is one of %s", t.Lifecycle, strings.Join(all, ", ")), "lifecycle")
		}
	case TriggerFailure:
		t.validateFailure(s, at)
	case TriggerActuator:
		t.validateActuator(at)
	}
}

// validateOptions refuses options that say nothing to the kind.
func (t *Trigger) validateOptions(kind TriggerKind, at func(string, ...any)) {
	for _, o := range [...]struct {
		name string
		set  bool
		of   string
	}{
		{"timezone", t.Timezone != "", "cron"},
		{"missed", t.Missed != "", "cron and every"},
		{"on_estimate", t.OnEstimate, "cron"},
		{"qos", t.QoS != nil, "mqtt"},
		{"retained", t.Retained, "mqtt"},
		{"change", t.Change != "", "file and sensor"},
		{"above", t.Above != nil, "sensor"},
		{"below", t.Below != nil, "sensor"},
		{"hysteresis", t.Hysteresis != 0, "sensor"},
		{"quality", t.Quality != "", "sensor"},
		{"happens", len(t.Happens) > 0, "actuator"},
		{"durable", t.Durable, "http"},
		{"public", t.Public, "http"},
		{"keys", len(t.Keys) > 0, "http"},
		{"cors", len(t.CORS) > 0, "http"},
		{"max_body", t.MaxBody != 0, "http"},
		{"timeout", t.Timeout != 0, "http"},
	} {
		if o.set && !slices.Contains(triggerOptions[kind], o.name) {
			at(fmt.Sprintf("is an option of %s, it says nothing to %s: remove it", o.of, kind), o.name)
		}
	}
	if t.QoS != nil && (*t.QoS < 0 || *t.QoS > 2) {
		at("must be 0, 1 or 2", "qos")
	}
	if !slices.Contains([]string{"", "skip", "once", "all"}, t.Missed) {
		at(fmt.Sprintf("%q must be skip, once or all", t.Missed), "missed")
	}
}

// validateState checks whose keys are watched; the keys are a pattern, which
// others know.
func (t *Trigger) validateState(s *Spec, at func(string, ...any)) {
	namespace, keys := t.StateNamespace(s.Name)
	p := s.Permissions.State
	switch {
	case !ValidName(namespace):
		if s.Name != "" {
			at(fmt.Sprintf("%q is not a function's name: before the colon stands whose state it is", namespace), "state")
		}
	case keys == "":
		at("names no key: write a pattern behind the colon, such as "+namespace+":#", "state")
	case namespace != s.Name && !slices.Contains(p.Read, namespace) && !slices.Contains(p.Write, namespace):
		at(fmt.Sprintf("watches the state of %s: add it to permissions.state.read", namespace), "state")
	}
}

func (t *Trigger) validateFailure(s *Spec, at func(string, ...any)) {
	switch {
	case !validPattern(t.Failure):
		at(fmt.Sprintf("%q is not a function's name, which * may stand in for a part of", t.Failure), "failure")
	case t.Failure == s.Name && s.Name != "":
		at("a function cannot handle its own failures: name another", "failure")
	}
}

// ActuatorHappenings are what may happen to an actuator.
func ActuatorHappenings() []string {
	return []string{"on", "renewed", "off", "interrupted", "fault", "refused"}
}

func (t *Trigger) validateActuator(at func(string, ...any)) {
	if !validPattern(t.Actuator) {
		at(fmt.Sprintf("%q is not an actuator's name, which * may stand in for a part of", t.Actuator), "actuator")
	}
	for i, h := range t.Happens {
		if all := ActuatorHappenings(); !slices.Contains(all, h) {
			at(fmt.Sprintf("%q is not known: it is one of %s", h, strings.Join(all, ", ")), "happens", i)
		}
	}
}

// equal reports whether both triggers start for the same events in the same way.
func (t *Trigger) equal(u *Trigger) bool {
	a, b := *t, *u
	a.QoS, b.QoS, a.Every, b.Every = nil, nil, nil, nil
	return reflect.DeepEqual(a, b) && t.EffectiveQoS() == u.EffectiveQoS() && (t.Every == nil) == (u.Every == nil) && (t.Every == nil || *t.Every == *u.Every)
}

// Words is the trigger with its options, for people: mqtt farm/+/x, in the
// order of field, when data.x > 1.
func (t *Trigger) Words() string {
	kinds, values := t.kinds()
	if len(kinds) == 0 {
		return "none"
	}
	w := string(kinds[0]) + " " + values[0]
	for _, o := range [...]struct {
		set  bool
		text string
	}{
		{t.Timezone != "", " in " + t.Timezone},
		{t.OnEstimate, ", on an estimated clock too"},
		{t.Missed != "", ", missed: " + t.Missed},
		{t.Change != "" && t.Sensor == "", ", " + t.Change},
		{t.Change != "" && t.Sensor != "", ", moved by " + t.Change},
		{t.Above != nil, ", above " + shown(t.Above)},
		{t.Below != nil, ", below " + shown(t.Below)},
		{t.Hysteresis != 0, fmt.Sprintf(" (back by %v)", t.Hysteresis)},
		{t.Quality != "", ", of " + t.Quality + " quality"},
		{len(t.Happens) > 0, ", " + strings.Join(t.Happens, " or ")},
		{t.QoS != nil, fmt.Sprintf(", QoS %d", t.EffectiveQoS())},
		{t.Retained, ", retained messages too"},
		{t.OrderBy != "", ", in the order of " + t.OrderBy},
		{t.When != "", ", when " + t.When},
	} {
		if o.set {
			w += o.text
		}
	}
	return w
}
