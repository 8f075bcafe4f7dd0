package api

import "time"

// Explain asks what would become of an event.
type Explain struct {
	// Kind is mqtt (the default), http, timer, state, queue, file, sensor, lifecycle
	// or failure.
	Kind string `json:"kind,omitempty"`
	// Subject is the topic; METHOD /path; the function whose timers are meant;
	// function:key; the queue; bucket/key; the name of what happens; or the function that
	// failed.
	Subject string `json:"subject" minLength:"1" maxLength:"65535"`
	// Data is the event's; for a key its new value.
	Data []byte `json:"data,omitempty" doc:"base64"`
	// QoS, Retained, Client and Properties are those of a message.
	QoS        int               `json:"qos,omitempty" minimum:"0" maximum:"2"`
	Retained   bool              `json:"retained,omitempty" doc:"as a stored retained message"`
	Client     string            `json:"client,omitempty"`
	Properties map[string]string `json:"properties,omitempty"`
	// Run lets the functions run, with what they ask for thrown away.
	Run bool `json:"run,omitempty"`
}

// Explained answers an Explain.
type Explained struct {
	Kind    string `json:"kind"`
	Subject string `json:"subject"`
	// Notes say what concerns all functions.
	Notes    []string         `json:"notes,omitempty"`
	Triggers []TriggerVerdict `json:"triggers"`
	// Starts are the functions that the event would start.
	Starts []Start `json:"starts"`
}

// TriggerVerdict is what one trigger makes of the event.
type TriggerVerdict struct {
	Function string `json:"function"`
	Version  int    `json:"version"`
	// Trigger is the trigger in short, Index its place in the manifest.
	Trigger string `json:"trigger"`
	Index   int    `json:"index"`
	Starts  bool   `json:"starts"`
	// Reason is why it does not start its function, Values the fields that a
	// condition which is false speaks of.
	Reason string            `json:"reason,omitempty"`
	Values map[string]any    `json:"values,omitempty"`
	Params map[string]string `json:"params,omitempty"`
	Key    string            `json:"key,omitempty"`
}

// Start is what the gateway would do for one function.
type Start struct {
	Function string `json:"function"`
	Version  int    `json:"version,omitempty" doc:"the one that would run"`
	Durable  bool   `json:"durable"`
	Key      string `json:"key,omitempty"`
	// Hindrances are why it would not run at once.
	Hindrances []string `json:"hindrances,omitempty"`
	// Rehearsal is there where it was asked for and the function could run.
	Rehearsal *Rehearsal `json:"rehearsal,omitempty"`
}

// Rehearsal is what a function would do.
type Rehearsal struct {
	Invocation
	Output []byte   `json:"output,omitempty" doc:"base64"`
	Logs   []string `json:"logs,omitempty"`
	// Refused is why its effects could not be settled.
	Refused string        `json:"refused,omitempty"`
	State   []WouldWrite  `json:"state,omitempty"`
	Publish []WouldSend   `json:"publish,omitempty"`
	Enqueue []WouldQueue  `json:"enqueue,omitempty"`
	Invoke  []WouldInvoke `json:"invoke,omitempty"`
	Objects []WouldPut    `json:"objects,omitempty"`
	// Starts are the functions that all this would start.
	Starts []string `json:"starts,omitempty"`
}

// WouldWrite is a key that a rehearsed function would change.
type WouldWrite struct {
	Namespace string        `json:"namespace"`
	Key       string        `json:"key"`
	Value     []byte        `json:"value,omitempty" doc:"base64"`
	Delete    bool          `json:"delete,omitempty"`
	TTL       time.Duration `json:"ttl_ns,omitempty"`
}

// WouldSend is a message that a rehearsed function would publish.
type WouldSend struct {
	Topic   string `json:"topic"`
	Payload []byte `json:"payload,omitempty" doc:"base64"`
	QoS     int    `json:"qos"`
	Retain  bool   `json:"retain,omitempty"`
}

// WouldQueue is a message that a rehearsed function would put on a queue.
type WouldQueue struct {
	Queue   string        `json:"queue"`
	Payload []byte        `json:"payload,omitempty" doc:"base64"`
	Delay   time.Duration `json:"delay_ns,omitempty"`
}

// WouldInvoke is a function that a rehearsed function would start.
type WouldInvoke struct {
	Function string `json:"function"`
	Payload  []byte `json:"payload,omitempty" doc:"base64"`
}

// WouldPut is an object that a rehearsed function would put or delete.
type WouldPut struct {
	Bucket string `json:"bucket"`
	Key    string `json:"key"`
	Delete bool   `json:"delete,omitempty"`
	Digest string `json:"digest,omitempty"`
	Size   int64  `json:"size,omitempty"`
	Type   string `json:"type,omitempty"`
}
