package recording_test

import (
	"strings"
	"testing"
	"time"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/once"
	"github.com/headgate-io/headgate/gateway/recording"
	"github.com/headgate-io/headgate/sandbox/host"
)

// field has readings by the names of sensors.
type field map[string]string

func (f field) Sensor(name string) ([]byte, bool, error) {
	r, ok := f[name]
	return []byte(r), ok, nil
}

// TestReplayReadsSensors gives a replay the readings that there were, byte for
// byte, and says when it asks for another sensor.
func TestReplayReadsSensors(t *testing.T) {
	spec := function.Spec{Name: "water", Main: "soil.js", Permissions: function.Permissions{Sensors: []string{"*"}}}
	const source = `export default (event, {sensor}) => JSON.stringify([sensor("soil-1"), sensor("none") === undefined])`
	var tape recording.Tape
	ev := &event.Event{ID: "7", Source: "/s", Type: "t", Data: []byte("{}")}
	calls, result, err := once.Run(t.Context(), engine, &spec, files(source), once.Outside{
		Sensors: field{"soil-1": `{"value":27.5,"unit":"°C","quality":"good","age_ms":12,"fault":"a \u003c b","sensor":"soil-1","seq":1}`},
	}, host.Invocation{Input: ev.Data, Meta: attributes{}, Recorded: true, State: tape.Listen(kept{})})
	if err != nil || result.Outcome != function.OK {
		t.Fatal(err, result.Error)
	}
	rec := tape.Cut(&spec, ev, attributes{}, calls, &result)
	rec.ID, rec.Time = "r", time.Now()
	rec = carried(t, rec)
	got, err := rec.Run(t.Context(), engine, rec.Spec, files(source), nil, true)
	if err != nil || len(got.Differences) > 0 || len(got.Unanswered) > 0 || !strings.Contains(string(got.Outcome.Output), "27.5") {
		t.Errorf("%v, %+v, %q", err, got, got.Outcome.Output)
	}
	other, err := rec.Run(t.Context(), engine, rec.Spec, files(`export default (e, {sensor}) => sensor("soil-2")`), nil, false)
	if err != nil || len(other.Unanswered) != 1 || other.Unanswered[0] != "the reading of sensor soil-2" {
		t.Errorf("another sensor: %v, %+v", err, other)
	}
}
