// Package functest runs the recorded events of a project against its
// functions, in the same sandbox and through the same triggers as a gateway
// does, and compares what each asked for with what its author expects.
package functest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/headgate-io/headgate/function"
)

// FileName is where a project keeps its recorded events.
const FileName = "tests.yaml"

// File is a tests.yaml.
type File struct {
	Tests []Case `yaml:"tests"`

	fault func(message string, path ...any) *function.Fault
}

// Case is one recorded event and what it must do.
type Case struct {
	Name string `yaml:"name"`
	// Function may be left out in a project of one function.
	Function string `yaml:"function"`
	Event    Event  `yaml:"event"`
	// State is what the function has stored before, as JSON values.
	State map[string]any `yaml:"state"`
	// Objects are those that there are, by bucket/key.
	Objects map[string]Object `yaml:"objects"`
	// Secrets are values of what the manifest declares.
	Secrets map[string]string `yaml:"secrets"`
	// Config overrides the manifest's, key by key.
	Config map[string]any `yaml:"config"`
	// Sensors are the readings of sensors, by name.
	Sensors map[string]*Sensor `yaml:"sensors"`
	// Fetch are the requests that it sends, in order, with their answers.
	Fetch  []Fetch `yaml:"fetch"`
	Expect Expect  `yaml:"expect"`

	// onFailure says that the event is a failure which the manifest's on_failure
	// tells the function of, without a trigger of its own.
	onFailure bool
}

// Event is what comes: a message on a topic, or what another kind of trigger
// starts for.
type Event struct {
	Topic string `yaml:"topic"`
	// Queue is the queue that a message comes from, State the key that has
	// changed (of another function's state as function:key), Sensor one that is
	// read, whose reading is that of the test's sensors, Timer the calendar
	// or interval of the trigger that fires, Lifecycle what happens, Failure the
	// function that failed.
	Queue     string `yaml:"queue"`
	State     string `yaml:"state"`
	Sensor    string `yaml:"sensor"`
	Timer     string `yaml:"timer"`
	Lifecycle string `yaml:"lifecycle"`
	Failure   string `yaml:"failure"`
	// Actuator is what happens to one, as valve-1/off.
	Actuator string `yaml:"actuator"`
	// File is an object, as bucket/key, that was put; with Change deleted one that
	// is gone. Its data is that of the object among Objects.
	File   string `yaml:"file"`
	Change string `yaml:"change"`
	// Invoke is true where another function, or an operator, starts it.
	Invoke bool `yaml:"invoke"`
	// HTTP is a request, as GET /fields/3?unit=mm, with Headers.
	HTTP    string            `yaml:"http"`
	Headers map[string]string `yaml:"headers"`
	// Data is the payload as JSON, Text as it is; one of them.
	Data any     `yaml:"data"`
	Text *string `yaml:"text"`
	QoS  *int    `yaml:"qos"`
	// Properties are MQTT 5 user properties.
	Properties map[string]string `yaml:"properties"`
}

// Expect is what the event must do. What is left out is not looked at, but a
// failure always is: expect it with error.
type Expect struct {
	// Matched false says that no trigger starts the function.
	Matched *bool `yaml:"matched"`
	// Publish lists every message published, in order.
	Publish *[]Publish `yaml:"publish"`
	// Enqueue lists every message put on a queue, in order, Invoke every
	// function started.
	Enqueue *[]Enqueue `yaml:"enqueue"`
	Invoke  *[]Invoke  `yaml:"invoke"`
	// Actuate lists all that is asked of actuators, in order.
	Actuate *[]Actuate `yaml:"actuate"`
	// Objects are all those that are put, by bucket/key; null is one that is
	// deleted.
	Objects *map[string]*Object `yaml:"objects"`
	// State is all that is stored after.
	State *map[string]any `yaml:"state"`
	// Output is the function's result, as JSON.
	Output any `yaml:"output"`
	// Status and Headers are those of the answer to a request.
	Status  *int              `yaml:"status"`
	Headers map[string]string `yaml:"headers"`
	// Error is a part of the error that the invocation must end with.
	Error string `yaml:"error"`
	// Log is a part of a line that must be logged.
	Log string `yaml:"log"`
}

// Publish is a message that the function must publish.
type Publish struct {
	Topic  string  `yaml:"topic"`
	Data   any     `yaml:"data"`
	Text   *string `yaml:"text"`
	QoS    *int    `yaml:"qos"`
	Retain *bool   `yaml:"retain"`
}

// Enqueue is a message that the function must put on a queue.
type Enqueue struct {
	Queue string  `yaml:"queue"`
	Data  any     `yaml:"data"`
	Text  *string `yaml:"text"`
	// Delay is looked at where it is given.
	Delay *function.Duration `yaml:"delay"`
}

// Invoke is a function that the function must start.
type Invoke struct {
	Function string  `yaml:"function"`
	Data     any     `yaml:"data"`
	Text     *string `yaml:"text"`
}

// Actuate is what the function must ask of an actuator.
type Actuate struct {
	Actuator string `yaml:"actuator"`
	// Value is on, off or a fraction; Lease is looked at where it is given.
	Value any                `yaml:"value"`
	Lease *function.Duration `yaml:"lease"`
}

// Read reads and checks the recorded events at path, for the functions of m.
func Read(path string, m *function.Manifest) (*File, error) {
	src, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("no recorded events at %s: 'headgate new' writes one to start from", path)
	}
	if err != nil {
		return nil, fmt.Errorf("read recorded events: %w", err)
	}
	var f File
	if f.fault, err = function.DecodeFile(path, src, &f); err != nil {
		return nil, err
	}
	var faults []error
	for i := range f.Tests {
		if err := errors.Join(f.check(i, m), f.checkSensors(i), f.loadObjects(i, filepath.Dir(path))); err != nil {
			faults = append(faults, err)
		}
	}
	if len(f.Tests) == 0 {
		faults = append(faults, f.fault("holds no test", "tests"))
	}
	return &f, errors.Join(faults...)
}

func (f *File) check(i int, m *function.Manifest) error {
	c := &f.Tests[i]
	if c.Function == "" && len(m.Functions) == 1 {
		for name := range m.Functions {
			c.Function = name
		}
	}
	if c.Name == "" {
		c.Name = fmt.Sprintf("test %d", i+1)
	}
	spec := m.Functions[c.Function]
	if spec == nil {
		return f.fault(fmt.Sprintf("%q is not a function of the manifest", c.Function), "tests", i, "function")
	}
	if failed := m.Functions[c.Event.Failure]; failed != nil {
		c.onFailure = failed.OnFailure.Function == c.Function
	}
	for _, name := range slices.Sorted(maps.Keys(c.Secrets)) {
		if !slices.Contains(spec.Secrets, name) {
			return f.fault(fmt.Sprintf("%q: the manifest does not declare this secret", name), "tests", i, "secrets", name)
		}
	}
	switch {
	case c.Event.kinds() == 0:
		return f.fault("name the topic that the message comes on; or a request (http: GET /fields/3), queue, state, file, sensor, timer, lifecycle, failure, or invoke: true", "tests", i, "event", "topic")
	case c.Event.kinds() > 1:
		return f.fault("is of several kinds: name one of topic, http, queue, state, file, sensor, timer, lifecycle, failure and invoke", "tests", i, "event")
	case c.Event.Topic == "" && (c.Event.QoS != nil || c.Event.Properties != nil):
		return f.fault("qos and properties are a message's: name its topic, or leave them out", "tests", i, "event")
	case c.Event.HTTP == "" && c.Event.Headers != nil:
		return f.fault("headers are a request's: name it with http, or leave them out", "tests", i, "event", "headers")
	case c.Event.Data != nil && c.Event.Text != nil:
		return f.fault("give data (JSON) or text, not both", "tests", i, "event")
	}
	if c.Event.HTTP != "" {
		if _, _, err := c.Event.request(); err != nil {
			return f.fault(err.Error(), "tests", i, "event", "http")
		}
	}
	return nil
}

// payload is data as JSON, or text as it is.
func payload(data any, text *string) ([]byte, error) {
	if text != nil {
		return []byte(*text), nil
	}
	if data == nil {
		return nil, nil
	}
	return json.Marshal(data)
}
