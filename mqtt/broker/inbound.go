package broker

// Handler takes what clients publish. The gateway implements it: it matches
// triggers, runs functions and settles; the broker acknowledges when told.
type Handler interface {
	// Publish takes one authorised, not yet acknowledged PUBLISH (or will
	// message) that is not a duplicate. It is called on the connection's
	// reader in arrival order and must not block. The handler calls
	// in.Release exactly once, now or later, from any goroutine.
	//
	// The broker itself never routes an inbound message to subscribers before
	// its release.
	Publish(in *Inbound)
}

// InboundRecord is what must be durable, in the event's own commit, so that a
// redelivery after a crash is known for what it is.
type InboundRecord struct {
	// Client and Epoch name the session: an epoch is never used again.
	Client string
	Epoch  uint64
	// PacketID, QoS and Hash identify the packet. Hash covers topic, payload
	// and properties.
	PacketID uint16
	QoS      byte
	Hash     uint64
	// Slot is where the record is kept. For QoS 1 it is the place in the
	// session's ring of recent records (writing a slot forgets what was there,
	// which is what bounds the table); for QoS 2 it is the packet id.
	Slot uint32
}
