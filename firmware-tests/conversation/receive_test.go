package conversation

import (
	"fmt"
	"slices"
	"time"
)

// arrival is a PUBLISH as a client sees it.
type arrival struct {
	delivery
	dup  bool
	left uint32 // seconds to its expiry, as it says
}

// receive holds a PUBLISH against what is due. It returns the delivery.
func (m *model) receive(who int, a *arrival) (*delivery, error) {
	s := m.sessions[who]
	if s == nil || !s.online {
		return nil, fmt.Errorf("%v came to nobody", &a.delivery)
	}
	if a.qos == 0 {
		return m.receiveVolatile(who, a)
	}
	d := s.find(a.id)
	if d != nil && d.back && !d.like(&a.delivery) {
		s.settle(d) // it stayed settled, and its packet id is free
		d = nil
	}
	if d != nil {
		return d, s.again(d, a)
	}
	d, err := m.dueTo(who, a)
	if err != nil {
		return nil, err
	}
	if d.expired() {
		return nil, fmt.Errorf("%v came %s after it expired", d, time.Since(d.expires))
	}
	if a.dup && !d.loaded {
		return nil, fmt.Errorf("%v came with DUP for the first time", d)
	}
	for _, earlier := range s.sent {
		if earlier.state == sent && !earlier.here && !earlier.optional() {
			return nil, fmt.Errorf("%v came before the redelivery of %v", d, earlier)
		}
	}
	d.state, d.id, d.here = sent, a.id, true
	s.sent = slices.DeleteFunc(s.sent, func(o *delivery) bool { return o == d })
	s.sent = append(s.sent, d)
	if err := s.checkExpiry(d, a); err != nil {
		return nil, err
	}
	return d, s.checkMaximum(d)
}

// find is what has a packet id in use, nil for nothing.
func (s *session) find(id uint16) *delivery {
	for _, d := range s.out {
		if (d.state == sent || d.state == had) && d.id == id {
			return d
		}
	}
	return nil
}

// again is a PUBLISH with a packet id that is in use.
func (s *session) again(d *delivery, a *arrival) error {
	switch {
	case !d.like(&a.delivery):
		return fmt.Errorf("packet id %d, in use for %v, came for %v", a.id, d, &a.delivery)
	case d.state == had:
		return fmt.Errorf("%v came again after its PUBREC", d)
	case d.here:
		return fmt.Errorf("%v came twice on one connection", d)
	case !a.dup:
		return fmt.Errorf("%v came again without DUP", d)
	}
	if err := s.inTurn(d); err != nil {
		return err
	}
	d.here = true
	if err := s.checkExpiry(d, a); err != nil {
		return err
	}
	return s.checkMaximum(d)
}

// inTurn holds the order of redeliveries [MQTT-4.6.0-1].
func (s *session) inTurn(d *delivery) error {
	if d.back {
		return nil
	}
	for _, earlier := range s.sent {
		if earlier == d {
			break
		}
		if earlier.state == sent && !earlier.here && !earlier.optional() {
			return fmt.Errorf("the redelivery of %v came before that of %v", d, earlier)
		}
	}
	return nil
}

// dueTo finds what a arrival with a new packet id is: something of the client's
// own, or of a shared subscription.
func (m *model) dueTo(who int, a *arrival) (*delivery, error) {
	s := m.sessions[who]
	var near *delivery
	for _, d := range s.out {
		if d.state != waiting || d.topic != a.topic || d.payload != a.payload {
			continue
		}
		if near = d; !d.like(&a.delivery) {
			continue
		}
		for _, earlier := range s.out {
			if earlier == d {
				break
			}
			if earlier.state == waiting && !earlier.may && !earlier.expired() && earlier.from == d.from && earlier.topic == d.topic {
				return nil, fmt.Errorf("%v came before %v", d, earlier)
			}
		}
		return d, nil
	}
	if d := m.sharedTo(who, a); d != nil {
		s.out = append(s.out, d)
		return d, nil
	}
	if near != nil {
		return nil, fmt.Errorf("%v came as %v", near, &a.delivery)
	}
	return nil, fmt.Errorf("%v came, which is not due", &a.delivery)
}

// sharedTo takes a message of a shared subscription, nil when there is none.
func (m *model) sharedTo(who int, a *arrival) *delivery {
	for _, sh := range m.shared {
		if sh.taken {
			continue
		}
		for _, c := range sh.of(who, m.sessions[who].number) {
			if !c.like(&a.delivery) {
				continue
			}
			d := c.delivery
			sh.taken, sh.taker = true, &d
			// A restart forgets which member has it and whether it was sent.
			d.loaded = m.disk
			return &d
		}
	}
	return nil
}

// of is how one session may get it, the latest first.
func (sh *sharing) of(who, session int) (all []*candidate) {
	for _, c := range slices.Backward(sh.members[who]) {
		if c.number == session {
			all = append(all, c)
		}
	}
	return all
}

func (m *model) receiveVolatile(who int, a *arrival) (*delivery, error) {
	s := m.sessions[who]
	for i, d := range s.volatile {
		if !d.like(&a.delivery) {
			continue
		}
		for _, earlier := range s.volatile[:i] {
			if !earlier.may && earlier.from == d.from && earlier.topic == d.topic {
				return nil, fmt.Errorf("%v came before %v", d, earlier)
			}
		}
		s.volatile = slices.Delete(s.volatile, i, i+1)
		return d, s.checkExpiry(d, a)
	}
	if d := m.sharedTo(who, a); d != nil {
		return d, nil
	}
	return nil, fmt.Errorf("%v came, which is not due", &a.delivery)
}

// checkExpiry holds the message expiry interval to what is left of it
// [MQTT-3.3.2-6].
func (s *session) checkExpiry(d *delivery, a *arrival) error {
	want := uint32(0)
	if !d.expires.IsZero() && s.greeted.version == 5 {
		want = uint32(max(1, (time.Until(d.expires)+time.Second-1)/time.Second))
	}
	if a.left != want {
		return fmt.Errorf("%v came with expiry %d, want %d", d, a.left, want)
	}
	return nil
}

// checkMaximum counts what the client has not acknowledged [MQTT-3.3.4-9].
func (s *session) checkMaximum(d *delivery) error {
	if n := s.inFlight(false); s.greeted.receive > 0 && n > int(s.greeted.receive) {
		return fmt.Errorf("%v is the %d. unacknowledged message, the receive maximum is %d", d, n, s.greeted.receive)
	}
	return nil
}

// inFlight counts what is unacknowledged on this connection; with resumed also
// where only PUBREL was sent on it.
func (s *session) inFlight(resumed bool) (n int) {
	for _, d := range s.out {
		if d.here && (d.state == sent || d.state == had && resumed) {
			n++
		}
	}
	return n
}

// released is a PUBREL. It is fine for an id that a kill brought back.
func (m *model) released(who int, id uint16) error {
	s := m.sessions[who]
	d := s.find(id)
	switch {
	case d == nil || d.qos != 2:
		return fmt.Errorf("PUBREL for packet id %d, which is not in use", id)
	case d.state != had:
		return fmt.Errorf("PUBREL before PUBREC for %v", d)
	case d.here:
		return fmt.Errorf("PUBREL twice on one connection for %v", d)
	}
	d.here = true
	return nil
}

// settle is the client's last word on a delivery.
func (s *session) settle(d *delivery) {
	d.state = settled
	s.out = slices.DeleteFunc(s.out, func(o *delivery) bool { return o == d })
	s.settled = append(s.settled, d)
	for len(s.sent) > 0 && s.sent[0].state == settled {
		s.sent = s.sent[1:]
	}
}

// rest is the state of a broker that has nothing more to do: whatever was due
// and has not come is lost, or stuck.
func (m *model) rest() error {
	for i, s := range m.sessions {
		if s == nil {
			continue
		}
		if err := s.rest(); err != nil {
			return fmt.Errorf("c%d: %w", i, err)
		}
	}
	for _, sh := range m.shared {
		if sh.now && !sh.taken && !sh.may {
			return fmt.Errorf("%s: nobody got %v", sh.filter, sh.any())
		}
	}
	return nil
}

func (sh *sharing) any() *delivery {
	for _, all := range sh.members {
		return &all[0].delivery
	}
	return nil
}

func (s *session) rest() error {
	for _, d := range s.volatile {
		if !d.may {
			return fmt.Errorf("%v has not come", d)
		}
	}
	s.volatile = nil
	s.out = slices.DeleteFunc(s.out, func(d *delivery) bool { return d.state == waiting && d.expired() })
	if !s.online || s.full() {
		return nil
	}
	for _, d := range s.out {
		if !d.here && !d.optional() {
			return fmt.Errorf("%v is stuck, in state %d", d, d.state)
		}
	}
	return nil
}

// full reports whether the broker may hold back: the client has its receive
// maximum, or has left the oldest of four times as many unacknowledged.
func (s *session) full() bool {
	limit := int(s.greeted.receive)
	if limit == 0 {
		return false
	}
	return s.inFlight(true) >= limit || len(s.sent) >= 4*limit
}
