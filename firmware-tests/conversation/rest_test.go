package conversation

import (
	"fmt"
	"slices"
	"testing/synctest"

	"github.com/headgate-io/headgate/mqtt/broker"
)

// rest waits until the broker has nothing to do and holds what came against the
// model.
func (pl *player) rest(calm bool) error {
	synctest.Wait()
	for i, c := range pl.clients {
		if err := pl.hear(i, c); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	if err := pl.model.rest(); err != nil {
		return err
	}
	return pl.checkRetained(calm)
}

func (pl *player) hear(who int, c *client) error {
	if c.wire == nil {
		return nil
	}
	came, closed, err := c.wire.take()
	if pl.lie != nil {
		came = pl.lie(came)
	}
	for _, pk := range came {
		if err := pl.take(who, c, pk); err != nil {
			return err
		}
	}
	switch {
	case err != nil:
		return fmt.Errorf("not MQTT: %w", err)
	case closed:
		return fmt.Errorf("the broker closed the connection")
	case len(c.awaits) > 0:
		return fmt.Errorf("%s for packet id %d has not come", c.awaits[0].form, c.awaits[0].id)
	}
	return nil
}

func (pl *player) take(who int, c *client, pk packet) error {
	switch pk.form {
	case publish:
		return pl.takeMessage(who, c, pk)
	case pubrel:
		pl.say("   -> %s PUBREL %d", c.name, pk.id)
		if err := pl.model.released(who, pk.id); err != nil {
			return err
		}
		c.todo = append(c.todo, answer{pubcomp, pl.model.sessions[who].find(pk.id)})
		return nil
	case disconnect:
		return fmt.Errorf("DISCONNECT %#x %s", pk.codes[0], pk.text)
	}
	i := slices.IndexFunc(c.awaits, func(w packet) bool { return w.form == pk.form })
	if i < 0 {
		return fmt.Errorf("%s for packet id %d came, which is not due", pk.form, pk.id)
	}
	want := c.awaits[i]
	c.awaits = slices.Delete(c.awaits, i, i+1)
	pl.say("   -> %s %s %d", c.name, pk.form, pk.id)
	if pk.id != want.id { // [MQTT-4.6.0-2], [MQTT-4.6.0-3]
		return fmt.Errorf("%s for packet id %d came, %d is first", pk.form, pk.id, want.id)
	}
	switch pk.form {
	case connack:
		if pk.codes[0] != 0 || pk.present != want.present { // [MQTT-3.2.2-3]
			return fmt.Errorf("CONNACK %#x, session present %t, want %t", pk.codes[0], pk.present, want.present)
		}
	case suback, unsuback:
		if !slices.Equal(pk.codes, want.codes) {
			return fmt.Errorf("codes %x, want %x", pk.codes, want.codes)
		}
	default:
		return c.acknowledged(pk)
	}
	return nil
}

// acknowledged moves the client's own message on.
func (c *client) acknowledged(pk packet) error {
	if pk.codes[0] != 0 && !(pk.form == pubcomp && pk.codes[0] == byte(broker.PacketIdentifierNotFound)) {
		return fmt.Errorf("%s %d says %#x", pk.form, pk.id, pk.codes[0])
	}
	i := slices.IndexFunc(c.open, func(o *outbound) bool { return o.id == pk.id })
	if i < 0 {
		return nil
	}
	switch pk.form {
	case pubrec:
		c.open[i].received = true
	case pubcomp:
		c.open = slices.Delete(c.open, i, i+1)
	}
	return nil
}

func (pl *player) takeMessage(who int, c *client, pk packet) error {
	a := &arrival{dup: pk.dup, left: pk.life}
	a.topic, a.payload, a.qos, a.retain, a.id = pk.topic, pk.payload, pk.qos, pk.retain, pk.id
	a.ids = slices.Sorted(slices.Values(pk.ids))
	if alias := pk.alias; alias > 0 {
		if alias > c.greeted.aliases { // [MQTT-3.1.2-26]
			return fmt.Errorf("topic alias %d, at most %d", alias, c.greeted.aliases)
		}
		if a.topic == "" {
			a.topic = c.topics[alias]
		}
		c.topics[alias] = a.topic
	}
	pl.say("   -> %s %v id=%d dup=%t", c.name, &a.delivery, a.id, a.dup)
	if a.qos == 0 && a.dup { // [MQTT-3.3.1-2]
		return fmt.Errorf("%v came with DUP", &a.delivery)
	}
	if a.qos > 0 && a.id == 0 { // [MQTT-2.2.1-3]
		return fmt.Errorf("%v came without packet id", &a.delivery)
	}
	if c.greeted.version != 5 {
		a.ids = pl.model.unseen(who, a)
	}
	d, err := pl.model.receive(who, a)
	switch {
	case err != nil:
		return err
	case a.qos == 1:
		c.todo = append(c.todo, answer{puback, d})
	case a.qos == 2:
		c.todo = append(c.todo, answer{pubrec, d})
	}
	return nil
}

// unseen is what a 3.1.1 client is not told: the identifiers of subscriptions
// that it made with version 5.
func (m *model) unseen(who int, a *arrival) []int {
	s := m.sessions[who]
	like := func(d *delivery) bool {
		return d.topic == a.topic && d.payload == a.payload && d.qos == a.qos && d.retain == a.retain
	}
	if d := s.find(a.id); a.qos > 0 && d != nil {
		return d.ids
	}
	all := s.volatile
	if a.qos > 0 {
		all = s.out
	}
	for _, d := range all {
		if (a.qos == 0 || d.state == waiting) && like(d) {
			return d.ids
		}
	}
	for _, sh := range m.shared {
		for _, c := range sh.of(who, s.number) {
			if !sh.taken && like(&c.delivery) {
				return c.ids
			}
		}
	}
	return nil
}

// checkRetained compares every topic. calm says that nothing raced.
func (pl *player) checkRetained(calm bool) error {
	there := map[string]string{}
	keep := func(m *broker.Message) bool { there[m.Topic] = string(m.Payload); return true }
	pl.rig.broker.Retained("#", keep)
	pl.rig.broker.Retained("$t/#", keep)
	for _, name := range topics {
		payload, ok := there[name]
		delete(there, name)
		h := pl.model.retained[name]
		if h == nil {
			h = &holding{could: []*message{nil}}
		}
		if err := h.observe(payload, ok, calm); err != nil {
			return fmt.Errorf("%s %w", name, err)
		}
	}
	if len(there) > 0 {
		return fmt.Errorf("retained: %v", there)
	}
	return nil
}
