package gateway_test

import (
	"fmt"
	"net"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/config"
	"github.com/headgate-io/headgate/internal/slow"
	"github.com/headgate-io/headgate/internal/testmosquitto"
)

// A command that waited with the other broker while the gateway was away opens
// nothing, also where an overlapping filter has kept it; a live one does.
func TestBridgeCommandsDoNotWait(t *testing.T) {
	slow.UnderRace(t, slow.WholeGateways)
	for name, in := range map[string][]string{"named": {"actuators/+/set", "marker/#"}, "overlapping": {"#", "actuators/+/set"}} {
		t.Run(name, func(t *testing.T) {
			house := testmosquitto.Start(t)
			dir, pins := t.TempDir(), t.TempDir()
			change := func(c *config.Config) {
				c.Bridges = map[string]config.Bridge{"house": {URL: "mqtt://" + house.Address, In: in}}
				c.Actuators = map[string]config.Actuator{"pump": {Simulated: filepath.Join(pins, "pump"), MaxOn: function.Duration(time.Hour)}}
			}
			there := listen(t, house.Address, "none")
			p := &plot{rig: start(t, dir, change), dir: pins}
			p.script("keep", "marker/{n}", `export default (e, {state}) => { state.set("last", e.data); }`)
			p.connected("house")
			p.stop()
			there.say("actuators/pump/set", "on")
			there.say("marker/a", "1")
			p.rig = start(t, dir, change)
			p.eventually("keep", "last", "1")
			p.awaitListed("pump", "off")
			if n := p.counter("headgate_actuators_granted_total"); n != 0 {
				t.Errorf("%d leases for a command that waited", n)
			}
			if name == "named" {
				there.say("actuators/pump/set", "on")
				p.shows("pump", "1")
			}
		})
	}
}

// What calls itself a broker and is none: each bridge says so, and waits longer
// each time; the gateway goes on.
func TestBridgeToHostileBrokers(t *testing.T) {
	slow.UnderRace(t, slow.WholeGateways)
	const accepted = "\x20\x02\x00\x00"
	answers := map[string]string{
		"http": "HTTP/1.1 400 Bad Request\r\n\r\n", "early": "\x30\x05\x00\x01ahi", "cut": "\x20\x02\x00", "badcode": "\x20\x02\x00\x63", "shortack": "\x20\x00",
		"closes": accepted, "connects": accepted + "\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00", "length": accepted + "\x30\xff\xff\xff\xff\x7f",
		"huge": accepted + "\x90\xff\xff\xff\x7f", "qos3": accepted + "\x90\x03\x00\x01\x01\x36\x06\x00\x01a\x00\x01x", "unasked": accepted + "\x90\x03\x00\x01\x01\x40\x02\x12\x34\x40\x02\x00\x01",
		"nocodes": accepted + "\x90\x02\x00\x01", "toomany": accepted + "\x90\x06\x00\x01\x01\x01\x80\x07", "longtopic": accepted + "\x90\x03\x00\x01\x01\x30\x05\xff\xffabc",
		"dollar": accepted + "\x90\x03\x00\x01\x01\x30\x08\x00\x04$SYSxx", "empty": accepted + "\x90\x03\x00\x01\x01\x30\x02\x00\x00", "nul": accepted + "\x90\x03\x00\x01\x01\x30\x05\x00\x03a\x00b",
		"wildcard": accepted + "\x90\x03\x00\x01\x01\x30\x04\x00\x02a/\x30\x04\x00\x01##", "notutf8": accepted + "\x90\x03\x00\x01\x01\x30\x04\x00\x02\xff\xfe",
	}
	calls := map[string]*atomic.Int64{}
	r := start(t, t.TempDir(), func(c *config.Config) {
		c.Bridges = map[string]config.Bridge{}
		for name, answer := range answers {
			calls[name] = new(atomic.Int64)
			c.Bridges[name] = config.Bridge{URL: "mqtt://" + hostileBroker(t, answer, calls[name]), In: []string{"a/#"}}
		}
	})
	for name := range answers {
		b := r.untilBridge(name, "given up for now", func(b api.Bridge) bool { return calls[name].Load() >= 2 && b.LastError != "" })
		if b.Received > 4 {
			t.Errorf("%s: %+v", name, b)
		}
	}
	if n := calls["closes"].Load(); n > 8 {
		t.Errorf("%d connections to a broker that closes each", n)
	}
	r.publish(api.Message{Topic: "farm/a", Payload: []byte("1"), QoS: 1})
}

// hostileBroker answers each connection with the same, and closes it.
func hostileBroker(t *testing.T, answer string, calls *atomic.Int64) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			calls.Add(1)
			_, _ = c.Read(make([]byte, 1024))
			_, _ = fmt.Fprint(c, answer)
			_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
			_, _ = c.Read(make([]byte, 1024))
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return l.Addr().String()
}
