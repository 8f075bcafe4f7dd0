package ingest

import (
	"testing"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// said is a message on a topic.
type said struct {
	mqtt.Message
	topic string
}

func (s said) Topic() string { return s.topic }

// A gateway that floods leaves the others their places.
func TestFloodLeavesRoom(t *testing.T) {
	l, err := NewListener(nil, "ssl://127.0.0.1:1", nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		l.enqueue(t.Context(), said{topic: "headgate/1/flood/up"})
	}
	for range ofOne {
		l.enqueue(t.Context(), said{topic: "headgate/1/honest/up"})
	}
	if got := l.Stats().Crowding; len(l.queue) != 2*ofOne || got != 1000-ofOne {
		t.Errorf("%d wait, %d left out", len(l.queue), got)
	}
	for len(l.queue) > 0 {
		l.leave(<-l.queue)
	}
	if len(l.waiting) != 0 {
		t.Errorf("%d gateways are remembered", len(l.waiting))
	}
}
