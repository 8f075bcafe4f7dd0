package function

import "time"

// Limits bound one function. The zero value of a field means "the default of
// DefaultLimits"; WithDefaults fills them in.
type Limits struct {
	// Memory caps the linear memory of one instance, in bytes.
	Memory ByteSize `yaml:"memory" json:"memory"`
	// Timeout caps the wall time of one invocation.
	Timeout Duration `yaml:"timeout" json:"timeout"`
	// Fuel caps the work of one invocation, in fuel units.
	Fuel Count `yaml:"fuel" json:"fuel"`
	// Concurrency caps the invocations that run at once.
	Concurrency int `yaml:"concurrency" json:"concurrency"`
	// MinInstances stay in memory however long they are unused, so that no
	// event finds the function cold; 0 lets it scale to zero.
	MinInstances int `yaml:"min_instances" json:"min_instances,omitempty"`
	// Rate caps how many invocations start per second; over it, durable
	// events wait on disk and volatile ones are dropped and counted.
	Rate Rate `yaml:"rate" json:"rate,omitzero"`
	// Idle is how long an unused instance stays in memory.
	Idle Duration `yaml:"idle" json:"idle"`
	// State caps the function's stored keys and values, in bytes.
	State ByteSize `yaml:"state" json:"state"`
	// Output caps the result of one invocation, in bytes.
	Output ByteSize `yaml:"output" json:"output"`
	// ObjectBytes caps the bytes of the objects that one invocation puts,
	// together.
	ObjectBytes ByteSize `yaml:"object_bytes" json:"object_bytes"`
	// Effects caps how many writes, publishes, enqueues, invokes and changes of objects one
	// invocation may ask for, together.
	Effects int `yaml:"effects" json:"effects"`
	// EffectBytes caps the bytes of those effects, together.
	EffectBytes ByteSize `yaml:"effect_bytes" json:"effect_bytes"`
	// LogBytes caps what one invocation may log; the rest is cut and counted.
	LogBytes ByteSize `yaml:"log_bytes" json:"log_bytes"`
}

// DefaultLimits are the limits of a function that names none.
func DefaultLimits() Limits {
	return Limits{
		Memory:      16 << 20,
		Timeout:     Duration(5 * time.Second),
		Fuel:        500_000_000,
		Concurrency: 4,
		Idle:        Duration(time.Minute),
		State:       1 << 20,
		Output:      256 << 10,
		Effects:     256,
		EffectBytes: 1 << 20,
		ObjectBytes: 16 << 20,
		LogBytes:    16 << 10,
	}
}

// WithDefaults returns l with every zero field set to its default.
func (l Limits) WithDefaults() Limits {
	d := DefaultLimits()
	fill(&l.Memory, d.Memory)
	fill(&l.Timeout, d.Timeout)
	fill(&l.Fuel, d.Fuel)
	fill(&l.Concurrency, d.Concurrency)
	fill(&l.Idle, d.Idle)
	fill(&l.State, d.State)
	fill(&l.Output, d.Output)
	fill(&l.Effects, d.Effects)
	fill(&l.EffectBytes, d.EffectBytes)
	fill(&l.ObjectBytes, d.ObjectBytes)
	fill(&l.LogBytes, d.LogBytes)
	return l
}

func fill[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Retry says what happens after a durable event's invocation failed.
type Retry struct {
	// Attempts is how often the event is tried in all, the first included.
	Attempts int `yaml:"attempts" json:"attempts"`
	// Backoff is the wait before the second attempt; it doubles each time.
	Backoff Duration `yaml:"backoff" json:"backoff"`
	// MaxBackoff caps the wait.
	MaxBackoff Duration `yaml:"max_backoff" json:"max_backoff"`
	// MaxAge is how long after its arrival an event is still tried.
	MaxAge Duration `yaml:"max_age" json:"max_age"`
	// ThenKey says what the events behind a dead letter of the same ordering
	// key do: ThenSkip lets them run, ThenBlock makes them wait for a redrive.
	ThenKey ThenKey `yaml:"then_key" json:"then_key"`
}

// ThenKey is the fate of an ordering key whose head became a dead letter.
type ThenKey string

// The values of Retry.ThenKey.
const (
	ThenSkip  ThenKey = "skip"
	ThenBlock ThenKey = "block"
)

// WithDefaults returns r with every zero field set to its default: 5 attempts,
// 1 s doubling to 1 min, for at most an hour, then skip.
func (r Retry) WithDefaults() Retry {
	fill(&r.Attempts, 5)
	fill(&r.Backoff, Duration(time.Second))
	fill(&r.MaxBackoff, Duration(time.Minute))
	fill(&r.MaxAge, Duration(time.Hour))
	fill(&r.ThenKey, ThenSkip)
	return r
}

// OnFailure says who hears of a function's dead letters. At most one field is
// set.
type OnFailure struct {
	// Function is started with the failure as its event, durably.
	Function string `yaml:"function" json:"function,omitempty"`
	// Topic is what the failure is published to, with QoS 1. It must be in
	// permissions.publish.
	Topic string `yaml:"topic" json:"topic,omitempty"`
}

// Permissions is what a function may touch. What is not listed is denied; its
// own state namespace is implicit.
type Permissions struct {
	// Publish lists MQTT topic filters that it may publish to.
	Publish []string `yaml:"publish" json:"publish,omitempty"`
	// State lists other functions' namespaces that it may read or write.
	State StatePermissions `yaml:"state" json:"state,omitzero"`
	// Objects lists what it may do with the objects of buckets.
	Objects ObjectPermissions `yaml:"objects" json:"objects,omitzero"`
	// Invoke lists functions that it may start.
	Invoke []string `yaml:"invoke" json:"invoke,omitempty"`
	// Enqueue lists queues that it may put messages on.
	Enqueue []string `yaml:"enqueue" json:"enqueue,omitempty"`
	// Sensors and Actuators list names, with * for any run of characters.
	Sensors   []string `yaml:"sensors" json:"sensors,omitempty"`
	Actuators []string `yaml:"actuators" json:"actuators,omitempty"`
	// Fetch lists where it may send HTTP requests to, as ParseOrigin reads it.
	Fetch []string `yaml:"fetch" json:"fetch,omitempty"`
}

// StatePermissions lists namespaces of other functions.
type StatePermissions struct {
	Read  []string `yaml:"read" json:"read,omitempty"`
	Write []string `yaml:"write" json:"write,omitempty"`
}
