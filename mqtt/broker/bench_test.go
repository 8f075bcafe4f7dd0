package broker

import (
	"fmt"
	"io"
	"log/slog"
	"syscall"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// cpu is the user and system time of this process.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func benchServer(b *testing.B, cfg Config, h Handler) (*Server, string) {
	cfg.PublishRate = 0
	return startServer(b, cfg, Deps{Handler: h, Logger: slog.New(slog.DiscardHandler)})
}

// BenchmarkForward measures a message's way from one TCP client to another at
// saturation. cpu-µs/msg is the CPU of the whole process, the clients of the
// benchmark included: they send and receive bytes in bulk and parse as little
// as possible, so most of it is the broker's. The payload is a sensor reading.
func BenchmarkForward(b *testing.B) {
	for _, h := range []struct {
		name    string
		handler Handler
	}{{"plain", nil}, {"handler", releaser{}}, {"committer", newCommitter(b)}} {
		b.Run(h.name+"/QoS0", func(b *testing.B) { forward(b, h.handler, 0) })
		b.Run(h.name+"/QoS1", func(b *testing.B) { forward(b, h.handler, 1) })
	}
}

// committer releases from one goroutine of its own, as a gateway does after a
// commit.
type committer chan *Inbound

func newCommitter(b *testing.B) committer {
	c := make(committer, 1024)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for in := range c {
			in.Release(Success)
		}
	}()
	b.Cleanup(func() { close(c); <-done })
	return c
}

func (c committer) Publish(in *Inbound) { c <- in }

func forward(b *testing.B, h Handler, qos byte) {
	_, addr := benchServer(b, quietConfig(), h)
	sub, _ := connected(b, addr, 4, "sub", nil)
	sub.subscribe(qos, "farm/+/moisture")
	pub, _ := connected(b, addr, 4, "pub", nil)
	payload := `{"moisture":27.5,"battery":3.61,"seq":1234567}`
	b.ReportAllocs()
	b.ResetTimer()
	start := cpu()
	if qos == 0 {
		forwardQoS0(b, pub, sub, payload)
	} else {
		forwardQoS1(b, pub, sub, payload)
	}
	b.ReportMetric(float64((cpu()-start).Nanoseconds())/1000/float64(b.N), "cpu-µs/msg")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

// window is how many messages are under way at once: what a burst of devices
// looks like, and less than the broker's buffers, so that nothing is dropped.
const window = 200

func forwardQoS0(b *testing.B, pub, sub *peer, payload string) {
	pk := publishPacket("farm/3/moisture", payload, 0, 0)
	one, _ := encodeAny(&pk)
	var batch []byte
	for range window {
		batch = append(batch, one...)
	}
	in := make([]byte, len(batch))
	for left := b.N; left > 0; left -= window {
		n := min(left, window) * len(one)
		pub.write(batch[:n])
		if _, err := io.ReadFull(sub.nc, in[:n]); err != nil {
			b.Fatal(err)
		}
	}
}

func forwardQoS1(b *testing.B, pub, sub *peer, payload string) {
	var batch []byte
	size := 0
	for id := range uint16(window) {
		pk := publishPacket("farm/3/moisture", payload, 1, id+1)
		one, _ := encodeAny(&pk)
		size = len(one)
		batch = append(batch, one...)
	}
	in := make([]byte, len(batch))
	acks := make([]byte, 0, 4*window)
	for left := b.N; left > 0; left -= window {
		n := min(left, window)
		pub.write(batch[:n*size])
		if _, err := io.ReadFull(sub.nc, in[:n*size]); err != nil {
			b.Fatal(err)
		}
		acks = acks[:0]
		idAt := 2 + 2 + len("farm/3/moisture")
		for i := range n {
			acks = append(acks, packets.Puback<<4, 2, in[i*size+idAt], in[i*size+idAt+1])
		}
		sub.write(acks)
		if _, err := io.ReadFull(pub.nc, in[:4*n]); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRoute is the broker's own part of a QoS 0 message: from the decoded
// message into the receivers' buffers, with a growing number of subscriptions
// that do not match.
func BenchmarkRoute(b *testing.B) {
	for _, filters := range []int{1, 10000} {
		for _, receivers := range []int{1, 10} {
			b.Run(fmt.Sprintf("filters=%d/receivers=%d", filters, receivers), func(b *testing.B) {
				cfg := quietConfig()
				cfg.MaxSubscriptions = 20000
				srv, addr := benchServer(b, cfg, nil)
				others, _ := connected(b, addr, 4, "others", nil)
				for i := 0; i < filters; i += 100 {
					var filterNames []string
					for j := range min(100, filters) {
						filterNames = append(filterNames, fmt.Sprintf("other/%d/moisture", i+j))
					}
					others.subscribe(0, filterNames...)
				}
				for i := range receivers {
					p, _ := connected(b, addr, 4, fmt.Sprintf("sub%d", i), nil)
					p.subscribe(0, "farm/3/+")
					go func() { _, _ = io.Copy(io.Discard, p.nc) }() // ends when the test closes it
				}
				m := &Message{Topic: "farm/3/moisture", Payload: []byte(`{"moisture":27.5}`)}
				r := srv.borrow()
				b.ReportAllocs()
				for b.Loop() {
					r.route(srv, m, "", true, nil)
					r.flush()
				}
			})
		}
	}
}

// BenchmarkPaced sends messages one by one: what a message costs when nothing
// can be shared with others.
func BenchmarkPaced(b *testing.B) {
	_, addr := benchServer(b, quietConfig(), nil)
	sub, _ := connected(b, addr, 4, "sub", nil)
	sub.subscribe(0, "#")
	pub, _ := connected(b, addr, 4, "pub", nil)
	pk := publishPacket("farm/3/moisture", `{"moisture":27.5}`, 0, 0)
	one, _ := encodeAny(&pk)
	in := make([]byte, len(one))
	start := cpu()
	for b.Loop() {
		pub.write(one)
		if _, err := io.ReadFull(sub.nc, in); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64((cpu()-start).Nanoseconds())/1000/float64(b.N), "cpu-µs/msg")
}
