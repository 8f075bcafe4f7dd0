// Package throttle slows down those who guess passwords and tokens: after a
// few failures an address has to wait, and longer with each further one, and so
// has everybody who tries the same name from elsewhere.
//
// A name that was right from an address before is not held up by what others
// do: from there, only its own failures count. So nobody keeps a device out
// that is where it always was, by guessing at its name from somewhere else.
//
// Every table is bounded. A flood of made-up names pushes out records with
// few failures, not those of who fails most.
package throttle

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// Config says how much is forgiven. Zero fields take their defaults.
type Config struct {
	// AddressBudget and IdentityBudget are the failures that cost nothing, 10
	// and 20 by default.
	AddressBudget, IdentityBudget int
	// First is the wait after the budget, a second by default. It doubles with
	// every failure, up to Longest, a minute by default.
	First, Longest time.Duration
	// Forget is how long after its last failure a record is gone, 15 minutes
	// by default.
	Forget time.Duration
	// MaxRecords bounds each table, 4096 by default.
	MaxRecords int
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

func (c Config) withDefaults() Config {
	positive(&c.AddressBudget, 10)
	positive(&c.IdentityBudget, 20)
	positive(&c.First, time.Second)
	positive(&c.Longest, time.Minute)
	positive(&c.Forget, 15*time.Minute)
	positive(&c.MaxRecords, 4096)
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

func positive[T int | time.Duration](v *T, missing T) {
	if *v <= 0 {
		*v = missing
	}
}

// Guard counts failures. It may be used from any goroutine.
type Guard struct {
	cfg Config

	mu         sync.Mutex // guards what follows
	addresses  table
	identities table
	pairs      table // of identities that were right from the address before
	known      table // when that was
	stats      Stats
}

// Stats are the guard's counters since its start, and its gauges now.
type Stats struct {
	// Failures were recorded, Held attempts turned away unchecked.
	Failures, Held uint64
	// Evicted records made room for others.
	Evicted uint64
	// Addresses, Identities and Known are the records kept.
	Addresses, Identities, Known int
}

// New makes a guard.
func New(cfg Config) *Guard {
	return &Guard{
		cfg: cfg.withDefaults(), addresses: table{}, identities: table{}, pairs: table{}, known: table{},
	}
}

// Wait is how long identity has to wait before it may try again from address,
// a host:port; 0 is not at all. What has to wait must not be checked, and is
// no further failure.
func (g *Guard) Wait(address, identity string) time.Duration {
	host := place(address)
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.cfg.Now()
	var until time.Time
	if pair := host + "\x00" + identity; g.known[pair] != nil {
		until = g.until(g.pairs[pair], g.cfg.AddressBudget, now)
	} else {
		until = g.until(g.addresses[host], g.cfg.AddressBudget, now)
		if u := g.until(g.identities[identity], g.cfg.IdentityBudget, now); identity != "" && u.After(until) {
			until = u
		}
	}
	wait := until.Sub(now)
	if wait <= 0 {
		return 0
	}
	g.stats.Held++
	return wait
}

// until is when the next attempt is allowed.
func (g *Guard) until(r *record, budget int, now time.Time) time.Time {
	if r == nil || r.failures < budget || now.Sub(r.last) >= g.cfg.Forget {
		return time.Time{}
	}
	wait := g.cfg.Longest
	if over := r.failures - budget; over < 30 {
		wait = min(wait, g.cfg.First<<over)
	}
	return r.last.Add(wait)
}

// Failed records that identity was wrong from address.
func (g *Guard) Failed(address, identity string) {
	host := place(address)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stats.Failures++
	if pair := host + "\x00" + identity; g.known[pair] != nil {
		g.count(g.pairs, pair)
		return
	}
	g.count(g.addresses, host)
	if identity != "" {
		g.count(g.identities, identity)
	}
}

func (g *Guard) count(t table, key string) {
	now := g.cfg.Now()
	r := t[key]
	if r == nil {
		g.makeRoom(t, now)
		r = &record{}
		t[key] = r
	}
	if now.Sub(r.last) >= g.cfg.Forget {
		r.failures = 0
	}
	r.failures++
	r.last = now
}

// Passed records that identity was right from address. The failures of the
// address stay: who has one right password must not buy guesses with it.
func (g *Guard) Passed(address, identity string) {
	pair := place(address) + "\x00" + identity
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.pairs, pair)
	now := g.cfg.Now()
	if r := g.known[pair]; r != nil {
		r.last = now
		return
	}
	g.makeRoom(g.known, now)
	g.known[pair] = &record{last: now}
}

// sampled is how many records makeRoom compares: a flood must not make each of
// its failures cost a walk over the whole table.
const sampled = 16

// makeRoom drops a record where the table is full: of some taken at random, the
// one with the fewest failures, the oldest of them. One that has failed more
// often than the others stays.
func (g *Guard) makeRoom(t table, now time.Time) {
	if len(t) < g.cfg.MaxRecords {
		return
	}
	seen := 0
	var least string
	for key, r := range t {
		if l := t[least]; l == nil || g.standing(r, now) < g.standing(l, now) ||
			g.standing(r, now) == g.standing(l, now) && r.last.Before(l.last) {
			least = key
		}
		if seen++; seen == sampled {
			break
		}
	}
	delete(t, least)
	g.stats.Evicted++
}

// standing is how many failures a record still stands for.
func (g *Guard) standing(r *record, now time.Time) int {
	if now.Sub(r.last) >= g.cfg.Forget {
		return 0
	}
	return r.failures
}

// Stats returns the counters now.
func (g *Guard) Stats() Stats {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.stats
	s.Addresses, s.Identities, s.Known = len(g.addresses), len(g.identities), len(g.known)
	return s
}

type record struct {
	failures int
	last     time.Time
}

type table map[string]*record

// place is what of an address one party holds: an IPv4 address, or the /64 of
// an IPv6 one.
func place(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	ip = ip.Unmap().WithZone("")
	if ip.Is4() {
		return ip.String()
	}
	p, err := ip.Prefix(64)
	if err != nil {
		return ip.String()
	}
	return p.String()
}
