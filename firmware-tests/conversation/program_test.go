package conversation

import (
	"fmt"
	"strings"
	"time"
)

// clients take part in every conversation.
const clients = 4

// A program is two bytes that choose the broker, then steps of stepSize bytes.
const (
	headSize = 2
	stepSize = 4
	maxSteps = 80
)

var topics = [...]string{"a", "a/b", "a/b/c", "b", "/b", "$t/a", "a/", "b/c"}

var filters = [...]string{
	"a", "a/b", "+", "#", "a/+", "a/#", "+/b", "$t/#",
	"$share/g/a/#", "$share/g/b", "$share/h/a/#", "+/+", "a/+/c", "b", "$share/g/+", "+/a/#",
}

// kind is what a step does.
type kind byte

const (
	connects kind = iota
	leaves
	drops
	subscribes
	unsubscribes
	publishes
	releases
	redelivers
	answers
	waits
	babbles
	restarts
	kinds
)

// weights are how many of the values of a step's first byte mean which kind.
var weights = [kinds]int{
	connects: 3, leaves: 1, drops: 2, subscribes: 3, unsubscribes: 1, publishes: 8, releases: 2, redelivers: 2,
	answers: 6, waits: 1, babbles: 1, restarts: 1,
}

// step is one step of a program. x and y are read as its kind wants.
type step struct {
	kind kind
	who  int
	x, y byte
	// burst lets the next step come before the broker is at rest.
	burst bool
}

// program is a decoded conversation.
type program struct {
	disk    bool // on a real store, which restarts need
	handler bool // a handler stands between publishers and subscribers
	steps   []step
}

func decodeProgram(b []byte) program {
	var p program
	if len(b) < headSize {
		return p
	}
	p.disk, p.handler = b[0]&3 == 3, b[0]&4 != 0
	for b = b[headSize:]; len(b) >= stepSize && len(p.steps) < maxSteps; b = b[stepSize:] {
		s := step{kind: kindOf(b[0]), who: int(b[1]) % clients, burst: b[1]&0x80 != 0, x: b[2], y: b[3]}
		s.burst = s.burst && (s.kind == publishes || s.kind == answers)
		p.steps = append(p.steps, s)
	}
	return p
}

func kindOf(b byte) kind {
	n := int(b) % sum(weights[:])
	for k, w := range weights {
		if n -= w; n < 0 {
			return kind(k)
		}
	}
	return waits
}

func sum(all []int) (n int) {
	for _, w := range all {
		n += w
	}
	return n
}

// script writes programs by hand.
type script []byte

func newScript(head byte) *script { return &script{head, 0} }

func (s *script) do(k kind, who int, x, y byte) *script {
	first := 0
	for i := range k {
		first += weights[i]
	}
	*s = append(*s, byte(first), byte(who), x, y)
	return s
}

// burst is do without a rest behind it.
func (s *script) burst(k kind, who int, x, y byte) *script { return s.do(k, who|0x80, x, y) }

// greeting is what a step's x and y say of a CONNECT.
type greeting struct {
	version byte
	clean   bool
	expiry  time.Duration
	receive uint16 // 0 is not said
	aliases uint16
	will    *willing
}

// willing is a will.
type willing struct {
	topic   string
	payload string
	qos     byte
	retain  bool
	delay   time.Duration
}

// Bits of x in connects.
const (
	v5         = 1
	cleanStart = 2
	expiry5    = 1 << 2
	expiry60   = 2 << 2
	expiryEver = 3 << 2
	receive1   = 1 << 4
	receive2   = 2 << 4
	receive3   = 3 << 4
	withAlias  = 1 << 6
)

// Bits of y in connects; the low three are the topic.
const (
	hasWill    = 1 << 3
	willQoS1   = 1 << 4
	willQoS2   = 2 << 4
	willRetain = 1 << 6
	willLater  = 1 << 7
)

const (
	ever    = 0xFFFFFFFF * time.Second
	aMonth  = 30 * 24 * time.Hour // the broker's longest
	later   = 3 * time.Second
	maxQoS2 = 2
)

func (s step) greeting() greeting {
	g := greeting{version: 4 + s.x&1, clean: s.x&cleanStart != 0}
	if g.version == 5 {
		g.expiry = [...]time.Duration{0, 5 * time.Second, time.Minute, ever}[s.x>>2&3]
		g.receive = uint16(s.x >> 4 & 3)
		g.aliases = 2 * uint16(s.x>>6&1)
	} else if !g.clean {
		g.expiry = aMonth
	}
	if s.y&hasWill != 0 {
		g.will = &willing{topic: topics[s.y&7], qos: min(s.y>>4&3, maxQoS2), retain: s.y&willRetain != 0}
		if s.y&willLater != 0 && g.version == 5 {
			g.will.delay = later
		}
	}
	return g
}

// option is what a step says of one subscription.
type option struct {
	filter    string
	group     string // of a shared one
	match     string
	qos       byte
	noLocal   bool
	asPublish bool
	handling  byte
	id        int
}

// Bits of y in subscribes; the low two are the QoS.
const (
	noLocal   = 1 << 2
	asPublish = 1 << 3
	onlyNew   = 1 << 4
	noReplay  = 2 << 4
	withID    = 1 << 6
)

func (s step) option(version byte) option {
	o := option{filter: filters[s.x%byte(len(filters))], qos: min(s.y&3, maxQoS2)}
	o.match = o.filter
	if rest, ok := strings.CutPrefix(o.filter, "$share/"); ok {
		_, o.match, _ = strings.Cut(rest, "/")
		o.group = o.filter
	}
	if version == 5 {
		o.noLocal = s.y&noLocal != 0 && o.group == ""
		o.asPublish = s.y&asPublish != 0
		o.handling = min(s.y>>4&3, 2)
		if s.y&withID != 0 {
			o.id = 1 + int(s.x)%len(filters)
		}
	}
	return o
}

// Bits of x in publishes; the low three are the topic.
const (
	qos1   = 1 << 3
	qos2   = 2 << 3
	retain = 1 << 5
	empty  = 1 << 6
)

// Bits of y in publishes.
const (
	expires2 = 1
	expires9 = 2
	aliased  = 1 << 2
	alias2   = 1 << 3
)

// Values of x in answers, modulo 3.
const (
	oldest = iota
	newest
	all
)

func (s step) wait() time.Duration {
	return [...]time.Duration{1, 2, 3, 5, 10, 61, 600, 31}[s.x&7] * time.Second
}

// nonsense is what no client may send once it is connected.
var nonsense = [...]string{
	"\x00\x00", // no such packet
	"\x10\x0d\x00\x04MQTT\x04\x00\x00\x00\x00\x01a", // a second CONNECT
	"\x36\x05\x00\x01a\x00\x01",                     // QoS 3
	"\x32\x05\x00\x01a\x00\x00x",                    // packet id 0
	"\x80\x06\x00\x01\x00\x01a\x00",                 // SUBSCRIBE with the wrong flags
	"\x82\x02\x00\x01",                              // SUBSCRIBE without filter
	"\x30\x05\x00\x03a/#",                           // a wildcard in a topic name
	"\x30\xff\xff\xff\xff\x7f",                      // a length of five bytes
	"\x20\x02\x00\x00",                              // what servers send
	"\xf0\x02\x18\x00",                              // AUTH, uncalled for
}

func (s step) String() string {
	who := fmt.Sprintf("c%d", s.who)
	switch s.kind {
	case connects:
		g := s.greeting()
		text := fmt.Sprintf("%s connects: v%d clean=%t expiry=%s receive_max=%d aliases=%d", who, g.version, g.clean, g.expiry, g.receive, g.aliases)
		if w := g.will; w != nil {
			text += fmt.Sprintf(", will on %s QoS %d retain=%t delay=%s", w.topic, w.qos, w.retain, w.delay)
		}
		return text
	case leaves:
		return fmt.Sprintf("%s disconnects (v5: %s)", who, [...]string{"as is", "with its will", "expiry 0", "expiry 60 s"}[s.x&3])
	case drops:
		return who + " is cut off"
	case subscribes:
		o := s.option(5)
		return fmt.Sprintf("%s subscribes to %s QoS %d (v5: no_local=%t as_published=%t handling=%d id=%d)", who, o.filter, o.qos, o.noLocal, o.asPublish, o.handling, o.id)
	case unsubscribes:
		return fmt.Sprintf("%s unsubscribes from %s", who, filters[s.x%byte(len(filters))])
	case publishes:
		return who + " publishes"
	case releases:
		return who + " sends PUBREL"
	case redelivers:
		return who + " sends again what is not settled"
	case answers:
		return fmt.Sprintf("%s acknowledges (%s)", who, [...]string{"the oldest", "the newest", "everything"}[s.x%3])
	case waits:
		return fmt.Sprintf("%s pass", s.wait())
	case babbles:
		return fmt.Sprintf("%s sends %q", who, nonsense[s.x%byte(len(nonsense))])
	case restarts:
		if s.x&1 != 0 {
			return "the broker is killed and starts again"
		}
		return "the broker is closed and starts again"
	}
	return "nothing"
}
