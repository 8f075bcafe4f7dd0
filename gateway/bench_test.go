package gateway_test

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sandbox/wasmtest"
)

// relay publishes what it gets to "out".
func relay() []byte {
	m := wasmtest.New(1)
	read := m.Import("headgate_v1", "input_read", "ii", "i")
	publish := m.Import("headgate_v1", "publish", "iiiiii", "i")
	return m.Data(0, "out").Handler("i",
		wasmtest.I32(64), wasmtest.I32(1024), wasmtest.Call(read), wasmtest.LocalSet(0),
		wasmtest.I32(0), wasmtest.I32(3), wasmtest.I32(64), wasmtest.LocalGet(0), wasmtest.I32(0), wasmtest.I32(0), wasmtest.Call(publish),
	).Bytes()
}

// BenchmarkEndToEnd is MQTT over TCP to a function and back to MQTT, with both
// clients in this process: cpu-µs/op counts them too. `make load` measures the
// gateway alone.
func BenchmarkEndToEnd(b *testing.B) {
	for _, qos := range []byte{0, 1} {
		for _, filters := range []int{1, 10_000} {
			b.Run(fmt.Sprintf("qos=%d/filters=%d", qos, filters), func(b *testing.B) { endToEnd(b, qos, filters) })
		}
	}
}

func endToEnd(b *testing.B, qos byte, filters int) {
	r := start(b, b.TempDir())
	spec := function.Spec{Name: "relay", Main: "relay.wasm", Permissions: function.Permissions{Publish: []string{"out"}}}
	spec.Triggers = []function.Trigger{{MQTT: "in/+"}}
	r.deploy(spec, relay())
	for i := 1; i < filters; {
		other := function.Spec{Name: "other-" + strconv.Itoa(i), Main: "relay.wasm"}
		for n := 0; n < 64 && i < filters; n++ {
			other.Triggers = append(other.Triggers, function.Trigger{MQTT: fmt.Sprintf("site/%d/+/state", i)})
			i++
		}
		r.deploy(other, relay())
	}
	sink, source := dial(b, r.address, "sink"), dial(b, r.address, "source")
	sub := packets.NewControlPacket(packets.Subscribe).(*packets.SubscribePacket)
	sub.MessageID, sub.Topics, sub.Qoss = 1, []string{"out"}, []byte{0}
	if err := sub.Write(sink); err != nil {
		b.Fatal(err)
	}
	arrived := make(chan struct{}, 1<<16)
	go countPackets(sink, packets.Publish, arrived)
	go countPackets(source, packets.Puback, nil)

	b.ReportAllocs()
	began := cpuTime(b)
	out := bufio.NewWriterSize(source, 32<<10)
	saturate(b, out, qos, arrived)
	b.ReportMetric(float64((cpuTime(b)-began).Nanoseconds())/1e3/float64(b.N), "cpu-µs/op")
}

// saturate publishes b.N messages with up to 256 of them under way; answered
// tells of each that is not any more.
func saturate(b *testing.B, out *bufio.Writer, qos byte, answered <-chan struct{}) {
	underway, sent := 0, 0
	for b.Loop() {
		publish(out, qos, uint16(sent%0xffff+1))
		sent++
		if underway++; underway < 256 {
			continue
		}
		if err := out.Flush(); err != nil {
			b.Fatal(err)
		}
		for underway > 192 {
			await(b, answered)
			underway--
		}
	}
	if err := out.Flush(); err != nil {
		b.Fatal(err)
	}
	for ; underway > 0; underway-- {
		await(b, answered)
	}
}

func await(b *testing.B, arrived <-chan struct{}) {
	select {
	case <-arrived:
	case <-time.After(10 * time.Second):
		b.Fatal("a message did not come back within 10 s")
	}
}

func publish(w *bufio.Writer, qos byte, id uint16) {
	const topic, payload = "in/3", `{"moisture":27.5,"device":"soil-3","battery":3.61}`
	length := 2 + len(topic) + len(payload) + 2*int(qos)
	p := append(w.AvailableBuffer(), packets.Publish<<4|qos<<1, byte(length), 0, byte(len(topic)))
	p = append(p, topic...)
	if qos > 0 {
		p = binary.BigEndian.AppendUint16(p, id)
	}
	_, _ = w.Write(append(p, payload...)) // Flush reports the error
}

// countPackets reads packets, and sends one token for each of a kind.
func countPackets(conn net.Conn, kind byte, to chan<- struct{}) {
	in := bufio.NewReaderSize(conn, 32<<10)
	for {
		first, err := in.ReadByte()
		if err != nil {
			return
		}
		n, err := binary.ReadUvarint(in)
		if err != nil {
			return
		}
		if _, err := io.CopyN(io.Discard, in, int64(n)); err != nil {
			return
		}
		if first>>4 == kind && to != nil {
			to <- struct{}{}
		}
	}
}

func dial(b *testing.B, address, name string) net.Conn {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	c := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	c.ProtocolName, c.ProtocolVersion, c.ClientIdentifier, c.CleanSession = "MQTT", 4, name, true
	if err := c.Write(conn); err != nil {
		b.Fatal(err)
	}
	if _, err := packets.ReadPacket(conn); err != nil {
		b.Fatal(err)
	}
	return conn
}

// cpuTime is what this process has used so far.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
