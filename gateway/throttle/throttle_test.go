package throttle_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/headgate-io/headgate/gateway/throttle"
)

// clock is a clock that stands still until it is moved.
type clock struct{ now time.Time }

func (c *clock) move(d time.Duration) { c.now = c.now.Add(d) }

func guard(cfg throttle.Config) (*throttle.Guard, *clock) {
	c := &clock{time.Unix(1_000_000, 0)}
	cfg.Now = func() time.Time { return c.now }
	return throttle.New(cfg), c
}

func fail(g *throttle.Guard, n int, address, identity string) {
	for range n {
		g.Failed(address, identity)
	}
}

// TestWaitsDouble follows one address over its budget.
func TestWaitsDouble(t *testing.T) {
	g, clock := guard(throttle.Config{})
	fail(g, 9, "192.0.2.1:1000", "a")
	if w := g.Wait("192.0.2.1:1001", "b"); w != 0 {
		t.Errorf("within the budget: wait %v", w)
	}
	for _, want := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 32 * time.Second, time.Minute, time.Minute} {
		g.Failed("192.0.2.1:1000", "a")
		if w := g.Wait("192.0.2.1:1001", "b"); w != want {
			t.Fatalf("wait %v, want %v", w, want)
		}
		clock.move(want)
		if w := g.Wait("192.0.2.1:1001", "b"); w != 0 {
			t.Fatalf("after the wait: %v more", w)
		}
	}
	if w := g.Wait("192.0.2.2:1001", "c"); w != 0 {
		t.Errorf("another address, another name: wait %v", w)
	}
	g.Failed("192.0.2.1:1", "a")
	clock.move(15 * time.Minute)
	g.Failed("192.0.2.1:1", "a")
	if w := g.Wait("192.0.2.1:1", "b"); w != 0 {
		t.Errorf("after a quiet while: wait %v", w)
	}
	if s := g.Stats(); s.Failures != 19 || s.Held != 8 {
		t.Errorf("stats %+v", s)
	}
}

// TestGuessesFromManyAddresses tries one name from everywhere. Others wait, the
// device at the place where it was right before does not.
func TestGuessesFromManyAddresses(t *testing.T) {
	g, _ := guard(throttle.Config{})
	g.Passed("192.0.2.7:5000", "soil-3")
	for i := range 500 {
		g.Failed(fmt.Sprintf("198.51.%d.%d:1", i/250, i%250), "soil-3")
	}
	if w := g.Wait("203.0.113.1:1", "soil-3"); w != time.Minute {
		t.Errorf("from a new address: wait %v", w)
	}
	if w := g.Wait("192.0.2.7:6000", "soil-3"); w != 0 {
		t.Errorf("from its own address: wait %v", w)
	}
	// At its own address, its own failures count, and nothing else.
	fail(g, 12, "192.0.2.7:1", "other")
	if w := g.Wait("192.0.2.7:6000", "soil-3"); w != 0 {
		t.Errorf("with a guesser next to it: wait %v", w)
	}
	fail(g, 10, "192.0.2.7:1", "soil-3")
	if w := g.Wait("192.0.2.7:6000", "soil-3"); w != time.Second {
		t.Errorf("after failures of its own: wait %v", w)
	}
	g.Passed("192.0.2.7:1", "soil-3")
	if w := g.Wait("192.0.2.7:6000", "soil-3"); w != 0 {
		t.Errorf("after it was right: wait %v", w)
	}
}

// A right password buys no guesses at other names.
func TestOneRightPasswordBuysNoGuesses(t *testing.T) {
	g, _ := guard(throttle.Config{})
	for i := range 30 {
		g.Failed("192.0.2.1:1", fmt.Sprint("name", i))
		g.Passed("192.0.2.1:1", "mine")
	}
	if w := g.Wait("192.0.2.1:1", "name99"); w != time.Minute {
		t.Errorf("wait %v", w)
	}
}

// TestTablesAreBounded floods every table. The one who fails most stays known.
func TestTablesAreBounded(t *testing.T) {
	const most = 64
	g, _ := guard(throttle.Config{MaxRecords: most})
	fail(g, 30, "192.0.2.1:1", "target")
	for i := range 5000 {
		g.Failed(fmt.Sprintf("[2001:db8:%x::1]:1", i), fmt.Sprint("made-up", i))
		g.Passed(fmt.Sprintf("10.0.%d.%d:1", i/250, i%250), "soil-3")
	}
	s := g.Stats()
	if s.Addresses != most || s.Identities != most || s.Known != most || s.Evicted == 0 {
		t.Errorf("stats %+v", s)
	}
	if w := g.Wait("192.0.2.1:1", "x"); w != time.Minute {
		t.Errorf("the address is forgotten: wait %v", w)
	}
	if w := g.Wait("192.0.2.99:1", "target"); w != time.Minute {
		t.Errorf("the name is forgotten: wait %v", w)
	}
}

// Whoever has one IPv6 address has 2^64 of them.
func TestIPv6CountsByNetwork(t *testing.T) {
	g, _ := guard(throttle.Config{})
	for i := range 11 {
		g.Failed(fmt.Sprintf("[2001:db8::%x]:1", i+1), "")
	}
	if w := g.Wait("[2001:db8::ffff]:9", ""); w != 2*time.Second {
		t.Errorf("the same network: wait %v", w)
	}
	if w := g.Wait("[2001:db8:0:1::1]:9", ""); w != 0 {
		t.Errorf("another network: wait %v", w)
	}
}

// BenchmarkFlood records failures of made-up names with every table full, the
// dearest that a guess can be.
func BenchmarkFlood(b *testing.B) {
	g := throttle.New(throttle.Config{})
	names := make([]string, 1<<16)
	for i := range names {
		names[i] = fmt.Sprintf("192.0.%d.%d:1", i>>8, i&255)
		g.Failed(names[i], names[i])
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		g.Failed(names[i&(len(names)-1)], names[i&(len(names)-1)])
		i++
	}
}
