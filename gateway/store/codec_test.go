package store

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"github.com/headgate-io/headgate/event"
)

// Whatever is in the file, decoding it ends, and what decodes encodes to
// something that decodes to the same.
func FuzzDecodeEvent(f *testing.F) {
	f.Add(appendEvent(nil, &event.Event{
		ID: "1", Source: "/s", Type: "t", Time: time.UnixMicro(5), Data: []byte("x"), Hops: 3, Retained: true,
		Extensions: map[string]string{"a": "b"},
	}, []Param{{"field", "3"}}))
	f.Add([]byte{eventFormat})
	f.Add([]byte{eventFormat, 0, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, b []byte) {
		e, params, err := decodeEvent(b)
		if err != nil {
			return
		}
		again, params2, err := decodeEvent(appendEvent(nil, e, params))
		if err != nil || !reflect.DeepEqual(e, again) || !reflect.DeepEqual(params, params2) {
			t.Fatalf("%+v decoded again as %+v (%v)", e, again, err)
		}
	})
}

func FuzzDecodeRecords(f *testing.F) {
	var j journalBuffer
	j.base = 100
	j.add(&record{kind: recordQoS1, seq: 90, session: 3, slot: 1000, packet: 7, hash: 1 << 60})
	j.add(&record{kind: recordForget, seq: 101, session: 3, slot: 7})
	j.add(&record{kind: recordDedupe, seq: 102, dedupe: DedupeKey{1, 2, 3}})
	f.Add(append(appendUvarint(nil, j.base), j.records...))
	f.Add([]byte{0, recordQoS2, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		var out journalBuffer
		if decodeRecords(b, func(r *record) { out.add(r) }) != nil {
			return
		}
		var again journalBuffer
		row := append(appendUvarint(nil, 0), out.records...)
		if err := decodeRecords(row, func(r *record) { again.add(r) }); err != nil || !bytes.Equal(out.records, again.records) {
			t.Fatalf("records changed: %v", err)
		}
	})
}

// Trust takes two bits of the flags, which older versions wrote as 0.
func TestTrustIsStored(t *testing.T) {
	for trust := event.TimeUnknown; trust <= event.TimeSynchronised; trust++ {
		for _, retained := range []bool{false, true} {
			in := &event.Event{ID: "1", Source: "/s", Type: "t", Time: time.UnixMicro(1), Trust: trust, Retained: retained}
			out, _, err := decodeEvent(appendEvent(nil, in, nil))
			if err != nil || out.Trust != trust || out.Retained != retained {
				t.Errorf("%v %v came back as %+v, %v", trust, retained, out, err)
			}
		}
	}
}
