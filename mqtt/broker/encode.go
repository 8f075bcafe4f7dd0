package broker

import (
	"bytes"
	"encoding/binary"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// maxRemaining is the largest remaining length [MQTT5 2.1.4].
const maxRemaining = 268435455

// delivery is one PUBLISH on its way to one client.
type delivery struct {
	msg    *Message
	qos    byte
	dup    bool
	retain bool
	id     uint16
	subID  int   // first subscription identifier, 0 for none
	subIDs []int // further ones
}

// appendPublishHeader appends a PUBLISH up to its payload. PUBLISH is encoded
// by hand: it is the one packet of the hot path, mochi's encoder allocates four
// buffers for it, and drops the response topic of a forwarded message. alias is
// 0 for none; name is empty when the alias stands for it.
func appendPublishHeader(dst []byte, d *delivery, version byte, name string, alias uint16, now time.Time) []byte {
	m := d.msg
	flags := packets.Publish<<4 | d.qos<<1
	if d.dup {
		flags |= 8
	}
	if d.retain {
		flags |= 1
	}
	remaining := 2 + len(name) + len(m.Payload)
	if d.qos > 0 {
		remaining += 2
	}
	var props int
	if version == 5 {
		props = publishPropertiesLen(d, alias)
		remaining += varintLen(props) + props
	}
	dst = append(dst, flags)
	dst = appendVarint(dst, remaining)
	dst = appendString(dst, name)
	if d.qos > 0 {
		dst = binary.BigEndian.AppendUint16(dst, d.id)
	}
	if version == 5 {
		dst = appendVarint(dst, props)
		if props > 0 {
			dst = appendPublishProperties(dst, d, alias, now)
		}
	}
	return dst
}

func publishPropertiesLen(d *delivery, alias uint16) int {
	n := 0
	if alias > 0 {
		n += 3
	}
	if !d.msg.Expires.IsZero() {
		n += 5
	}
	if d.subID > 0 {
		n += 1 + varintLen(d.subID)
	}
	for _, id := range d.subIDs {
		n += 1 + varintLen(id)
	}
	p := d.msg.Properties
	if p == nil {
		return n
	}
	if p.UTF8Payload {
		n += 2
	}
	if p.ContentType != "" {
		n += 3 + len(p.ContentType)
	}
	if p.ResponseTopic != "" {
		n += 3 + len(p.ResponseTopic)
	}
	if p.CorrelationData != nil {
		n += 3 + len(p.CorrelationData)
	}
	for _, u := range p.User {
		n += 5 + len(u.Name) + len(u.Value)
	}
	return n
}

func appendPublishProperties(dst []byte, d *delivery, alias uint16, now time.Time) []byte {
	if alias > 0 {
		dst = append(dst, packets.PropTopicAlias)
		dst = binary.BigEndian.AppendUint16(dst, alias)
	}
	if !d.msg.Expires.IsZero() { // [MQTT-3.3.2-6]
		dst = append(dst, packets.PropMessageExpiryInterval)
		dst = binary.BigEndian.AppendUint32(dst, remainingSeconds(d.msg.Expires, now))
	}
	if d.subID > 0 {
		dst = appendVarint(append(dst, packets.PropSubscriptionIdentifier), d.subID)
	}
	for _, id := range d.subIDs {
		dst = appendVarint(append(dst, packets.PropSubscriptionIdentifier), id)
	}
	p := d.msg.Properties
	if p == nil {
		return dst
	}
	if p.UTF8Payload {
		dst = append(dst, packets.PropPayloadFormat, 1)
	}
	if p.ContentType != "" {
		dst = appendString(append(dst, packets.PropContentType), p.ContentType)
	}
	if p.ResponseTopic != "" {
		dst = appendString(append(dst, packets.PropResponseTopic), p.ResponseTopic)
	}
	if p.CorrelationData != nil {
		dst = appendString(append(dst, packets.PropCorrelationData), p.CorrelationData)
	}
	for _, u := range p.User { // [MQTT-3.3.2-18]
		dst = appendString(append(dst, packets.PropUser), u.Name)
		dst = appendString(dst, u.Value)
	}
	return dst
}

// remainingSeconds rounds up, and is at least 1: what is sent at all had not
// expired when its delivery began.
func remainingSeconds(expires, now time.Time) uint32 {
	left := (expires.Sub(now) + time.Second - 1) / time.Second
	return uint32(max(1, min(left, 0xFFFFFFFF)))
}

func appendVarint(dst []byte, n int) []byte {
	for n >= 128 {
		dst = append(dst, byte(n)|0x80)
		n >>= 7
	}
	return append(dst, byte(n))
}

func varintLen(n int) int {
	switch {
	case n < 1<<7:
		return 1
	case n < 1<<14:
		return 2
	case n < 1<<21:
		return 3
	}
	return 4
}

func appendString[T string | []byte](dst []byte, s T) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(s)))
	return append(dst, s...)
}

// appendAck appends PUBACK, PUBREC, PUBREL or PUBCOMP. With version 5 a
// failure's code follows; success may be left out [MQTT5 3.4.2.1].
func appendAck(dst []byte, version, kind byte, id uint16, code ReasonCode) []byte {
	flags := kind << 4
	if kind == packets.Pubrel {
		flags |= 2 // [MQTT-3.6.1-1]
	}
	if version == 5 && code != Success {
		return append(dst, flags, 3, byte(id>>8), byte(id), byte(code))
	}
	return append(dst, flags, 2, byte(id>>8), byte(id))
}

// encode encodes the packets that are not on the hot path with mochi.
func encode(pk *packets.Packet) ([]byte, error) {
	var buf bytes.Buffer
	var err error
	switch pk.FixedHeader.Type {
	case packets.Connack:
		err = pk.ConnackEncode(&buf)
	case packets.Suback:
		err = pk.SubackEncode(&buf)
	case packets.Unsuback:
		err = pk.UnsubackEncode(&buf)
	case packets.Disconnect:
		err = pk.DisconnectEncode(&buf)
	default:
		err = packets.ErrNoValidPacketAvailable
	}
	return buf.Bytes(), err
}
