package gateway_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"testing"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/mqtt/broker"
)

// BenchmarkDurableForward is a QoS 1 message over TCP to durable subscribers,
// 256 in flight. cpu-µs/op counts the clients of the benchmark too; disk-B/op
// is the kernel's write_bytes, elided/op how many were never written.
func BenchmarkDurableForward(b *testing.B) {
	b.Run("online=1", func(b *testing.B) { durableForward(b, 0, true) })
	b.Run("offline=1", func(b *testing.B) { durableForward(b, 1, false) })
	b.Run("offline=100", func(b *testing.B) { durableForward(b, 100, false) })
}

func durableForward(b *testing.B, offline int, online bool) {
	dir, err := os.MkdirTemp(".", "bench-") // not on a tmpfs, which costs no disk
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	h := openHub(b, dir, func(_ *store.Config, c *broker.Config) {
		c.MaxQueuedMessages, c.MaxQueuedBytes, c.MaxQueuedBytesTotal = 1<<20, 1<<30, 1<<30
	})
	for i := range offline {
		h.subscriber(fmt.Sprint("sub-", i), 1, "in/3")
	}
	if online {
		sub := join(b, h.addr, "online", false)
		sub.subscribe(1, "in/3")
		go acknowledgeAll(sub.conn)
	}
	source := dial(b, h.addr, "source")
	acked := make(chan struct{}, 1<<16)
	go countPackets(source, packets.Puback, acked)
	out := bufio.NewWriterSize(source, 32<<10)
	before, cpu, disk := h.store.Stats(), cpuTime(b), writeBytes(b)
	b.ReportAllocs()
	saturate(b, out, 1, acked)
	n := float64(b.N)
	after := h.store.Stats()
	b.ReportMetric(float64((cpuTime(b)-cpu).Nanoseconds())/1e3/n, "cpu-µs/op")
	b.ReportMetric(float64(writeBytes(b)-disk)/n, "disk-B/op")
	b.ReportMetric(float64(after.MessagesElided-before.MessagesElided)/n, "elided/op")
	b.ReportMetric(n/float64(after.Commits-before.Commits+1), "msgs/commit")
}

// acknowledgeAll answers every QoS 1 PUBLISH.
func acknowledgeAll(conn net.Conn) {
	in, out := bufio.NewReaderSize(conn, 32<<10), bufio.NewWriter(conn)
	for {
		first, err := in.ReadByte()
		if err != nil {
			return
		}
		size, err := binary.ReadUvarint(in)
		if err != nil {
			return
		}
		body := make([]byte, size)
		if _, err := io.ReadFull(in, body); err != nil {
			return
		}
		if first>>4 == packets.Publish {
			at := 2 + binary.BigEndian.Uint16(body)
			_, _ = out.Write([]byte{packets.Puback << 4, 2, body[at], body[at+1]})
		}
		if in.Buffered() == 0 && out.Flush() != nil {
			return
		}
	}
}

// writeBytes is what this process made the kernel write.
func writeBytes(b *testing.B) int64 {
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		b.Skip(err)
	}
	for _, line := range bytes.Split(text, []byte("\n")) {
		if v, ok := bytes.CutPrefix(line, []byte("write_bytes: ")); ok {
			n, err := strconv.ParseInt(string(v), 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			return n
		}
	}
	b.Fatal("no write_bytes")
	return 0
}
