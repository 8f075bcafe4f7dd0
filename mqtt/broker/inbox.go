package broker

import (
	"slices"
	"strconv"

	"github.com/cespare/xxhash/v2"
)

// inbox is what a session knows of the packet ids that its client uses. It is
// guarded by lane.mu. Outgoing packet ids are another matter: see outgoing.
type inbox struct {
	// open holds QoS 1 and 2 messages that are not released.
	open map[uint16]*Inbound
	// exactly holds QoS 2 ids between PUBREC and PUBCOMP.
	exactly map[uint16]*exactly
	recent  ring
}

// exactly is a QoS 2 message that was released: its packet id stays known until
// PUBREL.
type exactly struct {
	hash      uint64
	conn      *conn // that brought it, nil after a restart
	releasing bool  // PUBREL has come, its record is being removed
}

func newInbox(ringSize int) inbox {
	return inbox{open: map[uint16]*Inbound{}, exactly: map[uint16]*exactly{}, recent: ring{size: ringSize}}
}

// restore takes the stored records of a session.
func (b *inbox) restore(records []InboundRecord) {
	for _, rec := range records {
		if rec.QoS == 2 {
			b.exactly[rec.PacketID] = &exactly{hash: rec.Hash}
			continue
		}
		b.recent.restore(rec)
	}
}

// ring remembers the last QoS 1 messages of a durable session, so that a
// redelivery is known for what it is. Slots are reused in order of age; the
// age of slots from before a restart is unknown, so a redelivery that hits one
// makes it young: what its client still has in flight is redelivered first and
// therefore survives.
type ring struct {
	size  int
	slots []*ringSlot // oldest first
	used  uint32      // slot numbers given out so far
}

type ringSlot struct {
	number uint32
	id     uint16 // 0 for none
	hash   uint64
}

func (s *ringSlot) forget() { s.id = 0 }

// restore puts a stored record back.
func (r *ring) restore(rec InboundRecord) {
	r.slots = append(r.slots, &ringSlot{number: rec.Slot, id: rec.PacketID, hash: rec.Hash})
	r.used = max(r.used, rec.Slot+1)
}

// next returns the slot for a new message: an unused one, else the oldest.
func (r *ring) next(id uint16, hash uint64) *ringSlot {
	var s *ringSlot
	if int(r.used) < r.size || len(r.slots) == 0 {
		s = &ringSlot{number: r.used}
		r.used++
	} else {
		s = r.slots[0]
		copy(r.slots, r.slots[1:])
		r.slots = r.slots[:len(r.slots)-1]
	}
	s.id, s.hash = id, hash
	r.slots = append(r.slots, s)
	return s
}

// seen reports whether the message is among the recent ones.
func (r *ring) seen(id uint16, hash uint64) bool {
	for i := len(r.slots) - 1; i >= 0; i-- { // the young first
		if s := r.slots[i]; s.id == id && s.hash == hash {
			r.slots = append(slices.Delete(r.slots, i, i+1), s)
			return true
		}
	}
	return false
}

// hashOf covers topic, payload and properties. It is stored, so it must not
// change between versions.
func hashOf(m *Message) uint64 {
	var d xxhash.Digest
	d.ResetWithSeed(1)
	_, _ = d.WriteString(m.Topic) // a hash does not fail
	_, _ = d.Write([]byte{0, m.QoS})
	if p := m.Properties; p != nil {
		sum := func(s string) {
			n := len(s)
			_, _ = d.Write([]byte{byte(n >> 8), byte(n)})
			_, _ = d.WriteString(s)
		}
		sum(strconv.FormatBool(p.UTF8Payload))
		sum(p.ContentType)
		sum(p.ResponseTopic)
		sum(string(p.CorrelationData))
		for _, u := range p.User {
			sum(u.Name)
			sum(u.Value)
		}
	}
	_, _ = d.Write(m.Payload)
	return d.Sum64()
}
