package wire

import (
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"

	"github.com/headgate-io/headgate/sync/usage"
)

// MaxMessage bounds a message, in bytes.
const MaxMessage = usage.MaxDataBytes + 4096

// kind says which message an envelope holds. Numbers are for ever.
type kind uint8

const (
	kindHello  kind = 1
	kindUsage  kind = 2
	kindHealth kind = 3

	kindReported  kind = 4
	kindAnswer    kind = 5
	kindTelemetry kind = 6

	kindWelcome kind = 16
	kindAck     kind = 17
	kindDesired kind = 18
	kindAsk     kind = 19
	kindTaken   kind = 20
)

// version1 is the only version of every message so far.
const version1 = 1

type envelope struct {
	Version uint64          `cbor:"1,keyasint"`
	Kind    kind            `cbor:"2,keyasint"`
	Body    cbor.RawMessage `cbor:"3,keyasint"`
}

var (
	// ErrVersion is a message of a version that this program does not know: the
	// other side is newer.
	ErrVersion = errors.New("message of an unknown version")
	// ErrKind is a message of a kind that this program does not know.
	ErrKind = errors.New("message of an unknown kind")

	errLink = errors.New("a link has 32 bytes")
)

// Codec writes and reads messages. It is safe for concurrent use.
type Codec struct {
	enc cbor.EncMode
	dec cbor.DecMode
}

// NewCodec makes a codec.
func NewCodec() (*Codec, error) {
	enc, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		return nil, err
	}
	dec, err := cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden,
		MaxNestedLevels: 8, MaxArrayElements: 4096, MaxMapPairs: 256, UTF8: cbor.UTF8RejectInvalid,
	}.DecMode()
	return &Codec{enc, dec}, err
}

func kindOf(message any) (kind, error) {
	switch message.(type) {
	case *Hello:
		return kindHello, nil
	case *Usage:
		return kindUsage, nil
	case *Health:
		return kindHealth, nil
	case *Welcome:
		return kindWelcome, nil
	case *Ack:
		return kindAck, nil
	case *Reported:
		return kindReported, nil
	case *Answer:
		return kindAnswer, nil
	case *Telemetry:
		return kindTelemetry, nil
	case *Desired:
		return kindDesired, nil
	case *Ask:
		return kindAsk, nil
	case *Taken:
		return kindTaken, nil
	}
	return 0, fmt.Errorf("%T is no message", message)
}

func newMessage(k kind) any {
	switch k {
	case kindHello:
		return new(Hello)
	case kindUsage:
		return new(Usage)
	case kindHealth:
		return new(Health)
	case kindWelcome:
		return new(Welcome)
	case kindAck:
		return new(Ack)
	case kindReported:
		return new(Reported)
	case kindAnswer:
		return new(Answer)
	case kindTelemetry:
		return new(Telemetry)
	case kindDesired:
		return new(Desired)
	case kindAsk:
		return new(Ask)
	case kindTaken:
		return new(Taken)
	}
	return nil
}

// Encode writes a message: a pointer to one of this package's.
func (c *Codec) Encode(message any) ([]byte, error) {
	k, err := kindOf(message)
	if err != nil {
		return nil, err
	}
	body, err := c.enc.Marshal(message)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", message, err)
	}
	b, err := c.enc.Marshal(&envelope{version1, k, body})
	if err == nil && len(b) > MaxMessage {
		err = fmt.Errorf("encode %T: %d bytes, %d at most", message, len(b), MaxMessage)
	}
	return b, err
}

// Decode reads a message: a pointer to one of this package's.
func (c *Codec) Decode(b []byte) (any, error) {
	if len(b) > MaxMessage {
		return nil, fmt.Errorf("message of %d bytes, %d at most", len(b), MaxMessage)
	}
	var e envelope
	if err := c.dec.Unmarshal(b, &e); err != nil {
		return nil, fmt.Errorf("decode message: %w", err)
	}
	m := newMessage(e.Kind)
	if m == nil {
		return nil, fmt.Errorf("%w: %d", ErrKind, e.Kind)
	}
	if e.Version != version1 {
		return nil, fmt.Errorf("%w: %d of kind %d", ErrVersion, e.Version, e.Kind)
	}
	if err := c.dec.Unmarshal(e.Body, m); err != nil {
		return nil, fmt.Errorf("decode %T: %w", m, err)
	}
	return m, nil
}
