package gateway_test

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/config"
)

// rawClient is an MQTT connection of which a test sees every packet.
type rawClient struct {
	testing.TB
	conn    net.Conn
	in      *bufio.Reader
	version byte
}

func (r *rig) dial(id string, version byte) *rawClient {
	r.Helper()
	conn, err := net.Dial("tcp", r.address)
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	w := &rawClient{TB: r.TB, conn: conn, in: bufio.NewReader(conn), version: version}
	body := append([]byte{0, 4, 'M', 'Q', 'T', 'T', version, 2, 0, 0}, w.properties()...)
	w.send(0x10, append(append(body, 0, byte(len(id))), id...))
	if kind, ack, err := w.receive(); err != nil || kind != 0x20 || ack[1] != 0 {
		r.Fatalf("CONNACK %x %x %v", kind, ack, err)
	}
	return w
}

// properties is an empty list of them, where the version has any.
func (w *rawClient) properties() []byte {
	if w.version == 5 {
		return []byte{0}
	}
	return nil
}

func (w *rawClient) send(kind byte, body []byte) {
	w.Helper()
	if _, err := w.conn.Write(append(binary.AppendUvarint([]byte{kind}, uint64(len(body))), body...)); err != nil {
		w.Fatal(err)
	}
}

func (w *rawClient) publish(topic string, id uint16) {
	w.Helper()
	body := append([]byte{0, byte(len(topic))}, topic...)
	body = append(binary.BigEndian.AppendUint16(body, id), w.properties()...)
	w.send(0x32, append(body, "payload"...))
}

func (w *rawClient) receive() (kind byte, body []byte, err error) {
	if kind, err = w.in.ReadByte(); err != nil {
		return 0, nil, err
	}
	n, err := binary.ReadUvarint(w.in)
	if err != nil {
		return 0, nil, err
	}
	body = make([]byte, n)
	_, err = io.ReadFull(w.in, body)
	return kind, body, err
}

// puback waits for the acknowledgement of a packet, and returns its reason.
func (w *rawClient) puback(id uint16) byte {
	w.Helper()
	kind, body, err := w.receive()
	if err != nil || kind != 0x40 || binary.BigEndian.Uint16(body) != id {
		w.Fatalf("want the PUBACK of %d, got %x %x %v", id, kind, body, err)
	}
	if len(body) > 2 {
		return body[2]
	}
	return 0
}

// full runs a gateway whose queue has three events that nobody can handle, which
// is all that one function may have.
func full(t *testing.T) *rig {
	r := start(t, t.TempDir(), func(c *config.Config) { c.Dispatch.MaxQueued = 4 })
	hour := function.Duration(time.Hour)
	r.script("bad", "in", `export default () => { throw new Error("always"); };`, func(s *function.Spec) {
		s.Retry = function.Retry{Backoff: hour, MaxBackoff: hour, MaxAge: 2 * hour}
	})
	w := r.dial("filler", 5)
	for id := uint16(1); id <= 3; id++ {
		if w.publish("in", id); w.puback(id) != 0 {
			t.Fatal("an event for which there is room was refused")
		}
	}
	return r
}

// A full queue tells a v5 publisher so: 0x97, and the connection goes on.
func TestFullQueueRefusesV5(t *testing.T) {
	r := full(t)
	w := r.dial("five", 5)
	for id := uint16(1); id <= 40; id++ {
		if w.publish("in", id); w.puback(id) != 0x97 {
			t.Fatal("an event over the bound was taken")
		}
	}
	if w.publish("elsewhere", 50); w.puback(50) != 0 {
		t.Error("an event of no function was refused")
	}
}

// 3.1.1 has no such word: its publisher gets no acknowledgement, and after some
// refusals is cut off, so that it connects again and retries.
func TestFullQueueRefusesV311(t *testing.T) {
	r := full(t)
	w := r.dial("three", 4)
	w.publish("in", 1)
	_ = w.conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	if kind, body, err := w.receive(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("got %x %x %v, want no acknowledgement", kind, body, err)
	}
	_ = w.conn.SetReadDeadline(time.Now().Add(time.Minute))
	for id := uint16(2); id <= 32; id++ {
		w.publish("in", id)
	}
	if kind, body, err := w.receive(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %x %x %v, want the end of the connection", kind, body, err)
	}
}
