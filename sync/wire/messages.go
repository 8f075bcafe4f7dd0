package wire

import (
	"strings"

	"github.com/headgate-io/headgate/sync/usage"
)

// Topics of protocol version 1.
const (
	topicPrefix = "headgate/1/"
	upSuffix    = "/up"
	downSuffix  = "/down"
	// AllUp is what a controller subscribes to, as one of several replicas.
	AllUp = "$share/controller/" + topicPrefix + "+" + upSuffix
)

// UpTopic is where a gateway speaks.
func UpTopic(gateway string) string { return topicPrefix + gateway + upSuffix }

// DownTopic is where a gateway listens.
func DownTopic(gateway string) string { return topicPrefix + gateway + downSuffix }

// Speaker returns the gateway that a message on an UpTopic is from.
func Speaker(topic string) (gateway string, ok bool) {
	rest, ok := strings.CutPrefix(topic, topicPrefix)
	if !ok {
		return "", false
	}
	gateway, ok = strings.CutSuffix(rest, upSuffix)
	return gateway, ok && gateway != "" && !strings.ContainsAny(gateway, "/+#")
}

// Stream names a run of numbered batches; whose it is the topic says.
type Stream struct {
	Hardware string `cbor:"1,keyasint"`
	Epoch    uint64 `cbor:"2,keyasint"`
}

// Held is what a gateway still has of a stream.
type Held struct {
	Stream
	// First is the oldest number that it has, Next the one it will give next;
	// they are equal when nothing waits.
	First uint64 `cbor:"3,keyasint"`
	Next  uint64 `cbor:"4,keyasint"`
}

// Hello is the first message of a gateway on every connection.
type Hello struct {
	Streams []Held `cbor:"1,keyasint"`
	// Version and Arch are those of the gateway's binary.
	Version string `cbor:"2,keyasint"`
	Arch    string `cbor:"3,keyasint"`
	// Time is the gateway's, in microseconds since 1970, Trust how far it can be
	// relied on: 0 unknown, 1 estimated, 2 synchronised.
	Time  int64 `cbor:"4,keyasint"`
	Trust int   `cbor:"5,keyasint"`
	// Session tells this connection's answers from those of an earlier one.
	Session uint64 `cbor:"6,keyasint"`
	// Revision is the desired state that the gateway follows; 0 is none.
	Revision uint64 `cbor:"7,keyasint,omitempty"`
}

// Mark says that the controller has all batches of a stream up to a number.
type Mark struct {
	Stream
	UpTo uint64 `cbor:"3,keyasint"`
}

// Welcome answers a Hello.
type Welcome struct {
	Marks []Mark `cbor:"1,keyasint"`
	// Time is the controller's, in microseconds since 1970.
	Time    int64  `cbor:"2,keyasint"`
	Session uint64 `cbor:"3,keyasint"`
}

// Usage is one batch.
type Usage struct {
	Stream
	Seq       uint64 `cbor:"3,keyasint"`
	Prev      []byte `cbor:"4,keyasint"`
	Link      []byte `cbor:"5,keyasint"`
	Data      []byte `cbor:"6,keyasint"`
	Signature []byte `cbor:"7,keyasint"`
}

// Ack follows the commit of a batch in the controller.
type Ack struct {
	Marks []Mark `cbor:"1,keyasint"`
	// Refused are batches that the controller can do nothing with; the gateway
	// keeps them and says so.
	Refused []Refusal `cbor:"2,keyasint,omitempty"`
}

// Refusal says why a batch was not taken.
type Refusal struct {
	Stream
	Seq    uint64 `cbor:"3,keyasint"`
	Reason string `cbor:"4,keyasint"`
}

// Health is how a gateway is, sent now and then. The newest counts.
type Health struct {
	Time        int64  `cbor:"1,keyasint" json:"time_us"`
	Uptime      int64  `cbor:"2,keyasint" json:"uptime_s"` // seconds
	MemoryBytes uint64 `cbor:"3,keyasint" json:"memory_bytes"`
	DiskFree    int64  `cbor:"4,keyasint" json:"disk_free_bytes"`
	QueueRows   int64  `cbor:"5,keyasint" json:"queue_rows"`
	DeadLetters int64  `cbor:"6,keyasint" json:"dead_letters"`
	// Waiting and WaitingBytes are batches of usage that are not acknowledged.
	Waiting      int64 `cbor:"7,keyasint" json:"waiting_batches"`
	WaitingBytes int64 `cbor:"8,keyasint" json:"waiting_bytes"`
	Functions    int   `cbor:"9,keyasint" json:"functions"`
	// BytesToday is about what the uplink has cost today, in IP bytes.
	BytesToday uint64 `cbor:"10,keyasint" json:"link_bytes_today"`
}

// Batch is the batch that a Usage of a gateway carries.
func (u *Usage) Batch(gateway string) (*usage.Batch, error) {
	b := &usage.Batch{Stream: u.Stream.Of(gateway), Seq: u.Seq, Data: u.Data, Signature: u.Signature}
	if copy(b.Prev[:], u.Prev) != len(u.Prev) || copy(b.Link[:], u.Link) != len(u.Link) || len(u.Prev) != len(u.Link) || len(u.Link) != len(b.Link) {
		return nil, errLink
	}
	return b, nil
}

// Of is the stream with the gateway that it is from.
func (s Stream) Of(gateway string) usage.Stream {
	return usage.Stream{Gateway: gateway, Hardware: s.Hardware, Epoch: s.Epoch}
}

// StreamOf leaves out whose stream it is.
func StreamOf(s usage.Stream) Stream { return Stream{Hardware: s.Hardware, Epoch: s.Epoch} }

// UsageOf carries a signed batch.
func UsageOf(b *usage.Batch) *Usage {
	return &Usage{Stream: StreamOf(b.Stream), Seq: b.Seq, Prev: b.Prev[:], Link: b.Link[:], Data: b.Data, Signature: b.Signature}
}
