package recording

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
)

// Difference is one thing that a replay did otherwise.
type Difference struct {
	// What names it: outcome, fuel, publish 2.
	What string `json:"what"`
	// Recorded and Replayed are both sides; empty is nothing.
	Recorded string `json:"recorded,omitempty"`
	Replayed string `json:"replayed,omitempty"`
}

// Compare lists how replayed differs from recorded: never in its duration, and
// in fuel only where the code is the same.
func Compare(recorded, replayed *Outcome, sameCode bool) []Difference {
	var d differences
	d.text("outcome", recorded.Outcome, replayed.Outcome)
	d.text("error", recorded.Error, replayed.Error)
	if sameCode {
		d.text("fuel", strconv.FormatUint(recorded.Fuel, 10), strconv.FormatUint(replayed.Fuel, 10))
	}
	d.text("output", string(recorded.Output), string(replayed.Output))
	d.value("output attributes", recorded.Attributes, replayed.Attributes, len(recorded.Attributes)+len(replayed.Attributes))
	list(&d, "write", recorded.Writes, replayed.Writes)
	list(&d, "publish", recorded.Publishes, replayed.Publishes)
	list(&d, "enqueue", recorded.Enqueues, replayed.Enqueues)
	list(&d, "invoke", recorded.Invokes, replayed.Invokes)
	list(&d, "object", recorded.Objects, replayed.Objects)
	list(&d, "actuate", recorded.Actuations, replayed.Actuations)
	list(&d, "metric", recorded.Metrics, replayed.Metrics)
	list(&d, "log", recorded.Logs, replayed.Logs)
	return d
}

type differences []Difference

func (d *differences) text(what, recorded, replayed string) {
	if recorded != replayed {
		*d = append(*d, Difference{what, recorded, replayed})
	}
}

func (d *differences) value(what string, recorded, replayed any, count int) {
	if count > 0 && !reflect.DeepEqual(recorded, replayed) {
		*d = append(*d, Difference{what, show(recorded), show(replayed)})
	}
}

func list[T any](d *differences, what string, recorded, replayed []T) {
	for i := range max(len(recorded), len(replayed)) {
		var before, after string
		if i < len(recorded) {
			before = show(recorded[i])
		}
		if i < len(replayed) {
			after = show(replayed[i])
		}
		d.text(fmt.Sprintf("%s %d", what, i+1), before, after)
	}
}

func show(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}
