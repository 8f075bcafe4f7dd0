//go:build !wasip1

package headgate

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
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
	// Sensors are the readings of sensors, by name.
	Sensors map[string]Reading
	State   map[string][]byte
	// Objects are the objects that there are, by bucket/key.
	Objects map[string][]byte
	// Fetch answers the handler's requests; without it they fail with
	// ErrUnavailable. An Errno that it returns is what the handler hears.
	Fetch func(Request) (*Response, error)
	Now   time.Time
}

// Message is something that the handler published, enqueued or invoked.
type Message struct {
	Name    string // topic, queue or function
	Payload []byte
	QoS     byte
	Retain  bool
	Expiry  time.Duration // of a publish
	Delay   time.Duration // of an enqueue
	Lease   time.Duration // of an actuation
}

// Outcome is what a handler did.
type Outcome struct {
	Err        error
	Output     []byte
	OutputMeta map[string]string
	State      map[string][]byte
	// Objects are those that there are then, by bucket/key.
	Objects   map[string][]byte
	Published []Message
	Enqueued  []Message
	// Actuated are the actuators that it switched: Payload is the value.
	Actuated []Message
	Invoked  []Message
	Logs     []string
	Metrics  map[string]float64
	// Fetched are the requests that the handler sent; bodies are []byte.
	Fetched []Request
}

var (
	running sync.Mutex // one handler at a time, as in an instance
	host    *memoryHost
)

// memoryHost answers the handler's calls in memory.
type memoryHost struct {
	test Test
	out  Outcome
	// answer waits for a handler whose room was too small.
	asked, answer []byte
	types         map[string]string // of objects
}

// Run gives t to f and returns what it did. Nothing is limited or denied.
func Run(f func(*Context) error, t Test) Outcome {
	running.Lock()
	defer running.Unlock()
	host = &memoryHost{test: t, types: map[string]string{}, out: Outcome{OutputMeta: map[string]string{}, State: maps.Clone(t.State), Objects: maps.Clone(t.Objects), Metrics: map[string]float64{}}}
	if host.out.State == nil {
		host.out.State = map[string][]byte{}
	}
	if host.out.Objects == nil {
		host.out.Objects = map[string][]byte{}
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

func sensorRead(k, dst []byte) int32 {
	r, ok := host.test.Sensors[string(k)]
	if !ok {
		return int32(ErrNotFound)
	}
	if r.Quality == "" {
		r.Quality = "good"
	}
	raw, err := json.Marshal(r)
	if err != nil {
		return int32(ErrUnavailable)
	}
	return give(dst, raw)
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

func kvList(p []byte, _ uint32, dst []byte) int32 { return givePage(dst, host.out.State, string(p), 0) }

// givePage gives the keys that start with prefix, without their first cut bytes.
func givePage(dst []byte, all map[string][]byte, prefix string, cut int) int32 {
	page := make([]byte, 4)
	for _, k := range slices.Sorted(maps.Keys(all)) {
		if strings.HasPrefix(k, prefix) {
			page = binary.LittleEndian.AppendUint32(page, uint32(len(k)-cut))
			page = append(page, k[cut:]...)
		}
	}
	return give(dst, page)
}

func blobGet(k, dst []byte) int32 {
	v, ok := host.out.Objects[string(k)]
	if !ok {
		return int32(ErrNotFound)
	}
	return give(dst, v)
}

func blobStat(k, dst []byte) int32 {
	v, ok := host.out.Objects[string(k)]
	if !ok {
		return int32(ErrNotFound)
	}
	about, _ := json.Marshal(Object{ // it has a form in JSON
		Digest: fmt.Sprintf("sha256:%x", sha256.Sum256(v)), Size: int64(len(v)), Type: host.types[string(k)], Modified: time.UnixMilli(nowMillis()).UTC(),
	})
	return give(dst, about)
}

func blobRead(k []byte, offset int64, dst []byte) int32 {
	v, ok := host.out.Objects[string(k)]
	if !ok {
		return int32(ErrNotFound)
	}
	if offset < 0 || offset >= int64(len(v)) {
		return 0
	}
	return int32(copy(dst, v[offset:]))
}

func blobPut(k, t, b []byte) int32 {
	bucket, key, _ := strings.Cut(string(k), "/")
	if bucket == "" || key == "" {
		return int32(ErrInvalid)
	}
	kind := string(t)
	if kind == "" {
		kind = "application/octet-stream"
	}
	host.out.Objects[string(k)], host.types[string(k)] = bytes.Clone(b), kind
	return 0
}

func blobDelete(k []byte) int32 {
	delete(host.out.Objects, string(k))
	return 0
}

func blobList(p []byte, _ uint32, dst []byte) int32 {
	return givePage(dst, host.out.Objects, string(p), bytes.IndexByte(p, '/')+1)
}

func publish(t, p []byte, flags, expiry uint32) int32 {
	host.out.Published = append(host.out.Published, Message{
		Name: string(t), Payload: bytes.Clone(p),
		QoS: byte(flags & 3), Retain: flags&4 != 0, Expiry: time.Duration(expiry) * time.Second,
	})
	return 0
}

func actuate(n, v []byte, lease uint32) int32 {
	host.out.Actuated = append(host.out.Actuated, Message{Name: string(n), Payload: bytes.Clone(v), Lease: time.Duration(lease) * time.Millisecond})
	switch {
	case string(v) == "off":
		return 0
	case lease == 0:
		return int32((10 * time.Minute).Milliseconds())
	}
	return int32(lease)
}

func enqueue(q, p []byte, delay uint32) int32 {
	host.out.Enqueued = append(host.out.Enqueued, Message{Name: string(q), Payload: bytes.Clone(p), Delay: time.Duration(delay) * time.Second})
	return 0
}

func invoke(f, p []byte) int32 {
	host.out.Invoked = append(host.out.Invoked, Message{Name: string(f), Payload: bytes.Clone(p)})
	return 0
}

func httpFetch(req, dst []byte) int32 {
	if host.answer != nil && bytes.Equal(req, host.asked) {
		return host.giveAnswer(dst)
	}
	line, body, _ := bytes.Cut(req, []byte{'\n'})
	var head struct {
		URL, Method, Redirect string
		Headers               [][2]string
		Timeout               int64 `json:"timeout_ms"`
	}
	if json.Unmarshal(line, &head) != nil {
		return int32(ErrInvalid)
	}
	r := Request{Method: head.Method, URL: head.URL, Header: map[string]string{}, Body: bytes.Clone(body), Redirect: head.Redirect, Timeout: time.Duration(head.Timeout) * time.Millisecond}
	if r.Method == "" {
		r.Method = "GET"
	}
	for _, h := range head.Headers {
		r.Header[h[0]] = h[1]
	}
	host.out.Fetched = append(host.out.Fetched, r)
	if host.test.Fetch == nil {
		return int32(ErrUnavailable)
	}
	answer, err := host.test.Fetch(r)
	if err != nil {
		errno := ErrUnavailable
		_ = errors.As(err, &errno) // any other is unavailable
		return int32(errno)
	}
	host.asked, host.answer = bytes.Clone(req), answer.wire(r.URL)
	return host.giveAnswer(dst)
}

func (m *memoryHost) giveAnswer(dst []byte) int32 {
	answer := m.answer
	if len(answer) <= len(dst) {
		m.asked, m.answer = nil, nil
	}
	return give(dst, answer)
}

// wire is the response as the gateway hands it over.
func (r *Response) wire(url string) []byte {
	headers := [][2]string{}
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		for _, v := range r.Header[name] {
			headers = append(headers, [2]string{strings.ToLower(name), v})
		}
	}
	if r.URL != "" {
		url = r.URL
	}
	line, _ := json.Marshal(map[string]any{"status": statusOf(r), "url": url, "headers": headers}) // it has a form in JSON
	return append(append(line, '\n'), r.Body...)
}

// statusOf is 200 where the test says nothing.
func statusOf(r *Response) int {
	if r.Status == 0 {
		return 200
	}
	return r.Status
}

func metricValue(k []byte, value float64) { host.out.Metrics[string(k)] = value }
