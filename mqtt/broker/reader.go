package broker

import (
	"io"
	"time"
)

// reader cuts packets out of a stream. Its buffer grows with what arrives, not
// with what a length announces, and shrinks again after a large packet.
type reader struct {
	src   io.Reader
	buf   []byte
	start int       // of what is not consumed
	end   int       // of what was read
	limit int       // of one packet's bytes
	full  bool      // the last read filled the buffer
	calm  int       // small reads in a row
	cut   bool      // a packet was cut out since the last read
	begun time.Time // the first read of the packet that is not complete
	held  *held
}

const (
	smallBuffer = 512
	largeBuffer = 32 << 10
)

// errTooLarge ends a connection before anything of the packet is allocated.
var errTooLarge = &wireError{PacketTooLarge, "packet is larger than allowed"}

// buffered reports whether a complete packet is already there, so that the next
// call of packet does not wait.
func (r *reader) buffered() bool {
	_, size, ok, err := r.header()
	return err != nil || (ok && r.end-r.start >= size)
}

// header decodes the fixed header at start: where the body begins and the
// packet's whole size. ok is false when more bytes are needed.
func (r *reader) header() (body, size int, ok bool, err error) {
	b := r.buf[r.start:r.end]
	if len(b) < 2 {
		return 0, 0, false, nil
	}
	n, next, ok := varint(b, 1)
	if !ok {
		if len(b) >= 5 {
			return 0, 0, false, malformed("remaining length of more than four bytes") // [MQTT-1.5.5-1]
		}
		return 0, 0, false, nil
	}
	if next+n > r.limit {
		return 0, 0, false, errTooLarge
	}
	return next, next + n, true, nil
}

// first waits for the first byte only.
func (r *reader) first() (byte, error) {
	for r.start == r.end {
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	return r.buf[r.start], nil
}

// packet returns the next packet. The body is valid until the next call.
func (r *reader) packet() (head byte, body []byte, err error) {
	for {
		at, size, ok, err := r.header()
		if err != nil {
			return 0, nil, err
		}
		if ok && r.end-r.start >= size {
			p := r.buf[r.start : r.start+size : r.start+size]
			r.start += size
			r.cut = true
			return p[0], p[at:], nil
		}
		if err := r.fill(); err != nil {
			return 0, nil, err
		}
	}
}

func (r *reader) fill() error {
	rest := r.end - r.start
	if r.end == len(r.buf) && 2*rest > largeBuffer {
		r.waitForRoom(rest)
	}
	switch {
	case rest == 0:
		r.start, r.end = 0, 0
		r.resize()
	case r.end == len(r.buf) && rest > len(r.buf)/2:
		r.move(2 * len(r.buf))
	case r.start > 0 && len(r.buf) > largeBuffer && rest <= largeBuffer/2:
		r.move(largeBuffer) // the large packet is gone, this is the next one's beginning
	case r.end == len(r.buf):
		copy(r.buf, r.buf[r.start:r.end])
		r.start, r.end = 0, rest
	}
	if rest > 0 {
		if r.cut || r.begun.IsZero() {
			r.begun = time.Now()
		}
		r.held.waits(r.begun)
	} else {
		r.begun = time.Time{}
	}
	r.cut = false
	n, err := r.src.Read(r.buf[r.end:])
	r.held.moves()
	if n > 0 {
		r.end += n
		r.full = r.end == len(r.buf)
		if r.calm++; n > len(r.buf)/8 {
			r.calm = 0
		}
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// waitForRoom holds a large packet up while all connections together hold too
// much: its sender waits, and what the buffers outgrow is collected. It is stuck
// for Server.shed, which makes the room.
func (r *reader) waitForRoom(rest int) {
	if r.cut || r.begun.IsZero() {
		r.begun = time.Now()
		r.cut = false
	}
	r.held.waitForRoom(rest, r.begun)
}

// resize adapts the buffer while it is empty: twice as large when the last read
// filled it, half as large after many reads that used little of it.
func (r *reader) resize() {
	size := len(r.buf)
	switch {
	case size == 0:
		size = smallBuffer
	case size > largeBuffer:
		size = largeBuffer
	case r.full && size < largeBuffer:
		size *= 2
	case r.calm >= 64 && size > smallBuffer:
		size /= 2
	}
	if size != len(r.buf) {
		r.move(size)
		r.calm = 0
	}
	r.full = false
}

// move puts what is not consumed into a buffer of another size.
func (r *reader) move(size int) {
	r.held.add(size - len(r.buf))
	buf := make([]byte, size)
	r.end = copy(buf, r.buf[r.start:r.end])
	r.buf, r.start = buf, 0
}
