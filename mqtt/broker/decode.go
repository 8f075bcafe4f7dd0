package broker

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/mochi-mqtt/server/v2/packets"
)

// packet is a decoded packet and what mochi's Packet cannot say: that a message
// expiry interval was there, which makes 0 differ from none.
type packet struct {
	packets.Packet
	expires, willExpires bool
}

// decode reads one packet's body into pk with mochi's decoders. What they let
// pass or stumble over is checked first (see checkProperties, checkFilters),
// and a panic of theirs is a malformed packet. Strings and bytes in pk are
// views of body. The errors are wireErrors.
func decode(pk *packet, version, head byte, body []byte) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = malformed(fmt.Sprintf("packet type %d: the decoder gave up: %v", head>>4, r))
		}
	}()
	*pk = packet{Packet: packets.Packet{ProtocolVersion: version}}
	if err := pk.FixedHeader.Decode(head); err != nil {
		return wireErrorOf(err)
	}
	pk.FixedHeader.Remaining = len(body)
	switch pk.FixedHeader.Type {
	case packets.Connect:
		return decodeConnect(pk, body)
	case packets.Publish:
		return decodePublish(pk, body)
	case packets.Puback, packets.Pubrec, packets.Pubrel, packets.Pubcomp:
		return decodeAck(pk, body)
	case packets.Subscribe, packets.Unsubscribe:
		return decodeFilters(pk, body)
	case packets.Pingreq:
		if len(body) != 0 {
			return malformed("PINGREQ with a body")
		}
		return nil
	case packets.Disconnect:
		return decodeDisconnect(pk, body)
	case packets.Auth:
		return violation("AUTH without enhanced authentication") // [MQTT-4.12.0-6]
	}
	return violation(fmt.Sprintf("packet type %d is not for clients to send", pk.FixedHeader.Type))
}

func wireErrorOf(err error) error {
	if err == nil {
		return nil
	}
	var code packets.Code
	if errors.As(err, &code) && code.Code >= 0x80 {
		return &wireError{ReasonCode(code.Code), err.Error()}
	}
	return malformed(err.Error())
}

func decodeConnect(pk *packet, body []byte) error {
	if err := checkConnect(pk, body); err != nil {
		return err
	}
	if err := wireErrorOf(pk.ConnectDecode(body)); err != nil {
		return err
	}
	if name := pk.Connect.Username; !utf8.Valid(name) || bytes.IndexByte(name, 0) >= 0 { // [MQTT-3.1.3-12], [MQTT-1.5.4-2]
		return malformed("user name is not a UTF-8 string without U+0000")
	}
	return nil
}

// checkConnect walks the fields that the flags of a CONNECT announce, and
// nothing may follow them: what has no flag must not be there [MQTT-3.1.2-16],
// [MQTT-3.1.2-18], which mochi's decoder does not see.
func checkConnect(pk *packet, body []byte) error {
	at := skipString(body, 0) // the protocol name
	if at == 0 || len(body) < at+4 {
		return malformed("CONNECT cut short")
	}
	version, flags := body[at], body[at+1]
	at += 4 // level, flags, keep alive
	properties := func() (present uint64, err error) {
		if version == 5 {
			at, present, err = checkProperties(body, at)
		}
		return present, err
	}
	if _, err := properties(); err != nil {
		return err
	}
	at = skipString(body, at) // the client id
	if flags&4 != 0 && at > 0 {
		present, err := properties()
		if err != nil {
			return err
		}
		pk.willExpires = present&hasExpiry != 0
		at = skipField(body, skipField(body, at)) // topic and payload
	}
	for _, flag := range [...]byte{0x80, 0x40} { // user name, password
		if flags&flag != 0 {
			at = skipField(body, at)
		}
	}
	switch {
	case at == 0:
		return malformed("CONNECT cut short")
	case at < len(body):
		return malformed("CONNECT with more than its flags announce")
	}
	return nil
}

// skipField is skipString for a place that an earlier one found, or did not.
func skipField(b []byte, at int) int {
	if at == 0 {
		return 0
	}
	return skipString(b, at)
}

const hasExpiry = 1 << packets.PropMessageExpiryInterval

func decodePublish(pk *packet, body []byte) error {
	if pk.ProtocolVersion == 5 {
		at := skipString(body, 0)
		if at > 0 && pk.FixedHeader.Qos > 0 {
			at += 2
		}
		if at == 0 {
			return malformed("PUBLISH: topic name cut short")
		}
		_, present, err := checkProperties(body, at)
		if err != nil {
			return err
		}
		if present&(1<<packets.PropSubscriptionIdentifier) != 0 {
			return violation("PUBLISH with a subscription identifier") // [MQTT-3.3.4-6]
		}
		pk.expires = present&hasExpiry != 0
	}
	if err := pk.PublishDecode(body); err != nil {
		return wireErrorOf(err)
	}
	if pk.FixedHeader.Qos > 0 && pk.PacketID == 0 {
		return violation("PUBLISH with packet id 0") // [MQTT-2.2.1-3]
	}
	return nil
}

func decodeAck(pk *packet, body []byte) error {
	if pk.ProtocolVersion == 5 && len(body) > 3 {
		if _, _, err := checkProperties(body, 3); err != nil {
			return err
		}
	}
	if pk.ProtocolVersion != 5 && len(body) != 2 {
		return malformed("acknowledgement of the wrong length")
	}
	var err error
	switch pk.FixedHeader.Type {
	case packets.Puback:
		err = pk.PubackDecode(body)
	case packets.Pubrec:
		err = pk.PubrecDecode(body)
	case packets.Pubrel:
		err = pk.PubrelDecode(body)
	default:
		err = pk.PubcompDecode(body)
	}
	return wireErrorOf(err)
}

func decodeDisconnect(pk *packet, body []byte) error {
	if pk.ProtocolVersion != 5 && len(body) != 0 {
		return malformed("DISCONNECT with a body")
	}
	if len(body) > 1 {
		if _, _, err := checkProperties(body, 1); err != nil {
			return err
		}
	}
	if len(body) == 1 { // a reason code alone, which mochi skips
		pk.ReasonCode = body[0]
		return nil
	}
	return wireErrorOf(pk.DisconnectDecode(body))
}

func decodeFilters(pk *packet, body []byte) error {
	at := 2
	if pk.ProtocolVersion == 5 {
		end, _, err := checkProperties(body, at)
		if err != nil {
			return err
		}
		at = end
	}
	subscribe := pk.FixedHeader.Type == packets.Subscribe
	if err := checkFilters(body, at, subscribe, pk.ProtocolVersion); err != nil {
		return err
	}
	var err error
	if subscribe {
		err = pk.SubscribeDecode(body)
	} else {
		err = pk.UnsubscribeDecode(body)
	}
	if err != nil {
		return wireErrorOf(err)
	}
	if pk.PacketID == 0 {
		return violation("packet id 0") // [MQTT-2.2.1-3]
	}
	return nil
}

// checkFilters walks the filters of a SUBSCRIBE or UNSUBSCRIBE. mochi's decoder
// indexes past a version 5 SUBSCRIBE that ends before its last options byte,
// and drops the reserved bits of the options.
func checkFilters(body []byte, at int, options bool, version byte) error {
	if at >= len(body) {
		return violation("no topic filter") // [MQTT-3.8.3-2], [MQTT-3.10.3-2]
	}
	for at < len(body) {
		next := skipString(body, at)
		if next == 0 {
			return malformed("topic filter cut short")
		}
		at = next
		if !options {
			continue
		}
		if at >= len(body) {
			return malformed("topic filter without its options")
		}
		o := body[at]
		at++
		switch {
		case version != 5 && o > 2: // [MQTT-3-8.3-4]
			return malformed("reserved bits in the requested QoS")
		case o&0xC0 != 0: // [MQTT-3.8.3-5]
			return malformed("reserved bits in the subscription options")
		case o&3 == 3 || o&0x30 == 0x30: // [MQTT-3.8.3-4]
			return violation("subscription options out of range")
		}
	}
	return nil
}

// skipString returns the place behind the length-prefixed bytes at at, or 0
// when they are cut short.
func skipString(b []byte, at int) int {
	if at < 0 || len(b) < at+2 {
		return 0
	}
	if at += 2 + int(binary.BigEndian.Uint16(b[at:])); at > len(b) {
		return 0
	}
	return at
}

// messageOf makes the message that a decoded PUBLISH carries.
func messageOf(m *Message, pk *packet) {
	*m = Message{Topic: pk.TopicName, Payload: pk.Payload, QoS: pk.FixedHeader.Qos, Retain: pk.FixedHeader.Retain}
	if pk.ProtocolVersion == 5 {
		m.Expires, m.Properties = propertiesOf(&pk.Properties, pk.expires)
	}
}

func propertiesOf(p *packets.Properties, expires bool) (deadline time.Time, _ *Properties) {
	if expires {
		deadline = time.Now().Add(time.Duration(p.MessageExpiryInterval) * time.Second)
	}
	if p.PayloadFormat == 0 && p.ContentType == "" && p.ResponseTopic == "" && p.CorrelationData == nil && len(p.User) == 0 {
		return deadline, nil
	}
	out := &Properties{
		UTF8Payload: p.PayloadFormat == 1, ContentType: p.ContentType,
		ResponseTopic: p.ResponseTopic, CorrelationData: p.CorrelationData,
	}
	if len(p.User) > 0 {
		out.User = make([]UserProperty, len(p.User))
		for i, u := range p.User {
			out.User[i] = UserProperty{Name: u.Key, Value: u.Val}
		}
	}
	return deadline, out
}
