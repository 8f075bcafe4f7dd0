package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/headgate-io/headgate/event"
)

// Stored events: a version byte, then the parameters and each attribute with
// its length.
const eventFormat = 1

// Param is a named part of the topic that an event came with.
type Param struct{ Name, Value string }

const (
	flagRetained = 1
	// Then two bits of trust in the time; what older versions wrote has 0.
	trustShift = 1
	trustMask  = 3
)

var errEvent = errors.New("stored event is damaged")

// appendEvent encodes e and its parameters.
func appendEvent(b []byte, e *event.Event, params []Param) []byte {
	var flags byte
	if e.Retained {
		flags |= flagRetained
	}
	flags |= byte(e.Trust) & trustMask << trustShift
	b = append(b, eventFormat, flags)
	b = binary.AppendUvarint(b, uint64(len(params)))
	for _, p := range params {
		b = appendString(appendString(b, p.Name), p.Value)
	}
	b = binary.AppendUvarint(b, uint64(max(e.Hops, 0)))
	b = binary.AppendVarint(b, e.Time.UnixMicro())
	for _, s := range [...]string{e.ID, e.Source, e.Type, e.Subject, e.DataContentType} {
		b = appendString(b, s)
	}
	b = binary.AppendUvarint(b, uint64(len(e.Extensions)))
	for _, k := range slices.Sorted(maps.Keys(e.Extensions)) {
		b = appendString(appendString(b, k), e.Extensions[k])
	}
	return append(b, e.Data...)
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// eventSize is about the length of the encoded event.
func eventSize(e *event.Event, params []Param) int64 {
	n := len(e.ID) + len(e.Source) + len(e.Type) + len(e.Subject) + len(e.DataContentType) + len(e.Data) + 24
	for _, p := range params {
		n += len(p.Name) + len(p.Value) + 2
	}
	for k, v := range e.Extensions {
		n += len(k) + len(v) + 2
	}
	return int64(n)
}

// decodeEvent decodes what appendEvent wrote. The result shares nothing with
// b.
func decodeEvent(b []byte) (*event.Event, []Param, error) {
	d := decoder{b: b}
	if f := d.byte(); !d.bad && f != eventFormat {
		return nil, nil, fmt.Errorf("%w: format %d, this version reads %d", errEvent, f, eventFormat)
	}
	flags := d.byte()
	var params []Param
	for n := d.uvarint(); n > 0 && !d.bad; n-- {
		params = append(params, Param{d.string(), d.string()})
	}
	e := &event.Event{Retained: flags&flagRetained != 0, Trust: event.Trust(flags >> trustShift & trustMask), Hops: int(d.uvarint() & 0xffff)}
	e.Time = time.UnixMicro(d.varint())
	for _, s := range [...]*string{&e.ID, &e.Source, &e.Type, &e.Subject, &e.DataContentType} {
		*s = d.string()
	}
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		return nil, nil, errEvent
	}
	if n > 0 {
		e.Extensions = make(map[string]string, n)
		for range n {
			k := d.string()
			e.Extensions[k] = d.string()
		}
	}
	if d.bad {
		return nil, nil, errEvent
	}
	e.Data = append([]byte(nil), d.b...)
	return e, params, nil
}

// decoder reads from b; bad is set once it came to an end too early.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) take(n int) []byte {
	if n < 0 || n > len(d.b) {
		d.bad, d.b = true, nil
		return nil
	}
	out := d.b[:n]
	d.b = d.b[n:]
	return out
}

func (d *decoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) uint16() uint16 {
	if b := d.take(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (d *decoder) uint64() uint64 {
	if b := d.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (d *decoder) string() string {
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		d.bad, d.b = true, nil
		return ""
	}
	return string(d.take(int(n)))
}
