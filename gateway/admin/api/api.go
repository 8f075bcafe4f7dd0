// Package api holds the shapes that the admin API and its clients exchange,
// all of them JSON. Times are RFC 3339, durations nanoseconds, sizes bytes.
package api

import (
	"encoding/json"
	"time"

	"github.com/headgate-io/headgate/function"
)

// Function is a deployed function as lists show it.
type Function struct {
	Name        string    `json:"name"`
	Description string    `json:"description,omitempty"`
	Language    string    `json:"language"`
	Version     int       `json:"version" doc:"the version that alias live points to"`
	Deployed    time.Time `json:"deployed"`
	Triggers    []string  `json:"triggers"`
	Counters    Counters  `json:"counters"`
	// Broken is why it does not run since the gateway started; its events
	// wait.
	Broken string `json:"broken,omitempty"`
}

// NextFiring is when a timer fires next.
type NextFiring struct {
	Trigger string `json:"trigger"`
	// Next is left out while the time is not known well enough.
	Next time.Time `json:"next,omitzero"`
}

// Counters are what happened to a function since the gateway started.
type Counters struct {
	Invocations uint64            `json:"invocations"`
	Errors      map[string]uint64 `json:"errors,omitempty"`
	ColdStarts  uint64            `json:"cold_starts"`
	Instances   int               `json:"instances"`
	MemoryBytes int64             `json:"memory_bytes"`
	Queued      int64             `json:"queued" doc:"durable events that wait"`
	DeadLetters int64             `json:"dead_letters"`
	Dropped     uint64            `json:"dropped" doc:"volatile events dropped because their queue was full"`
	Conflicts   uint64            `json:"conflicts" doc:"reruns because state changed meanwhile"`
	Pauses      uint64            `json:"pauses" doc:"how often it was paused because it kept failing"`
	Retries     uint64            `json:"retries" doc:"failed attempts that were followed by another"`
	Waiting     int               `json:"waiting" doc:"events that wait for their next attempt"`
	Expired     uint64            `json:"expired" doc:"events given up because their age was over before their turn came"`
	Breaker     Breaker           `json:"breaker"`
}

// Breaker is a function's circuit breaker: it pauses what keeps failing.
type Breaker struct {
	// State is closed (it runs), open (paused) or trial (one event at a time
	// decides).
	State    string `json:"state" enum:"closed,open,trial"`
	Failures int    `json:"failures" doc:"in a row"`
	// Since, NextTrial and Reason are there while it is not closed.
	Since     time.Time `json:"since,omitzero"`
	NextTrial time.Time `json:"next_trial,omitzero"`
	Reason    string    `json:"reason,omitempty"`
}

// FunctionDetail is all there is to know about a function.
type FunctionDetail struct {
	Function
	// Spec is its manifest, with the configuration that it runs with; Configured
	// are the keys of that which the gateway's controller set.
	Spec       function.Spec `json:"spec"`
	Configured []string      `json:"configured,omitempty"`
	Author     string        `json:"author"`
	// Timers are when its timers fire next.
	Timers   []NextFiring `json:"timers,omitempty"`
	Digest   string       `json:"digest"`
	Versions []Version    `json:"versions"`
	Aliases  []Alias      `json:"aliases"`
}

// Alias is a name for a version of a function. live is the one that triggers
// start; it may give a part of its traffic to a second version.
type Alias struct {
	Name    string `json:"name"`
	Version int    `json:"version"`
	// Split is the version that gets Percent of the traffic; 0 is none.
	Split   int       `json:"split,omitempty"`
	Percent float64   `json:"percent,omitempty"`
	Updated time.Time `json:"updated"`
}

// AliasTarget is what an alias is to point to.
type AliasTarget struct {
	Version int     `json:"version" minimum:"1"`
	Split   int     `json:"split,omitempty" minimum:"0" doc:"the version that takes percent of the traffic; of live only"`
	Percent float64 `json:"percent,omitempty" minimum:"0" maximum:"100"`
}

// DeployOptions say what a new version is to be: live where no alias is named.
type DeployOptions struct {
	Alias   string
	Percent float64
}

// Version is one version of a function.
type Version struct {
	Version int       `json:"version"`
	Digest  string    `json:"digest"`
	Author  string    `json:"author"`
	Created time.Time `json:"created"`
	Live    bool      `json:"live"`
	// Aliases are the names that point to it.
	Aliases []string `json:"aliases,omitempty"`
}

// Deployed answers a deploy.
type Deployed struct {
	Name     string   `json:"name"`
	Version  int      `json:"version"`
	Digest   string   `json:"digest"`
	Author   string   `json:"author"`
	Pinned   bool     `json:"pinned" doc:"this deploy pinned the author's key to the gateway"`
	Changed  bool     `json:"changed" doc:"false when this very content was live already"`
	Triggers []string `json:"triggers"`
	// Alias is what points to the version where it is not live, and Percent the
	// part of the traffic that it gets.
	Alias   string  `json:"alias,omitempty"`
	Percent float64 `json:"percent,omitempty"`
	// MissingSecrets are declared and not set, or cannot be opened.
	MissingSecrets []string `json:"missing_secrets,omitempty"`
	// Absent is what it names of the gateway's equipment and is not there, as
	// "sensor soil-1".
	Absent []string `json:"absent,omitempty"`
	// CompileMillis is how long compiling took.
	CompileMillis int64 `json:"compile_ms"`
}

// Author is whose functions a gateway takes.
type Author struct {
	// Key is the pinned author's key; empty while none is pinned.
	Key string `json:"key"`
}

// Rollback asks for an earlier version; 0 is the one before the live one.
type Rollback struct {
	Version int `json:"version,omitempty"`
}

// Invoke asks for one invocation, now.
type Invoke struct {
	Data        []byte            `json:"data,omitempty" doc:"the event's data, base64"`
	ContentType string            `json:"content_type,omitempty"`
	Subject     string            `json:"subject,omitempty"`
	Params      map[string]string `json:"params,omitempty"`
	// Qualifier is an alias or the number of a version; empty is what an event
	// would run on.
	Qualifier string `json:"qualifier,omitempty"`
}

// Invoked answers an invoke.
type Invoked struct {
	Invocation
	Output []byte `json:"output,omitempty" doc:"base64"`
}

// Invocation is one attempt on one event.
type Invocation struct {
	Time      time.Time     `json:"time"`
	Function  string        `json:"function"`
	Version   int           `json:"version"`
	EventID   string        `json:"event_id"`
	Subject   string        `json:"subject,omitempty"`
	Attempt   int           `json:"attempt"`
	Outcome   string        `json:"outcome"`
	Error     string        `json:"error,omitempty"`
	Duration  time.Duration `json:"duration_ns"`
	Fuel      uint64        `json:"fuel"`
	FuelLimit uint64        `json:"fuel_limit"`
	ColdStart bool          `json:"cold_start"`
	Published []string      `json:"published,omitempty"`
	Enqueued  []string      `json:"enqueued,omitempty" doc:"the queues that it put messages on"`
	Invoked   []string      `json:"invoked,omitempty" doc:"the functions that it started"`
	Actuated  []Actuated    `json:"actuated,omitempty" doc:"the actuators that it switched"`
	Writes    int           `json:"writes,omitempty"`
	// Next says what follows a failure: "retry in 2s", "dead letter".
	Next string `json:"next,omitempty"`
}

// LogLine is one line that a function logged.
type LogLine struct {
	Time     time.Time `json:"time"`
	Function string    `json:"function"`
	Version  int       `json:"version"`
	EventID  string    `json:"event_id"`
	Level    string    `json:"level"`
	Text     string    `json:"text"`
}

// Event is one message as it came to the gateway.
type Event struct {
	Time    time.Time `json:"time"`
	ID      string    `json:"id"`
	Source  string    `json:"source"`
	Subject string    `json:"subject"`
	QoS     int       `json:"qos"`
	Bytes   int       `json:"bytes"`
	// Functions are those that it started.
	Functions []string `json:"functions,omitempty"`
}

// StateEntry is one stored key of a function.
type StateEntry struct {
	Key   string `json:"key"`
	Value []byte `json:"value,omitempty" doc:"base64"`
}

// StateList is one page of keys.
type StateList struct {
	Keys []string `json:"keys"`
	// More is true when keys after the last one are left.
	More bool `json:"more"`
}

// Usage is what one function version used in a span of minutes.
type Usage struct {
	Function     string            `json:"function"`
	Version      int               `json:"version"`
	Minute       time.Time         `json:"minute" doc:"start of the first minute"`
	Requests     uint64            `json:"requests"`
	Errors       map[string]uint64 `json:"errors,omitempty"`
	Fuel         uint64            `json:"fuel"`
	Duration     time.Duration     `json:"duration_ns"`
	GBSeconds    float64           `json:"gb_seconds"`
	ColdStarts   uint64            `json:"cold_starts"`
	BytesIn      uint64            `json:"bytes_in"`
	BytesOut     uint64            `json:"bytes_out"`
	BytesWritten uint64            `json:"bytes_written"`
	// TimeEstimated and TimeUnknown count requests whose minute comes from a
	// clock that was not synchronised.
	TimeEstimated uint64 `json:"time_estimated,omitempty"`
	TimeUnknown   uint64 `json:"time_unknown,omitempty"`
}

// Device is an MQTT client with credentials.
type Device struct {
	Name      string    `json:"name"`
	Publish   []string  `json:"publish"`
	Subscribe []string  `json:"subscribe"`
	Created   time.Time `json:"created"`
	Connected bool      `json:"connected"`
	// Certificate says that it shows a client certificate, not a password.
	Certificate bool `json:"certificate,omitempty"`
	// Revoked is since when it is kept out; zero is not at all.
	Revoked time.Time `json:"revoked,omitzero"`
}

// NewDevice asks for a device. Without a password one is made, unless it shows
// a certificate.
type NewDevice struct {
	Name      string   `json:"name"`
	Publish   []string `json:"publish,omitempty"`
	Subscribe []string `json:"subscribe,omitempty"`
	Password  string   `json:"password,omitempty"`
	// Certificate admits it by a client certificate that names it.
	Certificate bool `json:"certificate,omitempty"`
}

// DeviceSecret answers add and rotate: the one time that a password is shown.
type DeviceSecret struct {
	Device
	// Password is empty for a device with a certificate.
	Password string `json:"password,omitempty"`
	// Address is where the device connects, host:port.
	Address string `json:"address,omitempty"`
	// TLS is true where it must speak TLS there.
	TLS bool `json:"tls,omitempty"`
}

// Message is an MQTT message, to publish or as received.
type Message struct {
	Time    time.Time `json:"time,omitzero"`
	Topic   string    `json:"topic"`
	Payload []byte    `json:"payload,omitempty" doc:"base64"`
	QoS     int       `json:"qos,omitempty"`
	Retain  bool      `json:"retain,omitempty"`
}

// QueueMessage is a message for the functions that take from a queue.
type QueueMessage struct {
	Queue   string        `json:"queue" minLength:"1" maxLength:"1024"`
	Payload []byte        `json:"payload,omitempty" doc:"base64"`
	Delay   time.Duration `json:"delay_ns,omitempty" minimum:"0" doc:"it is due so much later"`
}

// TimerRun asks for a firing of a function's timer, now. Schedule is its cron,
// or the interval of its every; it may be left out where there is one timer.
type TimerRun struct {
	Function string `json:"function" minLength:"1" maxLength:"63"`
	Schedule string `json:"schedule,omitempty" maxLength:"256"`
}

// TimerRan is a firing that is kept.
type TimerRan struct {
	Function string    `json:"function"`
	Trigger  string    `json:"trigger"`
	Due      time.Time `json:"due"`
	Started  bool      `json:"started" doc:"false where the trigger's when is false"`
}

// Recording is an invocation that was kept to be run again elsewhere.
type Recording struct {
	ID       string    `json:"id"`
	Function string    `json:"function"`
	Version  int       `json:"version"`
	EventID  string    `json:"event_id"`
	Subject  string    `json:"subject,omitempty"`
	Time     time.Time `json:"time"`
	Outcome  string    `json:"outcome"`
	Error    string    `json:"error,omitempty"`
	Fuel     uint64    `json:"fuel"`
	Bytes    int64     `json:"bytes"`
}

// RecordOrder says what is to be recorded of a function.
type RecordOrder struct {
	// Failures leaves out invocations that succeed.
	Failures bool `json:"failures,omitempty"`
	// Count is how many are recorded, For how long it is tried at most.
	Count int           `json:"count" minimum:"1" maximum:"64"`
	For   time.Duration `json:"for_ns,omitempty" minimum:"0"`
}

// DeadLetter is an event that was given up, as lists show it.
type DeadLetter struct {
	ID       int64  `json:"id"`
	Function string `json:"function"`
	Version  int    `json:"version" doc:"the version that made the last attempt; 0 where none was made"`
	EventID  string `json:"event_id"`
	Subject  string `json:"subject,omitempty"`
	Key      string `json:"key,omitempty" doc:"the ordering key"`
	// Blocks is true while later events of the key wait for this one.
	Blocks   bool      `json:"blocks,omitempty"`
	Attempts int       `json:"attempts"`
	Reason   string    `json:"reason" doc:"attempts, max_age or hops"`
	Error    string    `json:"error"`
	Time     time.Time `json:"time" doc:"when it was given up"`
}

// DeadLetterDetail is all that is kept of a dead letter.
type DeadLetterDetail struct {
	DeadLetter
	Arrived     time.Time         `json:"arrived"`
	Source      string            `json:"source"`
	Type        string            `json:"type"`
	EventTime   time.Time         `json:"event_time"`
	ContentType string            `json:"content_type,omitempty"`
	Hops        int               `json:"hops"`
	Params      map[string]string `json:"params,omitempty"`
	Extensions  map[string]string `json:"extensions,omitempty"`
	Data        []byte            `json:"data,omitempty" doc:"base64"`
}

// DeadLetterChoice says which dead letters are meant: those of IDs, all of a
// function, or all there are.
type DeadLetterChoice struct {
	IDs      []int64 `json:"ids,omitempty" maxItems:"1000"`
	Function string  `json:"function,omitempty" maxLength:"64"`
	All      bool    `json:"all,omitempty"`
}

// DeadLettersDone says how many dead letters were redriven or dropped.
type DeadLettersDone struct {
	Letters int `json:"letters"`
}

// Clock is the gateway's idea of the time.
type Clock struct {
	Time  time.Time `json:"time"`
	Trust string    `json:"trust" enum:"unknown,estimated,synchronised"`
	// Correction is what is added to the machine's own clock.
	Correction   time.Duration `json:"correction_ns,omitempty"`
	JumpsForward uint64        `json:"jumps_forward"`
	JumpsBack    uint64        `json:"jumps_back"`
	LastJump     time.Duration `json:"last_jump_ns,omitempty"`
}

// SetClock confirms the time.
type SetClock struct {
	Time time.Time `json:"time"`
}

// About says which gateway this is.
type About struct {
	Version string    `json:"version"`
	Go      string    `json:"go"`
	Target  string    `json:"target"`
	Started time.Time `json:"started"`
	// Interpreter is true when functions run without a compiler, slowly.
	Interpreter bool `json:"interpreter"`
	// Listeners are the MQTT addresses by listener name.
	Listeners map[string]string `json:"listeners"`
}

// Problem is an error of the API (RFC 9457).
type Problem struct {
	Status int             `json:"status"`
	Title  string          `json:"title"`
	Detail string          `json:"detail"`
	Errors []ProblemDetail `json:"errors,omitempty"`
}

// ProblemDetail is one fault of several.
type ProblemDetail struct {
	Message  string          `json:"message"`
	Location string          `json:"location,omitempty"`
	Value    json.RawMessage `json:"value,omitempty"`
}

// Token is a token of the admin API, without the token itself.
type Token struct {
	Name   string   `json:"name"`
	Scopes []string `json:"scopes" doc:"read, deploy, operate, admin"`
	// Created is zero for the token in the token file, Expires and LastUsed
	// are for never.
	Created  time.Time `json:"created,omitzero"`
	Expires  time.Time `json:"expires,omitzero"`
	LastUsed time.Time `json:"last_used,omitzero"`
}

// NewToken asks for a token. With no lifetime it lives until it is revoked.
type NewToken struct {
	Name     string        `json:"name"`
	Scopes   []string      `json:"scopes"`
	Lifetime time.Duration `json:"lifetime_ns,omitempty"`
}

// TokenSecret answers a new token: the one time that it is shown.
type TokenSecret struct {
	Token
	Secret string `json:"secret"`
}

// Secret is a function's secret, without its value.
type Secret struct {
	Function string    `json:"function"`
	Name     string    `json:"name"`
	Updated  time.Time `json:"updated"`
	// Key names the key that it is sealed with. Lost is true when that key is
	// not in the key file.
	Key  string `json:"key"`
	Lost bool   `json:"lost,omitempty"`
}

// Rekeyed answers a change of the key.
type Rekeyed struct {
	Secrets int `json:"secrets"`
}
