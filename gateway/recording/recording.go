// Package recording keeps invocations so that they can be run again elsewhere:
// the event, every answer that the host gave, and what came of it.
//
// A Tape listens to one invocation and makes a Recording of it. A Shelf keeps
// recordings on a gateway, within bounds. Answers gives a sandbox the recorded
// answers again, so that the same code does the same, to the unit of fuel, and
// Compare says where other code does something else.
package recording

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/function"
)

// Format is what the first field of a recording says.
const Format = "headgate-recording/1"

// Recording is one invocation.
type Recording struct {
	Format string    `json:"format"`
	ID     string    `json:"id"`
	Time   time.Time `json:"time"`

	// Spec is the function as it ran, Version its number on that gateway and
	// Digest that of its bundle.
	Spec    function.Spec `json:"spec"`
	Version int           `json:"version"`
	Digest  string        `json:"digest"`
	// Gateway is the version of the gateway, Sandbox names what decides how
	// fuel is counted: the rewriter and the script engines.
	Gateway string `json:"gateway"`
	Sandbox string `json:"sandbox"`
	// Bundle is the function's code, where it is part of the file.
	Bundle []byte `json:"bundle,omitempty"`

	// Event is without its data, which is byte for byte in Data.
	Event *event.Event `json:"event"`
	Data  Bytes        `json:"data"`
	// Meta is what the guest could ask about its event.
	Meta map[string]string `json:"meta"`

	Answers Answers `json:"answers"`
	Outcome Outcome `json:"outcome"`

	// Redacted are the places whose values were replaced: a replay may differ
	// because of that.
	Redacted []string `json:"redacted,omitempty"`
}

// Answers is all that an invocation heard from outside.
type Answers struct {
	// Now is the clock at the start, zero where nobody asked.
	Now time.Time `json:"now,omitzero"`
	// Random is the seed of the invocation's random, empty where nobody asked.
	Random []byte `json:"random,omitempty"`
	// State are the reads of stored keys, in order.
	State []StateAnswer `json:"state,omitempty"`
	Lists []ListAnswer  `json:"lists,omitempty"`
	// Secrets are the names and lengths of the secrets that were read. Their
	// values are in no recording.
	Secrets map[string]int `json:"secrets,omitempty"`
	// Remaining are the answers to the question how many milliseconds are left.
	Remaining []int64 `json:"remaining_ms,omitempty"`
	// Fetches are the answers to http_fetch, in order.
	Fetches []FetchAnswer `json:"fetches,omitempty"`
	// Blobs are the bytes of objects that were read, as far as
	// host.MaxHeardBlobs goes. What a bucket has under a key is in State and
	// Lists.
	Blobs []BlobAnswer `json:"blobs,omitempty"`
	// Sensors are the readings of the sensors that were read, null for one that
	// there was not.
	Sensors map[string]json.RawMessage `json:"sensors,omitempty"`
	// Actuators are the answers to actuate, in order.
	Actuators []ActuatorAnswer `json:"actuators,omitempty"`
}

// ActuatorAnswer is the answer to one actuate.
type ActuatorAnswer struct {
	Actuator string        `json:"actuator"`
	Granted  time.Duration `json:"granted_ns,omitempty"`
	// Errno and Reason are why nothing was.
	Errno  int32  `json:"errno,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// StateAnswer is the answer to one kv_get.
type StateAnswer struct {
	Namespace string `json:"namespace"`
	Key       string `json:"key"`
	// Found is false where there was no such key.
	Found bool  `json:"found"`
	Value Bytes `json:"value,omitempty"`
}

// ListAnswer is the answer to one page of kv_list.
type ListAnswer struct {
	Namespace string   `json:"namespace"`
	Prefix    string   `json:"prefix"`
	After     string   `json:"after,omitempty"`
	Limit     int      `json:"limit"`
	Keys      []string `json:"keys"`
	More      bool     `json:"more,omitempty"`
}

// FetchAnswer is the answer to one http_fetch; both in the wire form of package
// abi.
type FetchAnswer struct {
	Request Bytes `json:"request"`
	Answer  Bytes `json:"answer,omitempty"`
	// Errno and Reason are why there is no answer.
	Errno  int32  `json:"errno,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// BlobAnswer are bytes of an object's content from Offset on.
type BlobAnswer struct {
	Digest string `json:"digest"`
	Offset int64  `json:"offset,omitempty"`
	Data   Bytes  `json:"data,omitempty"`
	// Cut is true where Data is missing, because it was too much to keep.
	Cut bool `json:"cut,omitempty"`
}

// Outcome is what came of the invocation.
type Outcome struct {
	Outcome string `json:"outcome"`
	Error   string `json:"error,omitempty"`
	Fuel    uint64 `json:"fuel"`
	// Duration is the time in the guest. It is never compared.
	Duration   time.Duration     `json:"duration_ns"`
	Output     Bytes             `json:"output,omitempty"`
	Attributes map[string]string `json:"attributes,omitempty"`
	Writes     []Write           `json:"writes,omitempty"`
	Publishes  []Publish         `json:"publishes,omitempty"`
	Enqueues   []Enqueue         `json:"enqueues,omitempty"`
	Invokes    []Invoke          `json:"invokes,omitempty"`
	Objects    []Object          `json:"objects,omitempty"`
	Actuations []Actuation       `json:"actuations,omitempty"`
	Metrics    []Metric          `json:"metrics,omitempty"`
	Logs       []LogLine         `json:"logs,omitempty"`
}

// Write is a key that was set or deleted. It and the other effects are as in
// package function.
type Write struct {
	Namespace string        `json:"namespace"`
	Key       string        `json:"key"`
	Value     Bytes         `json:"value,omitempty"`
	Delete    bool          `json:"delete,omitempty"`
	TTL       time.Duration `json:"ttl_ns,omitempty"`
}

// Publish is a message that was published.
type Publish struct {
	Topic   string        `json:"topic"`
	Payload Bytes         `json:"payload"`
	QoS     byte          `json:"qos"`
	Retain  bool          `json:"retain,omitempty"`
	Expiry  time.Duration `json:"expiry_ns,omitempty"`
}

// Enqueue is a message that was put on a queue.
type Enqueue struct {
	Queue   string        `json:"queue"`
	Payload Bytes         `json:"payload"`
	Delay   time.Duration `json:"delay_ns,omitempty"`
}

// Invoke is a function that was started.
type Invoke struct {
	Function string `json:"function"`
	Payload  Bytes  `json:"payload"`
}

// Actuation is what was asked of an actuator. What was granted is among the
// Answers.
type Actuation struct {
	Actuator string        `json:"actuator"`
	Value    float64       `json:"value"`
	Lease    time.Duration `json:"lease_ns,omitempty"`
}

// Object is an object that was put or deleted.
type Object struct {
	Bucket string `json:"bucket"`
	Key    string `json:"key"`
	Delete bool   `json:"delete,omitempty"`
	Digest string `json:"digest,omitempty"`
	Size   int64  `json:"size,omitempty"`
	Type   string `json:"type,omitempty"`
}

// Metric is a value that was reported.
type Metric struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
}

// LogLine is a line that was logged.
type LogLine struct {
	Level string `json:"level"`
	Text  string `json:"text"`
}

// Bytes are text in JSON where they are text, so that people can read a
// recording, and {"base64": …} where they are not.
type Bytes []byte

// MarshalJSON writes b.
func (b Bytes) MarshalJSON() ([]byte, error) {
	if utf8.Valid(b) {
		return json.Marshal(string(b))
	}
	return json.Marshal(map[string][]byte{"base64": b})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (b *Bytes) UnmarshalJSON(raw []byte) error {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		*b = Bytes(text)
		return nil
	}
	var other struct {
		Base64 string `json:"base64"`
	}
	if err := json.Unmarshal(raw, &other); err != nil {
		return fmt.Errorf("want text or {\"base64\": …}: %w", err)
	}
	var err error
	*b, err = base64.StdEncoding.DecodeString(other.Base64)
	return err
}

// maxBytes bounds a recording when it is read; what a function may read, write
// and output is bounded far below.
const maxBytes = 64 << 20

// Encode writes the recording as compressed JSON.
func (r *Recording) Encode(w io.Writer) error {
	z := gzip.NewWriter(w)
	enc := json.NewEncoder(z)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	return errors.Join(enc.Encode(r), z.Close())
}

// Decode reads a recording, compressed or not.
func Decode(raw []byte) (*Recording, error) {
	if bytes.HasPrefix(raw, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(bytes.NewReader(raw))
		if err != nil {
			return nil, fmt.Errorf("recording: %w", err)
		}
		if raw, err = io.ReadAll(io.LimitReader(z, maxBytes+1)); err != nil {
			return nil, fmt.Errorf("recording: %w", err)
		}
	}
	if len(raw) > maxBytes {
		return nil, fmt.Errorf("recording: over %d MiB", maxBytes>>20)
	}
	var r Recording
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		return nil, fmt.Errorf("recording: %w: is this a file of 'headgate recordings get'?", err)
	}
	if r.Format != Format {
		return nil, fmt.Errorf("recording: format %q: this version reads %s", r.Format, Format)
	}
	if r.Event == nil {
		return nil, errors.New("recording: it has no event")
	}
	return &r, nil
}
