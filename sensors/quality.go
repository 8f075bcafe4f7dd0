package sensors

import "fmt"

// Quality says how far a reading can be relied on. The terms are those of OPC
// UA (part 8, section 7.2: good, uncertain, bad), with the one kind of
// uncertainty that sensors have called by its name, as Sparkplug B does.
type Quality uint8

const (
	// Unread is the quality of a sensor that has not been read yet (OPC UA:
	// BadWaitingForInitialData). There is no value.
	Unread Quality = iota
	// Bad means that the sensor fails. The value, if there is one, is the last
	// that it gave, which is as old as the reading says.
	Bad
	// Stale means that the value was good and is older than it should be (OPC
	// UA: UncertainLastUsableValue), or of an unknown age.
	Stale
	// Good means read in time, plausible.
	Good
)

var qualities = [...]string{Unread: "unread", Bad: "bad", Stale: "stale", Good: "good"}

func (q Quality) String() string {
	if int(q) < len(qualities) {
		return qualities[q]
	}
	return fmt.Sprintf("Quality(%d)", uint8(q))
}

// MarshalText implements encoding.TextMarshaler.
func (q Quality) MarshalText() ([]byte, error) { return []byte(q.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (q *Quality) UnmarshalText(b []byte) error {
	for i, name := range qualities {
		if name == string(b) {
			*q = Quality(i)
			return nil
		}
	}
	return fmt.Errorf("quality %q: want good, stale, bad or unread", b)
}
