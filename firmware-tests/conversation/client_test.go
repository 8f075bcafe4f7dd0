package conversation

import (
	"bufio"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// wire is a client's end of one connection. It keeps what comes until it is
// asked for, and answers nothing.
type wire struct {
	nc      net.Conn
	version byte
	ended   chan struct{}

	mu     sync.Mutex
	came   []packet
	broken error // of what came
	closed bool  // by the broker
}

func newWire(nc net.Conn, version byte) *wire {
	w := &wire{nc: nc, version: version, ended: make(chan struct{})}
	go w.listen()
	return w
}

// listen is the reader goroutine; it ends with the connection.
func (w *wire) listen() {
	defer close(w.ended)
	in := bufio.NewReader(w.nc)
	for {
		pk, err := readPacket(in, w.version)
		w.mu.Lock()
		switch {
		case err == nil:
			w.came = append(w.came, pk)
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe):
			w.closed = true
		default:
			w.broken = err
		}
		w.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// take returns what has come since the last call.
func (w *wire) take() (came []packet, closed bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	came, w.came = w.came, nil
	return came, w.closed, w.broken
}

func (w *wire) close() {
	_ = w.nc.Close()
	<-w.ended
}

func (w *wire) write(b []byte) error {
	_ = w.nc.SetWriteDeadline(time.Now().Add(patience))
	_, err := w.nc.Write(b)
	return err
}

func (w *wire) send(pk packet) error { return w.write(pk.encode(w.version)) }
