package instrument

import (
	"errors"
	"fmt"
)

// errTruncated is the reader's sticky error when bytes run out.
var errTruncated = errors.New("unexpected end")

// reader walks bytes. The first fault sticks: reads after it return zero and
// loops over a count end, because more is false.
type reader struct {
	data []byte
	pos  int
	err  error
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.pos = len(r.data)
}

func (r *reader) more() bool { return r.err == nil && r.pos < len(r.data) }

func (r *reader) byte() byte {
	if r.pos >= len(r.data) {
		r.fail(errTruncated)
		return 0
	}
	b := r.data[r.pos]
	r.pos++
	return b
}

// u32 reads an unsigned LEB128 of at most 32 bits.
func (r *reader) u32() uint32 {
	var v uint64
	for shift := 0; ; shift += 7 {
		b := r.byte()
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			break
		}
		if shift == 28 {
			r.fail(errors.New("number longer than 32 bits"))
			return 0
		}
	}
	if v > 1<<32-1 {
		r.fail(errors.New("number larger than 32 bits"))
		return 0
	}
	return uint32(v)
}

// skipLEB passes over one LEB128 of at most limit bytes.
func (r *reader) skipLEB(limit int) {
	for range limit {
		if r.byte() < 0x80 {
			return
		}
	}
	r.fail(errors.New("number too long"))
}

// s33 reads the signed LEB128 of a block type.
func (r *reader) s33() int64 {
	var v int64
	for shift := 0; shift < 35; shift += 7 {
		b := r.byte()
		v |= int64(b&0x7f) << shift
		if b < 0x80 {
			if b&0x40 != 0 {
				v |= -1 << (shift + 7)
			}
			return v
		}
	}
	r.fail(errors.New("block type too long"))
	return 0
}

func (r *reader) skip(n int) { r.bytes(n) }

func (r *reader) bytes(n int) []byte {
	if n < 0 || n > len(r.data)-r.pos {
		r.fail(errTruncated)
		return nil
	}
	b := r.data[r.pos : r.pos+n]
	r.pos += n
	return b
}

// count reads the length of a vector whose elements take at least one byte
// each, so that a forged length cannot make anybody allocate.
func (r *reader) count() int {
	n := r.u32()
	if int64(n) > int64(len(r.data)-r.pos) {
		r.fail(fmt.Errorf("%d elements announced, %d bytes left", n, len(r.data)-r.pos))
		return 0
	}
	return int(n)
}

func (r *reader) name() string { return string(r.bytes(r.count())) }

func appendU32(b []byte, v uint32) []byte {
	for v >= 0x80 {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v))
}

func appendS64(b []byte, v int64) []byte {
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

func appendName(b []byte, s string) []byte {
	return append(appendU32(b, uint32(len(s))), s...)
}
