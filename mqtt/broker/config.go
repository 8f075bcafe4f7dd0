package broker

import (
	"errors"
	"fmt"
	"time"

	"github.com/headgate-io/headgate/mqtt/topic"
)

// Config holds the broker's limits. Start from DefaultConfig: the zero value
// is not valid. Sizes are in bytes.
type Config struct {
	// ConnectTimeout is how long a client may take from its connection to its
	// complete CONNECT, and to the end of its authentication.
	ConnectTimeout time.Duration
	// MaxConnectPacket bounds the CONNECT packet; MaxPacket every later one.
	MaxConnectPacket int
	MaxPacket        int
	// Topics bounds names and filters.
	Topics topic.Limits
	// MaxClientID bounds the length of a client identifier.
	MaxClientID int

	// MaxConnections bounds all connections, also those without a CONNECT
	// yet; MaxConnectionsPerAddress those from one IP address.
	MaxConnections           int
	MaxConnectionsPerAddress int
	// MaxSessions bounds sessions, connected or not. A new client beyond it
	// displaces, of the user who has most, the session that has been offline
	// longest.
	MaxSessions int
	// MaxSubscriptions bounds the subscriptions of one session.
	MaxSubscriptions int
	// MaxSessionExpiry caps the session expiry interval that clients ask for,
	// and is that of 3.1.1 sessions without clean session.
	MaxSessionExpiry time.Duration
	// MaxKeepAlive caps the keep alive; a longer one (or none) is overridden
	// for MQTT 5 clients [MQTT5 3.2.2.3.14]. Zero leaves it to the client.
	MaxKeepAlive time.Duration
	// AuthConcurrency is how many Authenticate calls may run at once.
	AuthConcurrency int

	// RefusalDelay is how long after the question the answer to wrong
	// credentials comes, whatever was wrong with them.
	RefusalDelay time.Duration

	// ReceiveMaximum is how many QoS 1 and 2 messages of one client may be
	// unacknowledged.
	ReceiveMaximum uint16
	// TopicAliasMaximum is how many topic aliases there may be per connection
	// and direction.
	TopicAliasMaximum uint16
	// MaxPendingMessages and MaxPendingBytes bound what one client has
	// published and the handler has not released; beyond them the client's
	// connection is not read. MaxPendingBytesTotal bounds all clients
	// together; beyond it messages are refused.
	MaxPendingMessages   int
	MaxPendingBytes      int
	MaxPendingBytesTotal int
	// PublishRate is how many messages per second one client may publish; a
	// faster one is read more slowly. Zero is no limit.
	PublishRate int
	// A 3.1.1 client cannot be told that a message was refused. After
	// RefusedLimit refusals, or RefusedTimeout after the first, its connection
	// is closed so that it retries.
	RefusedLimit   int
	RefusedTimeout time.Duration

	// MaxInflight bounds the unacknowledged messages to one client, below its
	// own receive maximum.
	MaxInflight int
	// MaxOutBuffer bounds the encoded bytes that wait for one client's socket.
	// What does not fit waits in its queue.
	MaxOutBuffer int
	// MaxQueuedMessages and MaxQueuedBytes bound one session's queue,
	// MaxQueuedBytesTotal all of them, where a message of several sessions counts
	// once. What overflows is dropped, oldest first; beyond the total only
	// sessions that keep more than an equal share drop.
	MaxQueuedMessages   int
	MaxQueuedBytes      int
	MaxQueuedBytesTotal int
	// MaxBufferedBytesTotal bounds what all connections together hold of packets
	// that are not complete, and of bytes that their sockets have not taken.
	// Beyond it connections have less room, and the one that is stuck with most
	// of it is closed.
	MaxBufferedBytesTotal int
	// WriteTimeout is how long a socket may take nothing before it is closed.
	WriteTimeout time.Duration

	// MaxRetainedMessages and MaxRetainedBytes bound the retained messages.
	// What overflows is dropped, oldest first.
	MaxRetainedMessages int
	MaxRetainedBytes    int

	// StoreTimeout is how long CONNACK and SUBACK wait for the session store.
	StoreTimeout time.Duration
	// SysInterval is how often $SYS topics are published; zero is never.
	SysInterval time.Duration
}

// DefaultConfig suits a board with 512 MiB and a few hundred devices.
func DefaultConfig() Config {
	return Config{
		ConnectTimeout:           5 * time.Second,
		MaxConnectPacket:         16 << 10,
		MaxPacket:                256 << 10,
		Topics:                   topic.DefaultLimits,
		MaxClientID:              256,
		MaxConnections:           4096,
		MaxConnectionsPerAddress: 1024,
		MaxSessions:              8192,
		MaxSubscriptions:         256,
		MaxSessionExpiry:         30 * 24 * time.Hour,
		AuthConcurrency:          16,
		RefusalDelay:             time.Second,
		ReceiveMaximum:           256,
		TopicAliasMaximum:        32,
		MaxPendingMessages:       1024,
		MaxPendingBytes:          1 << 20,
		MaxPendingBytesTotal:     16 << 20,
		PublishRate:              50000,
		RefusedLimit:             32,
		RefusedTimeout:           10 * time.Second,
		MaxInflight:              256,
		MaxOutBuffer:             128 << 10,
		MaxQueuedMessages:        1000,
		MaxQueuedBytes:           1 << 20,
		MaxQueuedBytesTotal:      32 << 20,
		MaxBufferedBytesTotal:    64 << 20,
		WriteTimeout:             20 * time.Second,
		MaxRetainedMessages:      10000,
		MaxRetainedBytes:         16 << 20,
		StoreTimeout:             30 * time.Second,
		SysInterval:              30 * time.Second,
	}
}

// Validate reports every fault at once, each with its field.
func (c *Config) Validate() error {
	var faults []error
	positive := func(field string, ok bool, v any) {
		if !ok {
			faults = append(faults, fmt.Errorf("%s: %v is not a positive value", field, v))
		}
	}
	for _, f := range [...]struct {
		name  string
		value int
	}{
		{"max_connect_packet", c.MaxConnectPacket},
		{"max_packet", c.MaxPacket},
		{"topics.levels", c.Topics.Levels},
		{"topics.length", c.Topics.Length},
		{"max_client_id", c.MaxClientID},
		{"max_connections", c.MaxConnections},
		{"max_connections_per_address", c.MaxConnectionsPerAddress},
		{"max_sessions", c.MaxSessions},
		{"max_subscriptions", c.MaxSubscriptions},
		{"auth_concurrency", c.AuthConcurrency},
		{"receive_maximum", int(c.ReceiveMaximum)},
		{"max_pending_messages", c.MaxPendingMessages},
		{"max_pending_bytes", c.MaxPendingBytes},
		{"max_pending_bytes_total", c.MaxPendingBytesTotal},
		{"refused_limit", c.RefusedLimit},
		{"max_inflight", c.MaxInflight},
		{"max_out_buffer", c.MaxOutBuffer},
		{"max_queued_messages", c.MaxQueuedMessages},
		{"max_queued_bytes", c.MaxQueuedBytes},
		{"max_queued_bytes_total", c.MaxQueuedBytesTotal},
		{"max_buffered_bytes_total", c.MaxBufferedBytesTotal},
		{"max_retained_messages", c.MaxRetainedMessages},
		{"max_retained_bytes", c.MaxRetainedBytes},
	} {
		positive(f.name, f.value > 0, f.value)
	}
	for _, f := range [...]struct {
		name  string
		value time.Duration
	}{
		{"connect_timeout", c.ConnectTimeout},
		{"max_session_expiry", c.MaxSessionExpiry},
		{"refused_timeout", c.RefusedTimeout},
		{"write_timeout", c.WriteTimeout},
		{"store_timeout", c.StoreTimeout},
	} {
		positive(f.name, f.value > 0, f.value)
	}
	if c.PublishRate < 0 || c.SysInterval < 0 || c.MaxKeepAlive < 0 || c.RefusalDelay < 0 {
		faults = append(faults, errors.New("publish_rate, sys_interval, max_keep_alive, refusal_delay: zero or more"))
	}
	if c.MaxPacket > maxRemaining {
		faults = append(faults, fmt.Errorf("max_packet: %d is above MQTT's own limit of %d", c.MaxPacket, maxRemaining))
	}
	if c.MaxKeepAlive > 0xFFFF*time.Second {
		faults = append(faults, fmt.Errorf("max_keep_alive: %s is above MQTT's own limit of 65535s", c.MaxKeepAlive))
	}
	if c.MaxInflight > 0x4000 {
		faults = append(faults, fmt.Errorf("max_inflight: %d, at most %d", c.MaxInflight, 0x4000))
	}
	return errors.Join(faults...)
}
