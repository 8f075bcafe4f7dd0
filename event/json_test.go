package event_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/headgate-io/headgate/event"
)

func TestMarshalJSON(t *testing.T) {
	at := time.Date(2026, 5, 1, 10, 0, 0, 0, time.FixedZone("", 7200))
	for _, c := range []struct {
		name string
		e    event.Event
		want string
	}{
		{
			"json",
			event.Event{ID: "1", Source: "/mqtt/a", Type: event.TypeMQTT, Subject: "t", Time: at, Trust: event.TimeEstimated, Data: []byte(`{"v": 1}`), Extensions: map[string]string{"site": "n", "id": "x"}, Hops: 2},
			`{"data":{"v":1},"hops":"2","id":"1","site":"n","source":"/mqtt/a","specversion":"1.0","subject":"t","time":"2026-05-01T08:00:00Z","timetrust":"estimated","type":"io.headgate.mqtt.message"}`,
		},
		{"bytes", event.Event{ID: "1", Source: "s", Type: "t", Data: []byte{0xff}}, `{"data_base64":"/w==","id":"1","source":"s","specversion":"1.0","type":"t"}`},
		{"none", event.Event{ID: "1", Source: "s", Type: "t", DataContentType: "text/plain"}, `{"datacontenttype":"text/plain","id":"1","source":"s","specversion":"1.0","type":"t"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := json.Marshal(&c.e)
			if err != nil || string(got) != c.want {
				t.Errorf("got  %s, %v\nwant %s", got, err, c.want)
			}
			var back event.Event
			if err := json.Unmarshal(got, &back); err != nil {
				t.Fatal(err)
			}
			if again, err := json.Marshal(&back); err != nil || string(again) != c.want {
				t.Errorf("read back %s, %v", again, err)
			}
		})
	}
}
