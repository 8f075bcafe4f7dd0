package broker

import (
	"sync/atomic"
	"time"
)

// Stats are the broker's counters since its start, and its gauges now.
type Stats struct {
	// Uptime is the time since New.
	Uptime time.Duration

	// Gauges.
	Connections      int
	Sessions         int
	Subscriptions    int
	RetainedMessages int
	RetainedBytes    int
	// QueuedMessages and QueuedBytes wait for subscribers, in flight included.
	QueuedMessages int64
	QueuedBytes    int64
	// PendingBytes are published and not yet released by the handler.
	PendingBytes int64
	// BufferedBytes are held by connections, reading and writing.
	BufferedBytes int64

	// Traffic. Messages are PUBLISH packets, bytes are all bytes.
	ConnectionsAccepted uint64
	MessagesReceived    uint64
	MessagesSent        uint64
	BytesReceived       uint64
	BytesSent           uint64

	// What was refused.
	RefusedConnections uint64 // MaxConnections, MaxConnectionsPerAddress
	RefusedSessions    uint64 // MaxSessions
	ConnectTimeouts    uint64 // no CONNECT in time
	BadConnects        uint64 // a first packet that is not a valid CONNECT
	BadCredentials     uint64
	ThrottledConnects  uint64 // too many failures before: not checked
	TLSFailures        uint64 // handshakes
	DeniedConnects     uint64 // a client id or will that is not the user's
	DeniedPublishes    uint64 // ACL
	DeniedSubscribes   uint64 // ACL
	ProtocolErrors     uint64 // connections closed for what they sent
	PacketsTooLarge    uint64
	AcceptErrors       uint64

	// What the handler or the session store did.
	RefusedMessages uint64 // released with a failure
	Duplicates      uint64 // recognised and not processed again
	StoreErrors     uint64
	DamagedMessages uint64 // stored rows that could not be read

	// What bounds did.
	Takeovers            uint64
	SessionsExpired      uint64
	SessionsDisplaced    uint64 // MaxSessions
	PendingStalls        uint64 // MaxPendingMessages, MaxPendingBytes: reading paused
	PendingRefused       uint64 // MaxPendingBytesTotal
	RateStalls           uint64 // PublishRate: reading paused
	SlowClients          uint64 // closed: WriteTimeout or a full buffer
	ShedConnections      uint64 // MaxBufferedBytesTotal: closed
	KeepAliveTimeouts    uint64
	RefusedSubscriptions uint64 // MaxSubscriptions

	// Messages that did not reach a subscriber.
	DroppedQueueFull  uint64 // MaxQueuedMessages, MaxQueuedBytes, MaxQueuedBytesTotal
	DroppedOffline    uint64 // QoS 0 for a client that is away
	DroppedExpired    uint64
	DroppedTooLarge   uint64 // the client's maximum packet size
	DroppedSessionEnd uint64 // queued when the session ended
	DroppedRetained   uint64 // MaxRetainedMessages, MaxRetainedBytes
}

// counters is what of Stats is counted on hot paths.
type counters struct {
	accepted, received, sent, bytesIn, bytesOut                       atomic.Uint64
	refusedConns, refusedSessions, connectTimeouts, badConnects       atomic.Uint64
	badCredentials, deniedConnects, deniedPublishes, deniedSubscribes atomic.Uint64
	protocolErrors, tooLarge, acceptErrors                            atomic.Uint64
	refusedMessages, duplicates, storeErrors                          atomic.Uint64
	takeovers, expired, displaced, pendingStalls, pendingRefused      atomic.Uint64
	rateStalls, slowClients, keepAliveTimeouts, refusedSubs           atomic.Uint64
	dropFull, dropOffline, dropExpired, dropTooLarge, dropSessionEnd  atomic.Uint64
	throttled, tlsFailures                                            atomic.Uint64
	dropRetained, shed, damaged                                       atomic.Uint64
	queuedMessages, queuedBytes, pendingBytes                         atomic.Int64
}

// Stats returns the counters now.
func (s *Server) Stats() Stats {
	c := &s.count
	retained, retainedBytes := s.retained.size()
	s.mu.Lock()
	conns, sessions := len(s.conns), len(s.sessions)
	s.mu.Unlock()
	return Stats{
		Uptime: time.Since(s.started), Connections: conns, Sessions: sessions,
		Subscriptions: int(s.subCount.Load()), RetainedMessages: retained, RetainedBytes: retainedBytes,
		QueuedMessages: c.queuedMessages.Load(), QueuedBytes: c.queuedBytes.Load(), PendingBytes: c.pendingBytes.Load(),
		BufferedBytes:       s.buffered.bytes.Load(),
		ConnectionsAccepted: c.accepted.Load(), MessagesReceived: c.received.Load(), MessagesSent: c.sent.Load(),
		BytesReceived: c.bytesIn.Load(), BytesSent: c.bytesOut.Load(),
		RefusedConnections: c.refusedConns.Load(), RefusedSessions: c.refusedSessions.Load(),
		ConnectTimeouts: c.connectTimeouts.Load(), BadConnects: c.badConnects.Load(),
		BadCredentials: c.badCredentials.Load(), ThrottledConnects: c.throttled.Load(), TLSFailures: c.tlsFailures.Load(), DeniedConnects: c.deniedConnects.Load(),
		DeniedPublishes: c.deniedPublishes.Load(), DeniedSubscribes: c.deniedSubscribes.Load(),
		ProtocolErrors: c.protocolErrors.Load(), PacketsTooLarge: c.tooLarge.Load(), AcceptErrors: c.acceptErrors.Load(),
		RefusedMessages: c.refusedMessages.Load(), Duplicates: c.duplicates.Load(), StoreErrors: c.storeErrors.Load(), DamagedMessages: c.damaged.Load(),
		Takeovers: c.takeovers.Load(), SessionsExpired: c.expired.Load(), SessionsDisplaced: c.displaced.Load(),
		PendingStalls: c.pendingStalls.Load(), PendingRefused: c.pendingRefused.Load(), RateStalls: c.rateStalls.Load(),
		SlowClients: c.slowClients.Load(), ShedConnections: c.shed.Load(), KeepAliveTimeouts: c.keepAliveTimeouts.Load(),
		RefusedSubscriptions: c.refusedSubs.Load(),
		DroppedQueueFull:     c.dropFull.Load(), DroppedOffline: c.dropOffline.Load(), DroppedExpired: c.dropExpired.Load(),
		DroppedTooLarge: c.dropTooLarge.Load(), DroppedSessionEnd: c.dropSessionEnd.Load(), DroppedRetained: c.dropRetained.Load(),
	}
}
