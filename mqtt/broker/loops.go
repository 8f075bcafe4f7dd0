package broker

// Loops recognises messages that come round: what went out to a bridge and
// comes back over another way, or comes in over two. A way is the client id of
// a connection that says it is a bridge. Methods may be called from any
// goroutine and with the broker's locks held; they must not block.
type Loops interface {
	// Came reports whether a message that a bridge brings is here already.
	Came(way, topic string, payload []byte) bool
	// Left notes that a message is on its way to a bridge.
	Left(way, topic string, payload []byte)
}

// noLoops recognises nothing.
type noLoops struct{}

var _ Loops = noLoops{}

// Came returns false.
func (noLoops) Came(_, _ string, _ []byte) bool { return false }

// Left does nothing.
func (noLoops) Left(_, _ string, _ []byte) {}
