package broker

import (
	"context"
	"errors"
	"time"
)

// MessageStore keeps what durable sessions still have to get, and the retained
// messages. gateway/store implements it.
//
// No method but the Load ones waits, and all of them may be called with the
// broker's locks held: a store that cannot write now puts the change behind
// what it is doing. Calls take effect in the order in which they were made.
// done is called once the change is on disk (or has failed); it must not
// block, and may be called before the method returns.
type MessageStore interface {
	// LoadMessages calls fn with every stored message that sessions wait for,
	// LoadOutgoing with every row of every session, by sequence, and
	// LoadRetained with every retained message, the oldest publication first.
	// They are called once, before the broker listens. fn keeps nothing of
	// body or options.
	LoadMessages(ctx context.Context, fn func(id uint64, body []byte)) error
	LoadOutgoing(ctx context.Context, fn func(OutgoingRecord)) error
	LoadRetained(ctx context.Context, fn func(topic string, body []byte)) error

	// Runtime turns the expiry of a stored message, which is on the store's
	// scale, into a moment of the runtime's clock. Over a restart only the
	// store knows how much time has passed.
	Runtime(stored time.Time) time.Time

	// Deliver commits a plan that no handler's unit carries. Rows of sessions
	// that are gone are left out. The error wraps ErrRefused while there is no
	// room.
	Deliver(p *Plan, done func(error))
	// Releasing notes that the client has received a QoS 2 message (PUBREC).
	Releasing(client string, epoch, seq uint64, done func(error))
	// Remove deletes a row: the client has the message, or never will. It
	// waits for the next commit that is made anyway.
	Remove(client string, epoch, seq uint64)
	// Retain makes m what its topic retains, or with an empty payload
	// nothing, with the next commit that is made anyway. Where m came with a
	// plan that is on disk already it does nothing.
	Retain(m *Message)
}

// ErrRefused is what a store wraps when it takes no more messages for now: the
// publisher is told so (quota exceeded).
var ErrRefused = errors.New("refused")

// OutgoingRecord is a stored row: one message for one session.
type OutgoingRecord struct {
	Client string
	Epoch  uint64
	// Seq is the place in the session's order; the packet id follows from it.
	Seq uint64
	// Message is the number of its message.
	Message uint64
	// Releasing is true between PUBREC and PUBCOMP.
	Releasing bool
	// Options is what AppendOptions wrote.
	Options []byte
}
