package bridge

import (
	"bytes"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/headgate-io/headgate/mqtt/broker"
)

// FuzzRead reads what a hostile broker may send: packets or errors, no more
// than the bound.
func FuzzRead(f *testing.F) {
	for _, seed := range []string{
		"\x20\x02\x00\x00", "\x30\x05\x00\x01ax", "\x32\x07\x00\x01a\x00\x01xy", "\x90\x03\x00\x01\x01", "\x40\x02\x00\x01", "\xd0\x00",
		"\x30\xff\xff\xff\x7f", "\x30\xff\xff\xff\xff\xff\xff", "\x36\x02\xff\xff", "\x90\x00", "\x10\x0c\x00\x04MQTT\x04\xff\x00\x3c\x00\x00", "\x40\x00", "\x20\x00",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		here, there := net.Pipe()
		defer here.Close()
		go func() {
			_, _ = there.Write(in)
			_ = there.Close()
		}()
		w := newWire(here, 1024, time.Minute)
		for range 64 {
			if _, err := w.read(); err != nil && !errors.Is(err, errTooLarge) {
				return
			}
		}
	})
}

// TestReadSurvivesNoise reads noise that begins as each kind of packet does.
func TestReadSurvivesNoise(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 20_000 {
		body := make([]byte, r.IntN(40))
		for j := range body {
			body[j] = byte(r.UintN(256))
			if r.IntN(3) > 0 {
				body[j] = byte(r.UintN(6))
			}
		}
		in := append([]byte{byte(i), byte(len(body) + r.IntN(2))}, body...)
		w := newWire(&canned{in: bytes.NewReader(in)}, 32, time.Minute)
		for range 8 {
			if _, err := w.read(); err != nil && !errors.Is(err, errTooLarge) {
				break
			}
		}
	}
}

// canned is a connection that brings what is there.
type canned struct {
	net.Conn
	in *bytes.Reader
}

func (c *canned) Read(b []byte) (int, error)      { return c.in.Read(b) }
func (c *canned) SetReadDeadline(time.Time) error { return nil }

// deaf is a connection whose other end reads nothing.
type deaf struct{ net.Conn }

func (deaf) Write([]byte) (int, error) { select {} }

// TestUnreadAnswersAreBounded has the other broker send and not read: the link
// ends before its answers fill the memory.
func TestUnreadAnswersAreBounded(t *testing.T) {
	b := New(Config{Name: "h", KeepAlive: time.Minute, MaxPacket: 1024}, Deps{Window: NewWindow(time.Now), Now: time.Now, Logger: discard()})
	l := newLink(b, deaf{}, false)
	p := publishPacket("a", 1)
	for n := 0; ; n++ {
		l.acknowledge(p)
		select {
		case err := <-l.failure:
			if !errors.Is(err, errUnread) {
				t.Fatal(err)
			}
			return
		default:
		}
		if n > outMost {
			t.Fatal("nothing ends it")
		}
	}
}

// lastly is a Resident that notes what comes in.
type lastly struct {
	Resident
	stored bool
}

func (r *lastly) Publish(_ *broker.Message, stored bool, done func(broker.ReasonCode)) {
	r.stored = stored
	done(broker.Success)
}

// TestCommandsThatWaited brings in commands that a session may have kept: they
// count as stored, live ones do not.
func TestCommandsThatWaited(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for _, c := range []struct {
		name, topic string
		qos         byte
		present     bool
		after       time.Duration
		want        bool
	}{
		{"kept", "actuators/pump/set", 1, true, 0, true},
		{"live", "actuators/pump/set", 0, true, 0, false},
		{"a new session", "actuators/pump/set", 1, false, 0, false},
		{"later", "actuators/pump/set", 1, true, waitedWithin, false},
		{"another topic", "farm/a", 1, true, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			at := now
			res := &lastly{}
			b := New(Config{Name: "h", In: []string{"#", "actuators/+/set"}, KeepAlive: time.Minute, MaxPacket: 1024},
				Deps{Resident: res, Window: NewWindow(func() time.Time { return at }), Now: func() time.Time { return at }, Logger: discard()})
			l := newLink(b, deaf{}, false)
			l.present = c.present
			at = at.Add(c.after)
			if !l.take(publishPacket(c.topic, c.qos), nil) || res.stored != c.want {
				t.Errorf("stored is %v", res.stored)
			}
		})
	}
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func publishPacket(topic string, qos byte) *packets.PublishPacket {
	p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	p.TopicName, p.Qos, p.MessageID, p.Payload = topic, qos, 1, []byte("on")
	return p
}
