package gateway_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/config"
)

// bridged configures one bridge.
func bridged(name string, b config.Bridge) func(*config.Config) {
	return func(c *config.Config) {
		if c.Bridges == nil {
			c.Bridges = map[string]config.Bridge{}
		}
		c.Bridges[name] = b
	}
}

// listening gives a gateway an address that others can be told before it runs.
func listening(address string) func(*config.Config) {
	return func(c *config.Config) { c.MQTT.Listeners[0].Address = address }
}

func (r *rig) bridge(name string) api.Bridge {
	r.Helper()
	var list []api.Bridge
	r.call(http.MethodGet, "/v1/bridges", nil, &list)
	i := slices.IndexFunc(list, func(b api.Bridge) bool { return b.Name == name })
	if i < 0 {
		r.Fatalf("no bridge %s among %v", name, list)
	}
	return list[i]
}

// untilBridge waits until a bridge is as wanted.
func (r *rig) untilBridge(name, what string, wanted func(api.Bridge) bool) api.Bridge {
	r.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		b := r.bridge(name)
		if wanted(b) {
			return b
		}
		if time.Now().After(deadline) {
			r.Fatalf("the bridge %s is not %s: %+v", name, what, b)
		}
	}
}

func (r *rig) connected(name string) {
	r.Helper()
	r.untilBridge(name, "connected", func(b api.Bridge) bool { return b.State == "connected" })
}

// ear is a subscriber that notes what it hears.
type ear struct {
	testing.TB
	client paho.Client

	mu    sync.Mutex
	heard []string
}

// listen subscribes at a broker with a session of its own. What it hears is
// noted as topic, space, payload; retained messages with an r before.
func listen(tb testing.TB, address, filter string, change ...func(*paho.ClientOptions)) *ear {
	tb.Helper()
	e := &ear{TB: tb}
	o := paho.NewClientOptions().AddBroker("tcp://" + address).SetClientID(fmt.Sprintf("ear-%p", e))
	for _, c := range change {
		c(o)
	}
	o.SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) {
		line := m.Topic() + " " + string(m.Payload())
		if m.Retained() {
			line = "r " + line
		}
		e.mu.Lock()
		e.heard = append(e.heard, line)
		e.mu.Unlock()
	})
	e.client = paho.NewClient(o)
	e.wait(e.client.Connect())
	e.wait(e.client.Subscribe(filter, 1, nil))
	tb.Cleanup(func() { e.client.Disconnect(50) })
	return e
}

func (e *ear) wait(t paho.Token) {
	e.Helper()
	if !t.WaitTimeout(30*time.Second) || t.Error() != nil {
		e.Fatalf("no answer: %v", t.Error())
	}
}

// say publishes with QoS 1 and returns with the acknowledgement.
func (e *ear) say(topic, payload string, retain ...bool) {
	e.Helper()
	e.wait(e.client.Publish(topic, 1, len(retain) > 0, payload))
}

func (e *ear) all() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.heard)
}

// hears waits for lines, in this order and no others among those that start
// with the first word of each.
func (e *ear) hears(want ...string) {
	e.Helper()
	var got []string
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if got = e.all(); len(got) >= len(want) {
			break
		}
	}
	if !slices.Equal(got, want) {
		e.Fatalf("heard %q\n  want %q", brief(got), brief(want))
	}
}

func brief(lines []string) string {
	if len(lines) > 20 {
		return strings.Join(lines[:10], "; ") + fmt.Sprintf(" … (%d) … ", len(lines)) + strings.Join(lines[len(lines)-5:], "; ")
	}
	return strings.Join(lines, "; ")
}

// numbered are n lines as say makes them.
func numbered(topic string, from, to int) []string {
	var out []string
	for i := from; i < to; i++ {
		out = append(out, fmt.Sprintf("%s %d", topic, i))
	}
	return out
}
