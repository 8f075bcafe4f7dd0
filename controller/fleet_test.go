package controller_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/headgate-io/headgate/controller/api"
	"github.com/headgate-io/headgate/sync/wire"
)

// line is a gateway's connection.
type line struct {
	*testing.T
	client mqtt.Client
	id     string
	codec  *wire.Codec
	heard  chan any
}

func (r *rig) line(e api.Enrolled, client mqtt.Client) *line {
	r.t.Helper()
	codec, err := wire.NewCodec()
	if err != nil {
		r.t.Fatal(err)
	}
	l := &line{r.t, client, e.Gateway, codec, make(chan any, 64)}
	t := client.Subscribe(wire.DownTopic(l.id), 1, func(_ mqtt.Client, m mqtt.Message) {
		message, err := codec.Decode(m.Payload())
		if err != nil {
			r.t.Error(err)
		}
		l.heard <- message
	})
	if !t.WaitTimeout(30*time.Second) || t.Error() != nil {
		r.t.Fatal(t.Error())
	}
	return l
}

func (l *line) say(message any) {
	l.Helper()
	b, err := l.codec.Encode(message)
	if err != nil {
		l.Fatal(err)
	}
	if t := l.client.Publish(wire.UpTopic(l.id), 1, false, b); !t.WaitTimeout(30*time.Second) || t.Error() != nil {
		l.Fatal(t.Error())
	}
}

// hear waits for a message of a kind.
func hear[T any](l *line) T {
	l.Helper()
	end := time.After(30 * time.Second)
	for {
		select {
		case m := <-l.heard:
			if v, ok := m.(T); ok {
				return v
			}
		case <-end:
			l.Fatalf("no %T was heard", *new(T))
		}
	}
}

// What is set over the API is heard by the gateway at once, and what the gateway
// says of it is there over the API.
func TestDesiredAndReported(t *testing.T) {
	r := newRig(t)
	operator, err := r.c.Recover(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	people := client(t, pinned(operator))
	do := func(want int, method, path string, in any) []byte {
		t.Helper()
		status, body := r.do(people, method, path, in, "Authorization", "Bearer "+operator)
		if status != want {
			t.Fatalf("%s %s: %d: %s", method, path, status, body)
		}
		return body
	}
	e, cert := r.enrolled("gw-1")
	c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker(e.MQTT[0]).SetClientID(e.Gateway).SetTLSConfig(mutual(e, cert)).SetAutoReconnect(false))
	if token := c.Connect(); !token.WaitTimeout(30*time.Second) || token.Error() != nil {
		t.Fatal(token.Error())
	}
	defer c.Disconnect(0)
	l := r.line(e, c)
	l.say(&wire.Hello{Session: 1, Time: time.Now().UnixMicro()})
	hear[*wire.Welcome](l)
	do(http.StatusOK, http.MethodPost, "/v1/config", api.ConfigChange{Function: "irrigate", Values: map[string]any{"target": 28}})
	d := hear[*wire.Desired](l)
	if d.Revision != 1 || len(d.Functions) != 1 || string(d.Functions[0].Config) != `{"target":28}` {
		t.Fatalf("%+v", d)
	}
	do(http.StatusCreated, http.MethodPost, "/v1/gateways/gw-1/questions", api.NewQuestion{What: "doctor"})
	if q := hear[*wire.Ask](l); q.What != "doctor" || q.ID == "" {
		t.Errorf("%+v", q)
	}
	l.say(&wire.Telemetry{Start: 1, Seq: 1, Values: []wire.Value{{Topic: "farm/1", Payload: []byte("27")}}})
	if taken := hear[*wire.Taken](l); taken.Seq != 1 {
		t.Errorf("%+v", taken)
	}
	l.say(&wire.Reported{Start: 1, Seq: 1, Functions: []wire.ReportedFunction{{Name: "irrigate", Version: 3}}}) // it missed it
	if again := hear[*wire.Desired](l); again.Revision != 1 {
		t.Errorf("%+v", again)
	}
	var state api.GatewayState
	if err := json.Unmarshal(do(http.StatusOK, http.MethodGet, "/v1/gateways/gw-1/state", nil), &state); err != nil {
		t.Fatal(err)
	}
	if !state.Drift || state.Desired != 1 || state.Follows != 0 || len(state.Functions) != 1 || state.Functions[0].Version != 3 || state.Reported.IsZero() {
		t.Errorf("%+v", state)
	}
}
