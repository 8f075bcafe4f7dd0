package conversation

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// model is what the protocol says of a conversation so far: what every client
// must, may and must not get. It knows its clients and time, and nothing of the
// broker but what DESIGN promises beyond MQTT: QoS 1 redeliveries are
// recognised on a resumed session, shared subscriptions prefer members that
// are online.
type model struct {
	disk, handler bool
	sessions      [clients]*session
	retained      map[string]*holding
	shared        []*sharing
	numbers       int
}

// session is what a client and the broker have agreed on.
type session struct {
	number  int // no two are equal
	online  bool
	greeted greeting // of the last connection
	expiry  time.Duration
	ends    time.Time // while offline
	subs    map[string]option
	will    *testament // waits for its delay

	// out is what QoS 1 and 2 still have to bring, in the broker's order;
	// once sent also in sent, where it stays while something before it is not
	// settled. settled may come back after a kill.
	out, sent, settled []*delivery
	volatile           []*delivery // QoS 0, due at once
}

// testament is a will on its way.
type testament struct {
	willing
	due time.Time
}

type progress byte

const (
	waiting progress = iota
	sent             // PUBLISH has come
	had              // PUBREC has gone, PUBREL is due or there
	settled
)

// delivery is one message for one client.
type delivery struct {
	topic, payload string
	from           int
	qos            byte
	retain         bool
	ids            []int
	expires        time.Time

	may    bool // need not come
	back   bool // it was settled, which a kill made uncertain
	loaded bool // known from disk: the broker cannot know whether it was sent
	state  progress
	id     uint16
	here   bool // on this connection: PUBLISH or, once had, PUBREL
}

func (d *delivery) String() string {
	return fmt.Sprintf("%q on %s QoS %d retain=%t subscriptions %v", d.payload, d.topic, d.qos, d.retain, d.ids)
}

// like reports whether both look the same to a client.
func (d *delivery) like(o *delivery) bool {
	return d.topic == o.topic && d.payload == o.payload && d.qos == o.qos && d.retain == o.retain && slices.Equal(d.ids, o.ids)
}

// optional reports whether the broker may forget it.
func (d *delivery) optional() bool { return d.may || d.loaded && d.expired() }

func (d *delivery) expired() bool { return !d.expires.IsZero() && !time.Now().Before(d.expires) }

// holding is what a topic retains. It is not certain which where two clients
// raced, or a kill came before the next commit.
type holding struct {
	could []*message // nil within is nothing
	// since is what it was since the last one that is certainly on disk.
	since []*message
	loose bool // whatever could be may be
}

// message is what a client publishes.
type message struct {
	topic, payload string
	from           int
	qos            byte
	retain         bool
	expires        time.Time
	may            bool // a redelivery that need not be recognised
}

// sharing is one message for one of a shared subscription's members.
type sharing struct {
	filter  string
	message message
	members map[int][]*candidate // by client
	taken   bool
	taker   *delivery
	may     bool
	now     bool // QoS 0: due at once
}

type candidate struct {
	number int // of the session
	delivery
}

func newModel(p program) *model {
	return &model{disk: p.disk, handler: p.handler, retained: map[string]*holding{}}
}

// route is a message's way to everyone who gets it.
func (m *model) route(msg message) {
	if msg.retain {
		m.keep(msg)
	}
	for i, s := range m.sessions {
		if s == nil {
			continue
		}
		if d := s.merge(i, msg); d != nil {
			s.due(d)
		}
	}
	for _, filter := range filters {
		if strings.HasPrefix(filter, "$share/") {
			m.share(filter, msg)
		}
	}
}

// merge is what one client gets by all its own subscriptions, nil for nothing.
func (s *session) merge(who int, msg message) (d *delivery) {
	for _, filter := range filters {
		o, ok := s.subs[filter]
		if !ok || o.group != "" || !matches(o.match, msg.topic) || o.noLocal && who == msg.from {
			continue
		}
		if d == nil {
			d = &delivery{topic: msg.topic, payload: msg.payload, from: msg.from, expires: msg.expires, may: msg.may}
		}
		d.add(o, msg)
	}
	return d
}

func (d *delivery) add(o option, msg message) {
	d.qos = max(d.qos, min(o.qos, msg.qos))
	d.retain = d.retain || o.asPublish && msg.retain
	if o.id > 0 {
		d.ids = append(d.ids, o.id)
		slices.Sort(d.ids)
	}
}

// due queues a delivery. QoS 0 is for those who are there.
func (s *session) due(d *delivery) {
	switch {
	case d.qos > 0:
		s.out = append(s.out, d)
	case s.online:
		s.volatile = append(s.volatile, d)
	}
}

func (m *model) share(filter string, msg message) {
	sh := &sharing{filter: filter, message: msg, may: msg.may, members: map[int][]*candidate{}}
	m.candidates(sh)
	if len(sh.members) == 0 {
		return
	}
	here := false
	lossless := false
	for i, all := range sh.members {
		if m.sessions[i].online {
			here = true
			lossless = lossless || all[0].qos > 0
		}
	}
	sh.now = here && !lossless
	m.shared = append(m.shared, sh)
}

// candidates adds those who are members now.
func (m *model) candidates(sh *sharing) {
	msg := sh.message
	for i, s := range m.sessions {
		if s == nil {
			continue
		}
		if o, ok := s.subs[sh.filter]; ok && matches(o.match, msg.topic) {
			c := &candidate{number: s.number}
			c.topic, c.payload, c.from, c.expires = msg.topic, msg.payload, msg.from, msg.expires
			c.add(o, msg)
			sh.members[i] = append(sh.members[i], c)
		}
	}
}

// keep makes msg what its topic retains.
func (m *model) keep(msg message) {
	h := m.retained[msg.topic]
	if h == nil {
		h = &holding{could: []*message{nil}, since: []*message{nil}}
		m.retained[msg.topic] = h
	}
	r := &msg
	if msg.payload == "" {
		r = nil
	}
	h.could = append(h.could, r)
	h.loose = h.loose || msg.may
	if msg.qos > 0 && !msg.may {
		// Others that race with it may still come before or after it.
		h.since = slices.Clone(h.could[1:])
	} else {
		h.since = append(h.since, r)
	}
}

// observe settles what a topic retains by what the broker says. Where the
// protocol leaves no choice the broker has to say that. calm is false when
// several messages raced since the last time.
func (h *holding) observe(payload string, there, calm bool) error {
	could := h.could
	if calm && !h.loose {
		could = could[len(could)-1:]
	}
	fits := slices.DeleteFunc(slices.Clone(could), func(r *message) bool {
		gone := r == nil || !r.expires.IsZero() && !time.Now().Before(r.expires)
		return gone == there || there && r.payload != payload
	})
	if len(fits) > 0 {
		h.loose = h.loose && len(fits) > 1 // they may differ in when they expire
		h.could = fits
		return nil
	}
	var want []string
	for _, r := range could {
		if r == nil {
			want = append(want, "nothing")
		} else {
			want = append(want, fmt.Sprintf("%q", r.payload))
		}
	}
	return fmt.Errorf("retains %q (%t), want %s", payload, there, strings.Join(want, " or "))
}

// current is what a new subscription gets of a topic, nil for nothing.
func (h *holding) current() *message {
	r := h.could[len(h.could)-1]
	if r == nil || !r.expires.IsZero() && !time.Now().Before(r.expires) {
		return nil
	}
	return r
}

// blurs reports whether a client could not tell by which of two subscriptions a
// message came, one of them shared: only identifiers say so, and only with
// version 5.
func (s *session) blurs(o option, version byte) bool {
	for _, other := range s.subs {
		if other.filter == o.filter || o.group == "" && other.group == "" || version == 5 && o.id != 0 && other.id != 0 {
			continue
		}
		for _, name := range topics {
			if matches(o.match, name) && matches(other.match, name) {
				return true
			}
		}
	}
	return false
}

// overlaps reports whether the client must see identifiers to tell.
func (s *session) overlaps() bool {
	for _, o := range s.subs {
		if s.blurs(o, 4) {
			return true
		}
	}
	return false
}

// subscribe makes o effective for a client that is there.
func (m *model) subscribe(who int, o option) {
	s := m.sessions[who]
	_, had := s.subs[o.filter]
	s.subs[o.filter] = o
	if o.group != "" || o.handling == 2 || o.handling == 1 && had {
		return
	}
	for _, name := range topics {
		h := m.retained[name]
		if h == nil || !matches(o.match, name) {
			continue
		}
		if r := h.current(); r != nil {
			d := &delivery{topic: name, payload: r.payload, from: r.from, expires: r.expires}
			d.add(o, *r)
			d.retain = true
			s.due(d)
		}
	}
}

// connect is a CONNECT that the broker takes. It reports whether the session
// was there.
func (m *model) connect(who int, g greeting) (present bool) {
	m.cut(who, true)
	s := m.sessions[who]
	if s != nil && g.clean {
		m.end(who)
		s = nil
	}
	present = s != nil
	if s == nil {
		m.numbers++
		s = &session{number: m.numbers, subs: map[string]option{}}
		m.sessions[who] = s
	}
	s.online, s.greeted, s.expiry, s.will = true, g, min(g.expiry, aMonth), nil
	for _, d := range s.out {
		d.here = false
	}
	return present
}

// cut ends a client's connection; dirty is without a DISCONNECT that keeps the
// will back.
func (m *model) cut(who int, dirty bool) {
	s := m.sessions[who]
	if s == nil || !s.online {
		return
	}
	s.online, s.ends = false, time.Now().Add(s.expiry)
	s.volatile = nil
	if w := s.greeted.will; w != nil && dirty {
		t := &testament{willing: *w, due: time.Now().Add(min(w.delay, s.expiry))}
		if s.will = t; !t.due.After(time.Now()) {
			m.executeWill(who)
		}
	}
	if s.expiry == 0 {
		m.end(who)
	}
}

func (m *model) executeWill(who int) {
	s := m.sessions[who]
	w := s.will
	if s.will = nil; w != nil {
		m.route(message{topic: w.topic, payload: w.payload, from: who, qos: w.qos, retain: w.retain})
	}
}

// end is the end of a session. What it had from shared subscriptions may go to
// others, now.
func (m *model) end(who int) {
	s := m.sessions[who]
	w := s.will
	m.sessions[who] = nil
	for _, sh := range m.shared {
		mine := slices.ContainsFunc(sh.members[who], func(c *candidate) bool { return c.number == s.number })
		if !mine || sh.taken && !slices.Contains(s.out, sh.taker) {
			continue
		}
		sh.taken, sh.may, sh.now = false, true, false
		m.candidates(sh)
	}
	if w != nil {
		m.route(message{topic: w.topic, payload: w.payload, from: who, qos: w.qos, retain: w.retain})
	}
}

// next is when something happens by itself, within d; zero when nothing does.
func (m *model) next(until time.Time) (at time.Time) {
	for _, s := range m.sessions {
		if s == nil || s.online {
			continue
		}
		moments := []time.Time{s.ends}
		if s.will != nil {
			moments = append(moments, s.will.due)
		}
		for _, t := range moments {
			if !t.After(until) && (at.IsZero() || t.Before(at)) {
				at = t
			}
		}
	}
	return at
}

// elapse does what is due by now.
func (m *model) elapse() {
	now := time.Now()
	for i, s := range m.sessions {
		if s != nil && !s.online && s.will != nil && !s.will.due.After(now) {
			m.executeWill(i)
		}
	}
	for i, s := range m.sessions {
		if s != nil && !s.online && !s.ends.After(now) {
			m.end(i)
		}
	}
}

// restart is a new broker on the same store: killed, or closed in order. The
// wills of sessions that are stored are the next one's, others go out with an
// orderly end, when nobody knows any more which members are there.
func (m *model) restart(kill bool) {
	shared := len(m.shared)
	for i, s := range m.sessions {
		if s == nil {
			continue
		}
		if s.online {
			w := s.greeted.will
			m.cut(i, !kill && s.expiry == 0)
			if w != nil && s.expiry > 0 {
				s.will = &testament{willing: *w, due: time.Now().Add(min(w.delay, s.expiry))}
			}
		}
	}
	for _, s := range m.sessions {
		if s != nil {
			s.reload(kill)
		}
	}
	for _, h := range m.retained {
		if kill {
			h.could, h.loose = slices.Clone(h.since), true
		}
		h.since = slices.Clone(h.could)
	}
	for _, sh := range m.shared[shared:] {
		sh.may, sh.now = true, false
	}
	m.elapse() // wills that were due while nobody was there
}

// reload is a session from disk. That something was acknowledged may be
// forgotten by a kill.
func (s *session) reload(kill bool) {
	if kill {
		for _, d := range s.settled {
			d.may, d.back = true, true
			if d.state = sent; d.qos == 2 {
				d.state = had
			}
		}
		s.out = append(s.settled, s.out...)
	}
	s.settled = nil
	s.sent = slices.DeleteFunc(s.sent, func(d *delivery) bool { return d.state == settled })
	for _, d := range s.out {
		d.loaded, d.here = true, false
		if !slices.Contains(s.sent, d) {
			s.sent = append(s.sent, d)
		}
	}
}

// pending reports whether somebody may still get an empty message on a topic:
// nothing tells two of them apart.
func (m *model) pending(topic string) bool {
	is := func(d *delivery) bool { return d.topic == topic && d.payload == "" }
	for _, s := range m.sessions {
		if s != nil && (slices.ContainsFunc(s.out, is) || slices.ContainsFunc(s.volatile, is) || m.disk && slices.ContainsFunc(s.settled, is)) {
			return true
		}
	}
	return slices.ContainsFunc(m.shared, func(sh *sharing) bool { return is(sh.any()) })
}

// matches is [MQTT 4.7], by the book.
func matches(filter, name string) bool {
	if strings.HasPrefix(name, "$") && !strings.HasPrefix(filter, "$") {
		return false
	}
	return matchLevels(strings.Split(filter, "/"), strings.Split(name, "/"))
}

func matchLevels(filter, name []string) bool {
	switch {
	case len(filter) > 0 && filter[0] == "#":
		return true
	case len(filter) == 0 || len(name) == 0:
		return len(filter) == len(name) || len(name) == 0 && len(filter) == 1 && filter[0] == "#"
	}
	return (filter[0] == "+" || filter[0] == name[0]) && matchLevels(filter[1:], name[1:])
}
