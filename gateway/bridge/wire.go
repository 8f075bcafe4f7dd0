package bridge

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// The packets are paho's; the client around them is our own, because paho's
// does not let a bridge keep its word. See docs/RATIONALE.md.

// wire reads and writes packets. One goroutine reads, any may send.
type wire struct {
	nc     net.Conn
	in     *bufio.Reader
	max    int           // of a packet that is read
	silent time.Duration // how long nothing may come
	// answerBy bounds the reads before the other broker has answered; zero does
	// not.
	answerBy time.Time
	unread   atomic.Bool // no more is read

	wake    chan struct{} // capacity 1: there is something to write
	drained chan struct{} // capacity 1: there is room again

	mu      sync.Mutex // leaf
	pending []byte
	closed  bool
}

// Bounds of a wire.
const (
	// outRoom is how much may wait for the socket before no more messages are
	// taken; acknowledgements and one message come on top.
	outRoom = 128 << 10
	// outMost is how much may wait beside one message: acknowledgements of a
	// broker that sends and does not read.
	outMost = 512 << 10
	// writeTimeout is how long the socket may take nothing.
	writeTimeout = 20 * time.Second
)

func newWire(nc net.Conn, maxPacket int, silent time.Duration) *wire {
	return &wire{
		nc: nc, in: bufio.NewReaderSize(nc, 8<<10), max: maxPacket, silent: silent,
		wake: make(chan struct{}, 1), drained: make(chan struct{}, 1),
	}
}

// await gives the next packet its time.
func (w *wire) await() error {
	by := time.Now().Add(w.silent)
	if !w.answerBy.IsZero() && w.answerBy.Before(by) {
		by = w.answerBy
	}
	if err := w.nc.SetReadDeadline(by); err != nil {
		return err
	}
	if w.unread.Load() { // whose deadline was just overwritten
		return os.ErrDeadlineExceeded
	}
	return nil
}

// endReading ends the read that waits, and all that follow.
func (w *wire) endReading() {
	w.unread.Store(true)
	_ = w.nc.SetReadDeadline(time.Unix(1, 0)) // a dead socket is as good
}

// errTooLarge is a PUBLISH over the bound. Its packet has no payload.
var errTooLarge = errors.New("packet over the bound")

// read returns the next packet. With errTooLarge it is a PUBLISH that was
// skipped, but for its header.
func (w *wire) read() (packets.ControlPacket, error) {
	if err := w.await(); err != nil {
		return nil, err
	}
	first, err := w.in.ReadByte()
	if err != nil {
		return nil, err
	}
	size, err := binary.ReadUvarint(w.in) // MQTT's lengths are varints, of four bytes at most
	if err != nil {
		return nil, err
	}
	if size > 256<<20 {
		return nil, fmt.Errorf("the other broker sends a packet of %d bytes, which MQTT does not have", size)
	}
	fh := packets.FixedHeader{
		MessageType: first >> 4, Dup: first&8 != 0, Qos: first >> 1 & 3, Retain: first&1 != 0, RemainingLength: int(size),
	}
	if int(size) > w.max {
		return w.skip(fh)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(w.in, body); err != nil {
		return nil, err
	}
	return unpack(fh, body)
}

func unpack(fh packets.FixedHeader, body []byte) (packets.ControlPacket, error) {
	p, err := packets.NewControlPacketWithHeader(fh)
	if err != nil {
		return nil, fmt.Errorf("the other broker breaks the protocol: %w", err)
	}
	if err := p.Unpack(bytes.NewBuffer(body)); err != nil {
		return nil, fmt.Errorf("the other broker breaks the protocol: %w", err)
	}
	return p, nil
}

// skip reads past a packet that is too large, and keeps of it what its
// acknowledgement needs.
func (w *wire) skip(fh packets.FixedHeader) (packets.ControlPacket, error) {
	if fh.MessageType != packets.Publish {
		return nil, fmt.Errorf("the other broker sends a packet of %d bytes, at most %d are taken", fh.RemainingLength, w.max)
	}
	var length [2]byte
	if _, err := io.ReadFull(w.in, length[:]); err != nil {
		return nil, err
	}
	head := 2 + int(binary.BigEndian.Uint16(length[:]))
	if fh.Qos > 0 {
		head += 2
	}
	if head > fh.RemainingLength {
		return nil, errors.New("the other broker breaks the protocol: a topic longer than its packet")
	}
	body := make([]byte, head)
	copy(body, length[:])
	if _, err := io.ReadFull(w.in, body[2:]); err != nil {
		return nil, err
	}
	if _, err := io.CopyN(io.Discard, w.in, int64(fh.RemainingLength-head)); err != nil {
		return nil, err
	}
	fh.RemainingLength = head
	p, err := unpack(fh, body)
	if err != nil {
		return nil, err
	}
	return p, errTooLarge
}

// send queues a packet for the socket. It never waits; see room.
func (w *wire) send(p packets.ControlPacket) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	b := bytes.NewBuffer(w.pending)
	err := p.Write(b)
	w.pending = b.Bytes()
	select {
	case w.wake <- struct{}{}:
	default:
	}
	return err
}

// room reports whether more messages may be sent; drained tells when there is
// room again.
func (w *wire) room() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.pending) < outRoom
}

// choked reports whether so much waits that the other broker cannot be reading.
func (w *wire) choked() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.pending) > outMost+w.max
}

// write is the writer goroutine. It ends when quit is closed, with a last
// attempt at what is there, or when the socket fails.
func (w *wire) write(quit <-chan struct{}) error {
	var spare []byte
	for {
		last := false
		select {
		case <-w.wake:
		case <-quit:
			last = true
		}
		w.mu.Lock()
		chunk := w.pending
		w.pending, w.closed = spare[:0], last
		w.mu.Unlock()
		select {
		case w.drained <- struct{}{}:
		default:
		}
		timeout := writeTimeout
		if last {
			timeout = time.Second
		}
		_ = w.nc.SetWriteDeadline(time.Now().Add(timeout))
		if len(chunk) > 0 {
			if _, err := w.nc.Write(chunk); err != nil {
				return err
			}
		}
		if last {
			return nil
		}
		if spare = chunk; cap(spare) > outRoom/2 {
			spare = nil // a burst is over
		}
	}
}
