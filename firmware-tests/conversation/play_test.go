package conversation

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"testing/synctest"
	"time"

	"github.com/headgate-io/headgate/mqtt/broker"
)

// maxOpen is how many packet ids a client uses at once.
const maxOpen = 6

// player plays one conversation.
type player struct {
	rig     *rig
	model   *model
	clients [clients]*client
	words   []string // what has happened so far
	sent    int      // messages, for their payloads
	lie     lie      // nil for the truth
}

// client is one of the clients: what it remembers of its session, and its
// connection while there is one.
type client struct {
	name string
	// open are its QoS 1 and 2 messages that are not settled, oldest first.
	open []*outbound
	// last is the last QoS 1 message: its PUBACK gets lost with the
	// connection.
	last *outbound

	wire    *wire
	greeted greeting
	awaits  []packet          // acknowledgements, and what they have to say
	todo    []answer          // acknowledgements that it has not given yet
	topics  map[uint16]string // aliases from the broker
	known   [3]string         // aliases to the broker
}

type answer struct {
	kind form
	d    *delivery
}

// outbound is a message that a client publishes.
type outbound struct {
	message
	id       uint16
	life     uint32 // seconds to its expiry
	received bool   // by the broker: PUBREC came
	released bool   // PUBREL went
	number   int    // of the session
	past     bool   // the broker has started again since
}

// play plays p inside a bubble. The error says what was wrong; words tell the
// conversation.
func play(p program, dir string, tell lie) (words []string, err error) {
	pl := &player{lie: tell, rig: &rig{handler: p.handler}, model: newModel(p)}
	if p.disk {
		pl.rig.dir = dir
		if err := os.MkdirAll(pl.rig.home(), 0o700); err != nil {
			return nil, err
		}
	}
	for i := range pl.clients {
		pl.clients[i] = &client{name: fmt.Sprintf("c%d", i)}
	}
	pl.say("store=%t handler=%t", p.disk, p.disk && p.handler)
	if err := pl.rig.open(); err != nil {
		return nil, err
	}
	err = pl.perform(p)
	for _, c := range pl.clients {
		c.hangUp()
	}
	if closing := pl.rig.close(); closing != nil {
		err = errors.Join(err, fmt.Errorf("close: %w", closing))
	}
	return pl.words, err
}

func (pl *player) say(format string, args ...any) {
	pl.words = append(pl.words, fmt.Sprintf(format, args...))
}

func (pl *player) perform(p program) error {
	calm := true
	for _, s := range p.steps {
		if !calm && (s.kind != publishes && s.kind != answers) {
			if err := pl.rest(false); err != nil {
				return err
			}
			calm = true
		}
		if err := pl.step(s, p.disk); err != nil {
			return err
		}
		if s.burst {
			calm = false
			continue
		}
		if err := pl.rest(calm && s.kind != waits && s.kind != restarts); err != nil {
			return err
		}
		calm = true
	}
	if err := pl.rest(calm); err != nil {
		return err
	}
	return pl.finish()
}

func (pl *player) step(s step, disk bool) error {
	c := pl.clients[s.who]
	if s.kind != connects && s.kind != waits && s.kind != restarts && c.wire == nil {
		return nil
	}
	if s.kind == restarts && !disk {
		return nil
	}
	if s.kind != publishes {
		pl.say("%v", s)
	}
	switch s.kind {
	case connects:
		return pl.connect(s.who, s.greeting())
	case leaves:
		return pl.leave(s)
	case drops:
		c.loseAnswers(s.x)
		c.hangUp()
		pl.model.cut(s.who, true)
	case subscribes:
		return pl.subscribe(s)
	case unsubscribes:
		return pl.unsubscribe(s)
	case publishes:
		return pl.publish(s)
	case releases:
		return pl.release(s.who)
	case redelivers:
		return pl.redeliver(s.who, s.x)
	case answers:
		return pl.answer(c, s.x)
	case waits:
		return pl.wait(s.wait())
	case babbles:
		return pl.babble(s)
	case restarts:
		return pl.restart(s.x&1 != 0)
	}
	return nil
}

func (c *client) hangUp() {
	if c.wire != nil {
		c.wire.close()
	}
	c.wire, c.awaits, c.todo, c.topics, c.known = nil, nil, nil, nil, [3]string{}
}

// loseAnswers is what gets lost with a connection: maybe the last PUBACK.
func (c *client) loseAnswers(x byte) {
	if c.last != nil && x&1 != 0 && len(c.open) < maxOpen {
		c.open = append(c.open, c.last)
	}
	c.last = nil
}

func (pl *player) connect(who int, g greeting) error {
	c := pl.clients[who]
	old := c.wire
	if s := pl.model.sessions[who]; s != nil && g.version != 5 && s.overlaps() {
		g.clean, g.expiry = true, 0
	}
	if g.will != nil {
		g.will.payload = fmt.Sprintf("will %d of %s", pl.sent, c.name)
		pl.sent++
	}
	present := pl.model.connect(who, g)
	w := newWire(pl.rig.door.dial(), g.version)
	if err := w.send(packet{form: connect, name: c.name, greeting: g}); err != nil {
		w.close()
		return fmt.Errorf("%s: CONNECT: %w", c.name, err)
	}
	if old != nil {
		synctest.Wait()
		if _, closed, _ := old.take(); !closed {
			w.close()
			return fmt.Errorf("%s: the connection that was taken over stayed open", c.name)
		}
		c.loseAnswers(0)
		c.hangUp()
	}
	c.wire, c.greeted, c.topics = w, g, map[uint16]string{}
	c.awaits = []packet{{form: connack, present: present}}
	if !present {
		c.open = nil
	}
	return nil
}

func (pl *player) leave(s step) error {
	c := pl.clients[s.who]
	pk := packet{form: disconnect}
	ses := pl.model.sessions[s.who]
	dirty := false
	if c.greeted.version == 5 {
		switch s.x & 3 {
		case 1:
			pk.codes, dirty = []byte{byte(broker.DisconnectWithWill)}, true
		case 2:
			pk.expiry = new(uint32)
			ses.expiry = 0
		case 3:
			pk.expiry = new(uint32)
			*pk.expiry = 60
			if dirty = ses.expiry == 0; !dirty { // [MQTT-3.14.2-2]
				ses.expiry = time.Minute
			}
		}
	}
	pl.model.cut(s.who, dirty)
	if err := c.wire.send(pk); err != nil {
		return fmt.Errorf("%s: DISCONNECT: %w", c.name, err)
	}
	return pl.expectEnd(c)
}

// expectEnd holds the broker to closing a connection.
func (pl *player) expectEnd(c *client) error {
	synctest.Wait()
	if _, closed, _ := c.wire.take(); !closed {
		return fmt.Errorf("%s: the broker left the connection open", c.name)
	}
	c.loseAnswers(0)
	c.hangUp()
	return nil
}

func (pl *player) babble(s step) error {
	c := pl.clients[s.who]
	pl.model.cut(s.who, true)
	_ = c.wire.write([]byte(nonsense[s.x%byte(len(nonsense))])) // it may be closed before the end
	return pl.expectEnd(c)
}

func (pl *player) subscribe(s step) error {
	c := pl.clients[s.who]
	o := s.option(c.greeted.version)
	if pl.model.sessions[s.who].blurs(o, c.greeted.version) {
		return nil
	}
	pl.model.subscribe(s.who, o)
	c.await(suback, 1000, o.qos)
	return c.wire.send(packet{form: subscribe, id: 1000, option: o})
}

func (pl *player) unsubscribe(s step) error {
	c := pl.clients[s.who]
	filter := filters[s.x%byte(len(filters))]
	subs := pl.model.sessions[s.who].subs
	code := byte(broker.NoSubscriptionExisted)
	if _, ok := subs[filter]; ok {
		code = 0
	}
	delete(subs, filter)
	if c.greeted.version == 5 {
		c.await(unsuback, 1000, code)
	} else {
		c.await(unsuback, 1000)
	}
	return c.wire.send(packet{form: unsubscribe, id: 1000, option: option{filter: filter}})
}

func (c *client) await(kind form, id uint16, codes ...byte) {
	c.awaits = append(c.awaits, packet{form: kind, id: id, codes: codes})
}

func (pl *player) publish(s step) error {
	c := pl.clients[s.who]
	o := &outbound{message: message{
		topic: topics[s.x&7], from: s.who, qos: min(s.x>>3&3, maxQoS2), retain: s.x&retain != 0, payload: fmt.Sprint(pl.sent),
	}, number: pl.model.sessions[s.who].number}
	pl.sent++
	if s.x&empty != 0 && !pl.model.pending(o.topic) {
		o.payload = ""
	}
	if o.qos > 0 {
		if o.id = c.freeID(); o.id == 0 {
			return nil
		}
		if c.last != nil && c.last.id == o.id {
			c.last = nil
		}
	}
	if c.greeted.version == 5 {
		o.life = [...]uint32{0, 2, 9, 0}[s.y&3]
		if o.life > 0 {
			o.expires = time.Now().Add(time.Duration(o.life) * time.Second)
		}
	}
	alias := uint16(0)
	if c.greeted.version == 5 && s.y&aliased != 0 {
		alias = 1 + uint16(s.y>>3&1)
	}
	pl.say("%s publishes %q on %s QoS %d retain=%t id=%d life=%d alias=%d burst=%t", c.name, o.payload, o.topic, o.qos, o.retain, o.id, o.life, alias, s.burst)
	switch o.qos {
	case 1:
		c.last = o
		c.await(puback, o.id)
	case 2:
		c.open = append(c.open, o)
		c.await(pubrec, o.id)
	}
	pl.model.route(o.message)
	return c.wire.send(o.packet(c, alias, false))
}

// freeID is the lowest packet id that is not in use, 0 when too many are.
func (c *client) freeID() uint16 {
	for id := uint16(1); id <= maxOpen; id++ {
		used := slices.ContainsFunc(c.open, func(o *outbound) bool { return o.id == id })
		used = used || slices.ContainsFunc(c.awaits, func(pk packet) bool {
			return pk.id == id && pk.form != suback
		})
		if !used {
			return id
		}
	}
	return 0
}

func (o *outbound) packet(c *client, alias uint16, dup bool) packet {
	pk := packet{
		form: publish, qos: o.qos, retain: o.retain, dup: dup, topic: o.topic, payload: o.payload, id: o.id, life: o.life, alias: alias,
	}
	if alias > 0 {
		if c.known[alias] == o.topic {
			pk.topic = ""
		}
		c.known[alias] = o.topic
	}
	return pk
}

// release sends PUBREL for the oldest message that the broker has.
func (pl *player) release(who int) error {
	c := pl.clients[who]
	for _, o := range c.open {
		if o.qos == 2 && o.received {
			if o.released && slices.ContainsFunc(c.awaits, func(pk packet) bool { return pk.id == o.id }) {
				continue
			}
			pl.say("   id %d", o.id)
			o.released = true
			c.await(pubcomp, o.id)
			return c.wire.send(packet{form: pubrel, id: o.id})
		}
	}
	return nil
}

// redeliver sends one of the messages again whose acknowledgement the client
// takes for lost.
func (pl *player) redeliver(who int, x byte) error {
	c := pl.clients[who]
	var all []*outbound
	for _, o := range c.open {
		if !o.released {
			all = append(all, o)
		}
	}
	if len(all) == 0 {
		return nil
	}
	o := all[int(x)%len(all)]
	pl.say("   %q on %s QoS %d id=%d", o.payload, o.topic, o.qos, o.id)
	if o.forgotten(pl.model) {
		again := o.message
		again.may = true
		if o.life > 0 {
			again.expires = time.Now().Add(time.Duration(o.life) * time.Second)
		}
		pl.model.route(again)
	}
	if o.qos == 1 {
		c.await(puback, o.id)
		c.open = slices.DeleteFunc(c.open, func(other *outbound) bool { return other == o })
	} else {
		o.received = false
		c.await(pubrec, o.id)
	}
	return c.wire.send(o.packet(c, 0, true))
}

// forgotten reports whether the broker may take a redelivery for a message of
// its own: it is known on the same session, and for QoS 2 where a record is
// kept also past a restart.
func (o *outbound) forgotten(m *model) bool {
	if s := m.sessions[o.from]; s.number != o.number {
		return true
	}
	return o.past && (o.qos == 1 || !m.handler)
}

func (pl *player) answer(c *client, x byte) error {
	for len(c.todo) > 0 {
		i := 0
		if x%3 == newest {
			i = len(c.todo) - 1
		}
		a := c.todo[i]
		c.todo = slices.Delete(c.todo, i, i+1)
		if err := pl.give(c, a); err != nil || x%3 != all {
			return err
		}
	}
	return nil
}

func (pl *player) give(c *client, a answer) error {
	pl.say("   %s for %v", a.kind, a.d)
	id := a.d.id
	s := pl.model.sessions[c.number()]
	if a.kind == pubrec {
		a.d.state, a.d.here = had, false
	} else {
		s.settle(a.d)
	}
	return c.wire.send(packet{form: a.kind, id: id})
}

func (c *client) number() int { return int(c.name[1] - '0') }

func (pl *player) wait(d time.Duration) error {
	until := time.Now().Add(d)
	for {
		at := pl.model.next(until)
		if at.IsZero() {
			break
		}
		time.Sleep(time.Until(at))
		pl.model.elapse()
		if err := pl.rest(false); err != nil {
			return err
		}
	}
	time.Sleep(time.Until(until))
	return nil
}

func (pl *player) restart(kill bool) error {
	if err := pl.rig.restart(kill); err != nil {
		return fmt.Errorf("restart: %w", err)
	}
	for _, c := range pl.clients {
		c.loseAnswers(0)
		c.hangUp()
		for _, o := range c.open {
			o.past = true
		}
	}
	pl.model.restart(kill)
	return nil
}

// finish lets everyone who has a session come and take everything, and looks
// whether the broker is left with nothing.
func (pl *player) finish() error {
	pl.say("everyone comes and takes the rest")
	for i, s := range pl.model.sessions {
		if s != nil && (!s.online || s.greeted.receive > 0 && len(s.out) > 0) {
			if err := pl.connect(i, greeting{version: 5, expiry: ever}); err != nil {
				return err
			}
			if err := pl.rest(false); err != nil {
				return err
			}
		}
	}
	for more := true; more; {
		more = false
		for _, c := range pl.clients {
			more = more || len(c.todo) > 0
			if err := pl.answer(c, all); err != nil {
				return err
			}
		}
		if err := pl.rest(false); err != nil {
			return err
		}
	}
	for _, sh := range pl.model.shared {
		if err := sh.atLast(); err != nil {
			return err
		}
	}
	if st := pl.rig.broker.Stats(); st.QueuedMessages != 0 || st.QueuedBytes != 0 || st.PendingBytes != 0 {
		return fmt.Errorf("left in the broker: %d messages queued with %d bytes, %d bytes pending", st.QueuedMessages, st.QueuedBytes, st.PendingBytes)
	}
	return nil
}

// atLast is what has to be true once everyone has everything.
func (sh *sharing) atLast() error {
	if sh.taken || sh.may {
		return nil
	}
	for _, all := range sh.members {
		if all[0].qos == 0 || all[0].expired() {
			return nil
		}
	}
	return fmt.Errorf("%s: nobody ever got %v", sh.filter, sh.any())
}
