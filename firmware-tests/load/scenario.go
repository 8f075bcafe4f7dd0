package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// scenario is one load on one broker.
type scenario struct {
	name     string
	broker   string // "headgate" or "mosquitto"
	language string // of the function between in and out; "" forwards only
	qos      byte
	// rate is events per second; 0 is as fast as window allows.
	rate   int
	window int
	// filters is how many trigger filters there are, clients how many
	// publishers.
	filters, clients int
}

var scenarios = []scenario{
	{name: "forward qos0 mosquitto", broker: "mosquitto", window: 1000, clients: 1},
	{name: "forward qos0", broker: "headgate", window: 1000, clients: 1},
	{name: "forward qos1 mosquitto", broker: "mosquitto", qos: 1, window: 500, clients: 1},
	{name: "forward qos1", broker: "headgate", qos: 1, window: 500, clients: 1},
	{name: "function c qos0", broker: "headgate", language: "c", window: 1000, filters: 1, clients: 1},
	{name: "function c qos0 2000/s", broker: "headgate", language: "c", rate: 2000, window: 1000, filters: 1, clients: 1},
	{name: "forward qos0 2000/s mosquitto", broker: "mosquitto", rate: 2000, window: 1000, clients: 1},
	{name: "forward qos0 2000/s", broker: "headgate", rate: 2000, window: 1000, clients: 1},
	{name: "function c qos0 2000/s 1000 clients", broker: "headgate", language: "c", rate: 2000, window: 1000, filters: 1, clients: 1000},
	{name: "function c qos0 10000 filters", broker: "headgate", language: "c", window: 1000, filters: 10_000, clients: 1},
	{name: "function c qos0 1000 clients", broker: "headgate", language: "c", window: 1000, filters: 1, clients: 1000},
	{name: "function c qos1 durable", broker: "headgate", language: "c", qos: 1, window: 500, filters: 1, clients: 1},
	{name: "function js qos0", broker: "headgate", language: "js", window: 500, filters: 1, clients: 1},
	{name: "function js qos1 durable", broker: "headgate", language: "js", qos: 1, window: 100, filters: 1, clients: 1},
}

// run starts the broker, lets the load pass for d and measures the broker's
// process.
func (s *scenario) run(ctx context.Context, binary string, d time.Duration) (m *measurement, err error) {
	dir, err := os.MkdirTemp("", "headgate-load-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	var t *target
	if s.broker == "mosquitto" {
		t, err = startMosquitto(ctx, dir)
	} else {
		t, err = startGateway(ctx, binary, dir, s)
	}
	if t != nil {
		defer func() { err = errors.Join(err, t.stop()) }()
	}
	if err != nil {
		return nil, err
	}
	l, err := s.connect(ctx, t)
	if err != nil {
		return nil, err
	}
	defer l.close()
	l.drive(ctx, time.Second) // warm up
	before, err := sampleProcess(t.pid)
	if err != nil {
		return nil, err
	}
	l.reset()
	began := time.Now()
	l.drive(ctx, d)
	after, err := sampleProcess(t.pid)
	if err != nil {
		return nil, err
	}
	m = l.measure()
	m.elapsed = time.Since(began)
	m.cpu, m.written, m.resident = after.cpu-before.cpu, after.written-before.written, after.resident
	return m, nil
}

// load is the clients of one scenario.
type load struct {
	scenario  *scenario
	sources   []*wire
	sink      *wire
	underway  atomic.Int64
	received  atomic.Int64
	wake      chan struct{}
	mu        sync.Mutex
	latencies []time.Duration
	began     time.Time
	sent      int
	inWindow  []atomic.Int64 // unacknowledged, per source
	topics    []string
}

func (s *scenario) connect(ctx context.Context, t *target) (*load, error) {
	l := &load{scenario: s, wake: make(chan struct{}, 1), began: time.Now(), inWindow: make([]atomic.Int64, s.clients)}
	login := func(name string) (*wire, error) {
		password, err := t.login(ctx, name)
		if err != nil {
			return nil, err
		}
		return dial(ctx, t.address, name, password)
	}
	var err error
	if l.sink, err = login("sink"); err != nil {
		return nil, err
	}
	filter := "in/+"
	if s.language != "" {
		filter = "out/+"
	}
	if err := l.sink.subscribe(filter, s.qos); err != nil {
		return nil, err
	}
	go l.sink.receive(l.arrived, func() {})
	for i := range s.clients {
		w, err := login("source-" + strconv.Itoa(i))
		if err != nil {
			l.close()
			return nil, fmt.Errorf("client %d: %w", i, err)
		}
		l.sources = append(l.sources, w)
		l.topics = append(l.topics, "in/"+strconv.Itoa(i))
		go w.receive(func([]byte) {}, func() { l.inWindow[i].Add(-1); l.signal() })
	}
	return l, nil
}

func (l *load) close() {
	for _, w := range append(l.sources, l.sink) {
		w.Close()
	}
}

func (l *load) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// arrived takes one message at the far end; its last number is when it left.
func (l *load) arrived(payload []byte) {
	now := time.Since(l.began)
	end := len(payload)
	for end > 0 && (payload[end-1] < '0' || payload[end-1] > '9') {
		end--
	}
	from := end
	for from > 0 && payload[from-1] >= '0' && payload[from-1] <= '9' {
		from--
	}
	left, err := strconv.ParseInt(string(payload[from:end]), 10, 64)
	if err == nil {
		l.mu.Lock()
		l.latencies = append(l.latencies, now-time.Duration(left)*time.Microsecond)
		l.mu.Unlock()
	}
	l.received.Add(1)
	l.underway.Add(-1)
	l.signal()
}

// drive publishes for d and then waits for what is under way.
func (l *load) drive(ctx context.Context, d time.Duration) {
	s := l.scenario
	deadline := time.Now().Add(d)
	start, n := time.Now(), 0
	for ctx.Err() == nil && time.Now().Before(deadline) {
		due := 64
		if s.rate > 0 {
			due = int(time.Since(start).Seconds()*float64(s.rate)) - n
		}
		due = min(due, s.window-int(l.underway.Load()))
		for range due {
			l.send(n)
			n++
		}
		for _, w := range l.sources {
			_ = w.flush()
		}
		if due <= 0 || s.rate > 0 {
			l.pause()
		}
	}
	for wait := time.Now().Add(5 * time.Second); l.underway.Load() > 0 && time.Now().Before(wait) && ctx.Err() == nil; {
		l.pause()
	}
}

func (l *load) pause() {
	select {
	case <-l.wake:
	case <-time.After(200 * time.Microsecond):
	}
}

func (l *load) send(n int) {
	i := n % len(l.sources)
	payload := fmt.Appendf(nil, `{"moisture":27,"device":"soil-3","t":%d}`, time.Since(l.began).Microseconds())
	l.underway.Add(1)
	l.inWindow[i].Add(1)
	l.sent++
	_ = l.sources[i].publish(l.topics[i], payload, l.scenario.qos)
}

func (l *load) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.latencies = l.latencies[:0]
	l.received.Store(0)
	l.sent = 0
}

func (l *load) measure() *measurement {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := &measurement{events: int(l.received.Load()), lost: int(l.underway.Load())}
	slices.Sort(l.latencies)
	if n := len(l.latencies); n > 0 {
		m.p50, m.p99 = l.latencies[n/2], l.latencies[n*99/100]
	}
	return m
}
