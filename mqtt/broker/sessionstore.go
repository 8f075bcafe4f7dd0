package broker

import (
	"context"
	"sync"
	"time"
)

// SessionStore keeps what must outlive the process about durable sessions
// (expiry interval above zero). gateway/store implements it.
//
// The asynchronous methods join the next group commit and call done once it is
// on disk (or has failed); done must not block. Calls for one client take
// effect in the order in which they were made. The duplicate records
// themselves are written by the handler, in the event's commit.
type SessionStore interface {
	// LoadSessions returns every stored session. It is called once, before
	// the broker listens.
	LoadSessions(ctx context.Context) ([]SessionRecord, error)
	// SaveSession writes the session, replacing the client's earlier one;
	// where the epoch differs, the earlier epoch's inbound records go too.
	SaveSession(rec SessionRecord, done func(error))
	// DeleteSession removes the client's session and its inbound records.
	DeleteSession(client string, done func(error))
	// ForgetID removes the QoS 2 record of a packet id that was released by
	// PUBREL.
	ForgetID(client string, epoch uint64, packetID uint16, done func(error))
}

// SessionRecord is a durable session as it is stored.
type SessionRecord struct {
	Client string
	// User is the identity that the session belongs to; nobody else may
	// resume or take over the client id.
	User  string
	Epoch uint64
	// Expiry is the session expiry interval; NeverExpires means what it says.
	Expiry time.Duration
	// Disconnected is when the client was last seen; zero while connected.
	Disconnected time.Time
	// Subscriptions is the broker's own encoding, opaque to the store.
	Subscriptions []byte
	// Will is the will of a connected client, or one that is not out yet: what
	// a restart has to publish. It is the broker's own encoding.
	Will []byte
	// Inbound is filled by LoadSessions only.
	Inbound []InboundRecord
}

// NeverExpires is the session expiry of 0xFFFFFFFF [MQTT5 3.1.2.11.2] and of a
// 3.1.1 session with clean session off.
const NeverExpires = time.Duration(1<<63 - 1)

// records orders what the store is asked for one session: once its record is
// removed, nothing that was under way brings it back.
type records struct {
	mu      sync.Mutex // leaf
	removed bool
}

func (r *records) save(to SessionStore, rec SessionRecord, done func(error)) {
	r.mu.Lock()
	removed := r.removed
	if !removed {
		to.SaveSession(rec, done)
	}
	r.mu.Unlock()
	if removed {
		done(nil)
	}
}

func (r *records) remove(from SessionStore, client string, done func(error)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.removed = true
	from.DeleteSession(client, done)
}
