package broker

import (
	"encoding/binary"
	"errors"
	"time"
)

// Stored messages: a version byte, flags, when it expires, topic, properties,
// payload. Stored options of a row: flags, subscription identifiers, and the
// filter of the shared subscription that it came through.
const messageVersion = 1

const (
	storedRetain = 1 << (iota + 2) // the two bits below are the QoS
	storedShared                   // of options; of a message: it came through a bridge
	storedExpires
	storedProperties
	storedUTF8
	storedCorrelation
)

var errBadMessage = errors.New("stored message is not readable")

// AppendMessage appends the form in which a message is stored. expires is
// when m does, on the store's scale; zero is never.
func AppendMessage(b []byte, m *Message, expires time.Time) []byte {
	flags := m.QoS
	if m.Retain {
		flags |= storedRetain
	}
	if m.bridged {
		flags |= storedShared
	}
	if !expires.IsZero() {
		flags |= storedExpires
	}
	p := m.Properties
	if p != nil {
		flags |= storedProperties
		if p.UTF8Payload {
			flags |= storedUTF8
		}
		if p.CorrelationData != nil {
			flags |= storedCorrelation
		}
	}
	b = append(b, messageVersion, flags)
	if flags&storedExpires != 0 {
		b = binary.AppendVarint(b, expires.UnixMilli())
	}
	b = appendText(b, m.Topic)
	if p != nil {
		b = appendText(appendText(b, p.ContentType), p.ResponseTopic)
		if p.CorrelationData != nil {
			b = appendText(b, p.CorrelationData)
		}
		b = binary.AppendUvarint(b, uint64(len(p.User)))
		for _, u := range p.User {
			b = appendText(appendText(b, u.Name), u.Value)
		}
	}
	return append(b, m.Payload...)
}

func appendText[T string | []byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// decodeMessage reads what AppendMessage wrote, its expiry as it was written.
// The result shares nothing with b.
func decodeMessage(b []byte) (*Message, error) {
	d := storedReader{b: b}
	if d.byte() != messageVersion {
		return nil, errBadMessage
	}
	flags := d.byte()
	m := &Message{QoS: flags & 3, Retain: flags&storedRetain != 0, bridged: flags&storedShared != 0}
	if flags&storedExpires != 0 {
		m.Expires = time.UnixMilli(d.varint())
	}
	m.Topic = string(d.text())
	if flags&storedProperties != 0 {
		p := &Properties{UTF8Payload: flags&storedUTF8 != 0, ContentType: string(d.text()), ResponseTopic: string(d.text())}
		if flags&storedCorrelation != 0 {
			p.CorrelationData = append([]byte{}, d.text()...)
		}
		for n := d.uvarint(); n > 0 && !d.bad; n-- {
			p.User = append(p.User, UserProperty{Name: string(d.text()), Value: string(d.text())})
		}
		m.Properties = p
	}
	if d.bad || m.Topic == "" || m.QoS > 2 {
		return nil, errBadMessage
	}
	m.Payload = append([]byte(nil), d.b...)
	return m, nil
}

// AppendOptions appends how the session gets the message.
func (row *Row) AppendOptions(b []byte) []byte {
	flags := row.q.qos
	if row.q.retain {
		flags |= storedRetain
	}
	if row.q.group != nil {
		flags |= storedShared
	}
	b = append(b, flags)
	n := len(row.q.subIDs)
	if row.q.subID > 0 {
		n++
	}
	b = binary.AppendUvarint(b, uint64(n))
	if row.q.subID > 0 {
		b = binary.AppendUvarint(b, uint64(row.q.subID))
	}
	for _, id := range row.q.subIDs {
		b = binary.AppendUvarint(b, uint64(id))
	}
	if row.q.group != nil {
		b = append(b, row.q.group.filter...)
	}
	return b
}

// decodeOptions reads what AppendOptions wrote; share is the filter of a
// shared subscription, or empty.
func decodeOptions(b []byte) (q queued, share string, err error) {
	d := storedReader{b: b}
	flags := d.byte()
	q.qos, q.retain = flags&3, flags&storedRetain != 0
	for n := d.uvarint(); n > 0 && !d.bad; n-- {
		if id := int(d.uvarint()); q.subID == 0 {
			q.subID = id
		} else {
			q.subIDs = append(q.subIDs, id)
		}
	}
	if flags&storedShared != 0 {
		share = string(d.b)
	}
	if d.bad || q.qos < 1 || q.qos > 2 {
		return queued{}, "", errBadMessage
	}
	return q, share, nil
}

// storedReader reads from b; bad is set once that ended too early.
type storedReader struct {
	b   []byte
	bad bool
}

func (d *storedReader) fail() { d.bad, d.b = true, nil }

func (d *storedReader) byte() byte {
	if len(d.b) == 0 {
		d.fail()
		return 0
	}
	c := d.b[0]
	d.b = d.b[1:]
	return c
}

func (d *storedReader) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *storedReader) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *storedReader) text() []byte {
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		d.fail()
		return nil
	}
	s := d.b[:n]
	d.b = d.b[n:]
	return s
}
