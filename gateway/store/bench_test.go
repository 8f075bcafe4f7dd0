package store_test

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/mqtt/broker"
	"github.com/headgate-io/headgate/sync/usage"
)

// writeBytes is what this process has caused to be written to disks.
func writeBytes(b *testing.B) int64 {
	data, err := os.ReadFile("/proc/self/io")
	if err != nil {
		b.Skip("needs /proc/self/io")
	}
	for line := range bytes.Lines(data) {
		if v, ok := bytes.CutPrefix(line, []byte("write_bytes: ")); ok {
			n, err := strconv.ParseInt(string(bytes.TrimSpace(v)), 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			return n
		}
	}
	b.Fatal("no write_bytes")
	return 0
}

func cpuTime(b *testing.B) time.Duration {
	var ru unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &ru); err != nil {
		b.Fatal(err)
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// BenchmarkSettle is one durable QoS 1 event: a duplicate record, a state write
// to one of 32 keys and a usage record, with so many events in flight, spread
// over 8 sessions.
func BenchmarkSettle(b *testing.B) {
	for _, inflight := range []int{1, 16, 160, 1000} {
		b.Run(fmt.Sprintf("inflight=%d", inflight), func(b *testing.B) { benchmarkSettle(b, inflight) })
	}
}

func benchmarkSettle(b *testing.B, inflight int) {
	path := b.TempDir() + "/headgate.db"
	s := open(b, path)
	const sessions, keys, ring = 8, 32, 1024
	names := make([]string, sessions)
	for i := range names {
		names[i] = fmt.Sprint("client-", i)
		done := make(chan error, 1)
		s.SaveSession(broker.SessionRecord{Client: names[i], Epoch: uint64(i + 1)}, func(err error) { done <- err })
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	var kk [keys]string
	for i := range kk {
		kk[i] = fmt.Sprint("moisture/", i)
	}
	slots := make(chan struct{}, inflight)
	var wg sync.WaitGroup
	written, cpu, before := writeBytes(b), cpuTime(b), s.Stats()
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		slots <- struct{}{}
		wg.Add(1)
		v := s.View()
		k := kk[i%keys]
		if _, _, err := v.Get("irrigate", k); err != nil {
			b.Fatal(err)
		}
		_, err := s.Seal(&store.Unit{
			Inbound: &broker.InboundRecord{Client: names[i%sessions], Epoch: uint64(i%sessions + 1), QoS: 1, Slot: uint32(i / sessions % ring), PacketID: uint16(i), Hash: uint64(i) * 0x9e3779b97f4a7c15},
			Slots:   []store.Slot{{View: v, Writes: []function.Write{{Namespace: "irrigate", Key: k, Value: []byte(`{"moisture":27.5,"runs":1234}`)}}}},
			Usage:   []usage.Record{{Function: "irrigate", Version: 1, At: time.Now(), Fuel: 100, Duration: 2 * time.Microsecond, MemoryBytes: 1 << 16, BytesIn: 30}},
			Done:    func(error) { <-slots; wg.Done() },
		})
		if err != nil {
			b.Fatal(err)
		}
		v.Release()
	}
	wg.Wait()
	n := float64(b.N)
	st := s.Stats()
	b.ReportMetric(float64(writeBytes(b)-written)/n, "disk-B/op")
	b.ReportMetric(float64(cpuTime(b)-cpu)/n/1e3, "cpu-µs/op")
	b.ReportMetric(float64(st.Units-before.Units)/float64(st.Commits-before.Commits), "units/commit")
}

func BenchmarkViewGet(b *testing.B) {
	s := open(b, b.TempDir()+"/headgate.db")
	mustSeal(b, s, &store.Unit{Slots: []store.Slot{{Writes: []function.Write{set("f", "k", "v")}}}})
	b.ReportAllocs()
	for b.Loop() {
		v := s.View()
		if _, _, err := v.Get("f", "k"); err != nil {
			b.Fatal(err)
		}
		v.Release()
	}
}
