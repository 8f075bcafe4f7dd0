//go:build !wasip1

package headgate

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Test is an event for a handler, and the world it finds, in tests on the
// developer's machine.
type Test struct {
	Data   []byte
	Meta   map[string]string
	Config map[string]string // JSON values
	// Secrets are those that the manifest declares and that are set.
	Secrets map[string][]byte
	State   map[string][]byte
	Now     time.Time
}

// Message is something that the handler published, enqueued or invoked.
type Message struct {
	Name    string // topic, queue or function
	Payload []byte
	QoS     byte
	Retain  bool
	Expiry  time.Duration // of a publish
	Delay   time.Duration // of an enqueue
}

// Outcome is what a handler did.
type Outcome struct {
	Err        error
	Output     []byte
	OutputMeta map[string]string
	State      map[string][]byte
	Published  []Message
	Enqueued   []Message
	Invoked    []Message
	Logs       []string
	Metrics    map[string]float64
}

var (
	running sync.Mutex // one handler at a time, as in an instance
	host    *memoryHost
)

// memoryHost answers the handler's calls in memory.
type memoryHost struct {
	test Test
	out  Outcome
}

// Run gives t to f and returns what it did. Nothing is limited or denied.
func Run(f func(*Context) error, t Test) Outcome {
	running.Lock()
	defer running.Unlock()
	host = &memoryHost{test: t, out: Outcome{OutputMeta: map[string]string{}, State: maps.Clone(t.State), Metrics: map[string]float64{}}}
	if host.out.State == nil {
		host.out.State = map[string][]byte{}
	}
	host.out.Err = f(&Context{})
	return host.out
}

func give(dst, v []byte) int32 {
	copy(dst, v)
	return int32(len(v))
}

func inputLen() int32            { return int32(len(host.test.Data)) }
func inputRead(dst []byte) int32 { return give(dst, host.test.Data) }
func output(b []byte)            { host.out.Output = bytes.Clone(b) }

func outputMeta(k, v []byte) int32 {
	host.out.OutputMeta[string(k)] = string(v)
	return 0
}

func metaRead(k, dst []byte) int32 {
	v, ok := host.test.Meta[string(k)]
	if !ok {
		return int32(ErrNotFound)
	}
	return give(dst, []byte(v))
}

func logLine(_ int32, b []byte) { host.out.Logs = append(host.out.Logs, string(b)) }

func nowMillis() int64 {
	if host.test.Now.IsZero() {
		return time.Now().UnixMilli()
	}
	return host.test.Now.UnixMilli()
}

func randomRead(dst []byte) { _, _ = rand.Read(dst) } // it never fails

func configRead(k, dst []byte) int32 {
	v, ok := host.test.Config[string(k)]
	if !ok {
		return int32(ErrNotFound)
	}
	return give(dst, []byte(v))
}

func secretRead(k, dst []byte) int32 {
	v, ok := host.test.Secrets[string(k)]
	if !ok {
		return int32(ErrNotFound)
	}
	return give(dst, v)
}

func kvGet(k, dst []byte) int32 {
	v, ok := host.out.State[string(k)]
	if !ok {
		return int32(ErrNotFound)
	}
	return give(dst, v)
}

func kvSet(k, v []byte, _ uint32) int32 {
	host.out.State[string(k)] = bytes.Clone(v)
	return 0
}

func kvDel(k []byte) int32 {
	delete(host.out.State, string(k))
	return 0
}

func kvList(p []byte, _ uint32, dst []byte) int32 {
	page := make([]byte, 4)
	for _, k := range slices.Sorted(maps.Keys(host.out.State)) {
		if strings.HasPrefix(k, string(p)) {
			page = binary.LittleEndian.AppendUint32(page, uint32(len(k)))
			page = append(page, k...)
		}
	}
	return give(dst, page)
}

func publish(t, p []byte, flags, expiry uint32) int32 {
	host.out.Published = append(host.out.Published, Message{
		Name: string(t), Payload: bytes.Clone(p),
		QoS: byte(flags & 3), Retain: flags&4 != 0, Expiry: time.Duration(expiry) * time.Second,
	})
	return 0
}

func enqueue(q, p []byte, delay uint32) int32 {
	host.out.Enqueued = append(host.out.Enqueued, Message{Name: string(q), Payload: bytes.Clone(p), Delay: time.Duration(delay) * time.Second})
	return 0
}

func invoke(f, p []byte) int32 {
	host.out.Invoked = append(host.out.Invoked, Message{Name: string(f), Payload: bytes.Clone(p)})
	return 0
}

func metricValue(k []byte, value float64) { host.out.Metrics[string(k)] = value }
