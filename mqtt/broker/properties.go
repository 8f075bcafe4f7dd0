package broker

import (
	"fmt"

	"github.com/mochi-mqtt/server/v2/packets"
)

type propertyKind byte

const (
	propUnknown propertyKind = iota
	propBool                 // one byte, 0 or 1
	prop16
	prop32
	propVarint
	propString // or binary data
	propPair
)

// propertyKinds are the types of [MQTT5 2.2.2.2] that clients may send. Which
// packet may carry which is mochi's to check.
var propertyKinds = [...]propertyKind{
	packets.PropPayloadFormat:          propBool,
	packets.PropMessageExpiryInterval:  prop32,
	packets.PropContentType:            propString,
	packets.PropResponseTopic:          propString,
	packets.PropCorrelationData:        propString,
	packets.PropSubscriptionIdentifier: propVarint,
	packets.PropSessionExpiryInterval:  prop32,
	packets.PropAuthenticationMethod:   propString,
	packets.PropAuthenticationData:     propString,
	packets.PropRequestProblemInfo:     propBool,
	packets.PropWillDelayInterval:      prop32,
	packets.PropRequestResponseInfo:    propBool,
	packets.PropServerReference:        propString,
	packets.PropReasonString:           propString,
	packets.PropReceiveMaximum:         prop16,
	packets.PropTopicAliasMaximum:      prop16,
	packets.PropTopicAlias:             prop16,
	packets.PropUser:                   propPair,
	packets.PropMaximumPacketSize:      prop32,
}

// checkProperties walks the property section that begins at at and returns the
// place behind it and the set of properties in it. It refuses what mochi's
// decoder accepts: a section whose last property runs past its end, length
// integers of more than four bytes, properties that appear twice, and zeros
// where the specification forbids them.
func checkProperties(b []byte, at int) (end int, present uint64, err error) {
	length, at, ok := varint(b, at)
	if !ok || length > len(b)-at {
		return 0, 0, malformed("property length out of range")
	}
	end = at + length
	section := b[:end]
	for at < end {
		id := section[at]
		if int(id) >= len(propertyKinds) || propertyKinds[id] == propUnknown {
			return 0, 0, malformed(fmt.Sprintf("property %d is unknown", id))
		}
		bit := uint64(1) << id
		if present&bit != 0 && id != packets.PropUser {
			return 0, 0, violation(fmt.Sprintf("property %d appears twice", id))
		}
		present |= bit
		value := at + 1
		if at = skipProperty(propertyKinds[id], section, value); at == 0 {
			return 0, 0, malformed(fmt.Sprintf("property %d is cut short", id))
		}
		if err := checkValue(id, section[value:at]); err != nil {
			return 0, 0, err
		}
	}
	return end, present, nil
}

// skipProperty returns the place behind the value at at, 0 when it is cut short.
func skipProperty(kind propertyKind, b []byte, at int) int {
	switch kind {
	case propBool:
		at++
	case prop16:
		at += 2
	case prop32:
		at += 4
	case propVarint:
		_, next, ok := varint(b, at)
		if !ok {
			return 0
		}
		at = next
	case propPair:
		if at = skipString(b, at); at == 0 {
			return 0
		}
		return skipString(b, at)
	default:
		return skipString(b, at)
	}
	if at > len(b) {
		return 0
	}
	return at
}

func checkValue(id byte, value []byte) error {
	zero := true
	for _, v := range value {
		zero = zero && v == 0
	}
	switch id {
	case packets.PropPayloadFormat, packets.PropRequestProblemInfo, packets.PropRequestResponseInfo:
		if value[0] > 1 {
			return violation(fmt.Sprintf("property %d is neither 0 nor 1", id))
		}
	case packets.PropReceiveMaximum, packets.PropMaximumPacketSize, packets.PropSubscriptionIdentifier:
		if zero { // [MQTT5 3.1.2.11.3], [MQTT5 3.1.2.11.4], [MQTT5 3.8.2.1.2]
			return violation(fmt.Sprintf("property %d is 0", id))
		}
	case packets.PropTopicAlias:
		if zero { // [MQTT-3.3.2-8]
			return &wireError{TopicAliasInvalid, "topic alias 0"}
		}
	}
	return nil
}

// varint decodes a variable byte integer [MQTT5 1.5.5].
func varint(b []byte, at int) (n, next int, ok bool) {
	for shift := 0; shift < 28; shift += 7 {
		if at < 0 || at >= len(b) {
			return 0, 0, false
		}
		c := b[at]
		at++
		n |= int(c&0x7F) << shift
		if c < 0x80 {
			return n, at, true
		}
	}
	return 0, 0, false
}

// clientMaximums are what a CONNECT says about what the client takes.
type clientMaximums struct {
	receive uint16 // unacknowledged messages
	packet  int    // bytes of one packet
	aliases uint16
}

func maximumsOf(p *packets.Properties, version byte) clientMaximums {
	m := clientMaximums{receive: 0xFFFF, packet: maxRemaining + 5}
	if version != 5 {
		return m
	}
	if p.ReceiveMaximum > 0 {
		m.receive = p.ReceiveMaximum
	}
	if p.MaximumPacketSize > 0 && p.MaximumPacketSize < uint32(m.packet) {
		m.packet = int(p.MaximumPacketSize)
	}
	m.aliases = p.TopicAliasMaximum
	return m
}
