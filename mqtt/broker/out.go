package broker

import (
	"net"
	"sync"
	"time"
)

// output is the bounded buffer between everyone who sends to a client and the
// one goroutine that writes to its socket. Nobody but that goroutine ever
// waits for the socket.
type output struct {
	limit int // of pending bytes, for messages; control packets get as much again
	wake  chan struct{}
	held  *held // what is pending or being written

	mu        sync.Mutex // after session.mu and inbox.mu
	tail      []byte     // being appended to
	chunks    net.Buffers
	pending   int
	signalled bool // wake was sent, or someone has promised to send it
	finishing bool // take no more, write what is there, end
	broken    bool
}

// Payloads of this size and more are shared by reference, not copied.
const sharedPayload = 16 << 10

func newOutput(limit int, held *held) *output {
	return &output{limit: limit, held: held, wake: make(chan struct{}, 1)}
}

// room reports whether another message may be appended.
func (o *output) room() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	limit := o.limit
	if o.held.total.exceeded() {
		limit /= 16 // the rest waits in the queue, where receivers share a message
	}
	return o.pending < limit && !o.finishing && !o.broken
}

// append adds head and payload. owed means that the caller now owes the writer
// a wake; ok is false when there is no room even for control packets: the
// client does not read.
func (o *output) append(head, payload []byte) (owed, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.finishing || o.broken {
		return false, true
	}
	if o.pending > 2*o.limit+maxControl {
		return false, false
	}
	o.tail = append(o.tail, head...)
	if len(payload) >= sharedPayload {
		o.chunks = append(o.chunks, o.tail, payload)
		o.tail = nil
	} else {
		o.tail = append(o.tail, payload...)
	}
	o.pending += len(head) + len(payload)
	o.held.add(len(head) + len(payload))
	owed = !o.signalled
	o.signalled = true
	return owed, true
}

// maxControl leaves room for one large message beyond the limit.
const maxControl = 64 << 10

func (o *output) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// finish lets the writer end once it has written what is there.
func (o *output) finish() {
	o.mu.Lock()
	o.finishing = true
	o.mu.Unlock()
	o.signal()
}

// take swaps the buffers: it returns what is pending, and how much that is,
// and leaves spare to be filled.
func (o *output) take(spare []byte) (tail []byte, chunks net.Buffers, size int, last bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	tail, chunks, size = o.tail, o.chunks, o.pending
	o.tail, o.chunks, o.pending = spare[:0], nil, 0
	o.signalled = false
	return tail, chunks, size, o.finishing
}

func (o *output) fail() {
	o.mu.Lock()
	o.broken, o.tail, o.chunks, o.pending = true, nil, nil, 0
	o.mu.Unlock()
}

// maxSpare is the largest buffer that is kept for the next round.
const maxSpare = 64 << 10

// write is the connection's writer goroutine. It ends after finish, or when the
// socket fails or takes nothing for the write timeout.
func (c *conn) write() {
	defer c.srv.wg.Done()
	defer c.outHeld.release()
	defer c.nc.Close()
	var spare []byte
	for range c.out.wake {
		tail, chunks, size, last := c.out.take(spare)
		if size > 0 {
			c.outHeld.waits(time.Now())
		}
		if err := c.writeAll(tail, chunks); err != nil {
			c.out.fail()
			c.writeFailed(err)
			return
		}
		c.outHeld.add(-size)
		c.outHeld.moves()
		if last {
			return
		}
		if spare = tail; cap(tail) > maxSpare || (cap(tail) > smallBuffer && len(tail) < cap(tail)/8) {
			spare = nil // a burst is over
		}
		if c.backlog.Load() {
			c.sess.refill(c)
		}
	}
}

func (c *conn) writeAll(tail []byte, chunks net.Buffers) error {
	if len(tail) == 0 && len(chunks) == 0 {
		return nil
	}
	if err := c.nc.SetWriteDeadline(time.Now().Add(c.srv.cfg.WriteTimeout)); err != nil {
		return err
	}
	if len(chunks) == 0 {
		n, err := c.nc.Write(tail)
		c.srv.count.bytesOut.Add(uint64(n))
		return err
	}
	if len(tail) > 0 {
		chunks = append(chunks, tail)
	}
	n, err := chunks.WriteTo(c.nc)
	c.srv.count.bytesOut.Add(uint64(n))
	return err
}
