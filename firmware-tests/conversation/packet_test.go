package conversation

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// form is the type of a packet [MQTT5 2.1.2].
type form byte

const (
	connect form = iota + 1
	connack
	publish
	puback
	pubrec
	pubrel
	pubcomp
	subscribe
	suback
	unsubscribe
	unsuback
	pingreq
	pingresp
	disconnect
)

func (f form) String() string {
	names := [...]string{
		"0", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "SUBSCRIBE", "SUBACK", "UNSUBSCRIBE", "UNSUBACK",
		"PINGREQ", "PINGRESP", "DISCONNECT", "AUTH",
	}
	return names[f&15]
}

// packet is what a client sends or gets. The wire format here is of its own:
// the broker's cannot hide its mistakes behind it.
type packet struct {
	form    form
	id      uint16
	codes   []byte // all reason codes
	present bool   // of CONNACK
	text    string // a reason

	// Of PUBLISH.
	topic, payload string
	qos            byte
	dup, retain    bool
	life           uint32
	alias          uint16
	ids            []int

	// Of what clients send.
	name     string
	greeting greeting
	option   option
	expiry   *uint32
}

// Properties that the conversations know [MQTT5 2.2.2.2].
const (
	propLife     = 2
	propID       = 11
	propExpiry   = 17
	propReceive  = 33
	propAliases  = 34
	propAlias    = 35
	propDelay    = 24
	propText     = 31
	propAssigned = 18
	propServer   = 19
	propMaximum  = 39
)

func put16(b []byte, n uint16) []byte { return binary.BigEndian.AppendUint16(b, n) }

func put32(b []byte, n uint32) []byte { return binary.BigEndian.AppendUint32(b, n) }

func putString(b []byte, s string) []byte { return append(put16(b, uint16(len(s))), s...) }

func putLength(b []byte, n int) []byte {
	for ; n >= 128; n >>= 7 {
		b = append(b, byte(n)|128)
	}
	return append(b, byte(n))
}

// encode is the packet as a client of this version sends it.
func (pk *packet) encode(version byte) []byte {
	flags := byte(0)
	var body, props []byte
	switch pk.form {
	case connect:
		body = pk.encodeConnect()
	case publish:
		flags = pk.qos<<1 | bit(pk.dup)<<3 | bit(pk.retain)
		body = putString(body, pk.topic)
		if pk.qos > 0 {
			body = put16(body, pk.id)
		}
		if pk.life > 0 {
			props = put32(append(props, propLife), pk.life)
		}
		if pk.alias > 0 {
			props = put16(append(props, propAlias), pk.alias)
		}
		body = append(withProperties(body, props, version), pk.payload...)
	case subscribe, unsubscribe:
		flags = 2
		if pk.option.id > 0 && pk.form == subscribe {
			props = putLength(append(props, propID), pk.option.id)
		}
		body = putString(withProperties(put16(body, pk.id), props, version), pk.option.filter)
		if pk.form == subscribe {
			o := pk.option
			body = append(body, o.qos|bit(o.noLocal)<<2|bit(o.asPublish)<<3|o.handling<<4)
		}
	case disconnect:
		if pk.expiry != nil {
			props = put32(append(props, propExpiry), *pk.expiry)
		}
		if len(pk.codes) > 0 || props != nil {
			body = withProperties(append(body, append(pk.codes, 0)[0]), props, version)
		}
	default:
		if pk.form == pubrel {
			flags = 2
		}
		body = put16(body, pk.id)
	}
	return append(putLength([]byte{byte(pk.form)<<4 | flags}, len(body)), body...)
}

func bit(b bool) byte {
	if b {
		return 1
	}
	return 0
}

func withProperties(b, props []byte, version byte) []byte {
	if version != 5 {
		return b
	}
	return append(putLength(b, len(props)), props...)
}

func (pk *packet) encodeConnect() []byte {
	g := pk.greeting
	flags := bit(g.clean) << 1
	if w := g.will; w != nil {
		flags |= 4 | w.qos<<3 | bit(w.retain)<<5
	}
	body := append(putString(nil, "MQTT"), g.version, flags, 0, 0)
	var props []byte
	if g.expiry > 0 {
		props = put32(append(props, propExpiry), uint32(g.expiry/time.Second))
	}
	if g.receive > 0 {
		props = put16(append(props, propReceive), g.receive)
	}
	if g.aliases > 0 {
		props = put16(append(props, propAliases), g.aliases)
	}
	body = putString(withProperties(body, props, g.version), pk.name)
	if w := g.will; w != nil {
		props = nil
		if w.delay > 0 {
			props = put32(append(props, propDelay), uint32(w.delay/time.Second))
		}
		body = putString(putString(withProperties(body, props, g.version), w.topic), w.payload)
	}
	return body
}

var errShort = errors.New("the packet is too short")

// cutter takes a body apart. It remembers that something was missing.
type cutter struct {
	b     []byte
	short bool
}

func (c *cutter) bytes(n int) []byte {
	if n > len(c.b) {
		c.b, c.short = nil, true
		return make([]byte, n)
	}
	out := c.b[:n]
	c.b = c.b[n:]
	return out
}

func (c *cutter) byte() byte     { return c.bytes(1)[0] }
func (c *cutter) two() uint16    { return binary.BigEndian.Uint16(c.bytes(2)) }
func (c *cutter) four() uint32   { return binary.BigEndian.Uint32(c.bytes(4)) }
func (c *cutter) string() string { return string(c.bytes(int(c.two()))) }

func (c *cutter) length() (n int) {
	for shift := 0; shift < 28; shift += 7 {
		b := c.byte()
		n |= int(b&127) << shift
		if b < 128 {
			return n
		}
	}
	c.short = true
	return n
}

// readPacket reads what a broker sent.
func readPacket(in *bufio.Reader, version byte) (pk packet, err error) {
	head, err := in.ReadByte()
	if err != nil {
		return pk, err
	}
	length, shift := 0, 0
	for {
		b, err := in.ReadByte()
		if err != nil {
			return pk, err
		}
		length |= int(b&127) << shift
		if shift += 7; b < 128 {
			break
		}
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(in, body); err != nil {
		return pk, io.EOF // a connection may end within a packet
	}
	c := &cutter{b: body}
	if err := pk.decode(head, c, version); err != nil {
		return pk, fmt.Errorf("%v %#x, body %x: %w", pk.form, head, body, err)
	}
	if c.short {
		return pk, fmt.Errorf("%v, body %x: %w", pk.form, body, errShort)
	}
	return pk, nil
}

func (pk *packet) decode(head byte, c *cutter, version byte) error {
	pk.form = form(head >> 4)
	flags := head & 15
	if pk.form == publish {
		pk.dup, pk.qos, pk.retain, flags = flags&8 != 0, flags>>1&3, flags&1 != 0, 0
	}
	if pk.form == pubrel {
		flags ^= 2
	}
	if flags != 0 || pk.qos == 3 {
		return errors.New("reserved flags")
	}
	switch pk.form {
	case connack:
		pk.present = c.byte() == 1
		pk.codes = []byte{c.byte()}
		return pk.properties(c, version)
	case publish:
		if pk.topic = c.string(); pk.qos > 0 {
			pk.id = c.two()
		}
		err := pk.properties(c, version)
		pk.payload = string(c.b)
		return err
	case puback, pubrec, pubrel, pubcomp:
		pk.id, pk.codes = c.two(), []byte{0}
		return pk.reason(c, version)
	case suback, unsuback:
		pk.id = c.two()
		err := pk.properties(c, version)
		pk.codes = c.b
		return err
	case disconnect:
		pk.codes = []byte{0}
		return pk.reason(c, version)
	}
	return errors.New("brokers do not send this")
}

// reason is the optional end of an acknowledgement [MQTT5 3.4.2.1].
func (pk *packet) reason(c *cutter, version byte) error {
	if len(c.b) == 0 {
		return nil
	}
	if version != 5 {
		return errors.New("a reason code is version 5's")
	}
	if pk.codes[0] = c.byte(); len(c.b) == 0 {
		return nil
	}
	return pk.properties(c, version)
}

func (pk *packet) properties(c *cutter, version byte) error {
	if version != 5 {
		return nil
	}
	p := &cutter{b: c.bytes(c.length())}
	for len(p.b) > 0 {
		switch id := p.byte(); id {
		case propLife:
			pk.life = p.four()
		case propAlias:
			pk.alias = p.two()
		case propID:
			pk.ids = append(pk.ids, p.length())
		case propText, propAssigned:
			pk.text = p.string()
		case propExpiry, propMaximum:
			p.four()
		case propReceive, propAliases, propServer:
			p.two()
		default:
			return fmt.Errorf("property %d", id)
		}
	}
	if p.short {
		return errShort
	}
	return nil
}
