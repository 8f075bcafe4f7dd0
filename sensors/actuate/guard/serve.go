package guard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// Opener opens the outlets of a unit.
type Opener func(u *Unit) (Lines, error)

// maxOrder bounds one message of the gateway.
const maxOrder = 128 << 10

// Serve is the guard's life: it takes the units that the first order names,
// switches them off, obeys, and switches everything off when ctx ends or the
// gateway's end of the socket closes. It owns conn.
func Serve(ctx context.Context, conn net.Conn, lock *Lock, open Opener) error {
	defer conn.Close()
	s := &server{conn: conn, open: open, orders: make(chan Order), gone: make(chan struct{})}
	if err := s.readUnits(); err != nil {
		return fmt.Errorf("the first orders: %w", err)
	}
	if err := lock.Take(ctx); err != nil {
		s.report(Report{Fault: err.Error()})
		return err
	}
	defer lock.Release()
	k := NewKeeper(SinceBoot())
	defer func() { // whatever happens here, a panic included
		k.Finish(SinceBoot, Ended)
	}()
	s.openMissing(k)
	s.report(Report{Ready: true})
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	go s.listen(ctx)
	defer func() {
		cancel()
		stop()
		_ = conn.SetReadDeadline(time.Unix(1, 0))
		<-s.gone
	}()
	s.keep(ctx, k)
	return nil
}

// openMissing takes over the units whose outlets can be opened; the others wait
// for another time.
func (s *server) openMissing(k *Keeper) {
	var missing []Unit
	for i := range s.missing {
		u := &s.missing[i]
		lines, err := s.open(u)
		if err != nil {
			missing = append(missing, *u)
			s.report(Report{Unit: u.Name, Off: Broken, Fault: err.Error()})
			continue
		}
		s.report(k.Add(SinceBoot(), u, lines)...)
	}
	s.missing, s.missedAt = missing, SinceBoot()
}

// openAgainAfter is when outlets that could not be opened are tried again.
const openAgainAfter = 5 * time.Second

type server struct {
	conn   net.Conn
	open   Opener
	buf    [maxOrder]byte
	orders chan Order
	gone   chan struct{}

	// missing are units whose outlets could not be opened at missedAt.
	missing  []Unit
	missedAt time.Duration
}

// read takes one message: the socket keeps their bounds.
func (s *server) read(o *Order) error {
	n, err := s.conn.Read(s.buf[:])
	if err != nil {
		return err
	}
	if n == 0 {
		return io.EOF
	}
	return json.Unmarshal(s.buf[:n], o)
}

// readUnits takes the orders that say what the guard is to own.
func (s *server) readUnits() error {
	for {
		var o Order
		if err := s.read(&o); err != nil {
			return err
		}
		s.missing = append(s.missing, o.Units...)
		if !o.More {
			return nil
		}
	}
}

// listen takes orders until the other end is gone or talks nonsense.
func (s *server) listen(ctx context.Context) {
	defer close(s.gone)
	for {
		var o Order
		if err := s.read(&o); err != nil {
			return
		}
		select {
		case s.orders <- o:
		case <-ctx.Done():
			return
		}
	}
}

// keep is the guard's loop.
func (s *server) keep(ctx context.Context, k *Keeper) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case o := <-s.orders:
			s.report(k.Obey(SinceBoot(), &o)...)
		case <-timer.C:
			s.report(k.Tick(SinceBoot())...)
		case <-s.gone:
			s.report(k.Release(SinceBoot(), Parted)...)
			return
		case <-ctx.Done():
			s.report(k.Release(SinceBoot(), Ended)...)
			return
		}
		if len(s.missing) > 0 && SinceBoot()-s.missedAt >= openAgainAfter {
			s.openMissing(k)
		}
		timer.Reset(k.Next(SinceBoot()))
	}
}

// report tells the gateway. That it does not listen must not hold the guard up.
func (s *server) report(rs ...Report) {
	for i := range rs {
		b, err := json.Marshal(&rs[i])
		if err != nil {
			continue // it is made of texts and numbers
		}
		_ = s.conn.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
		_, _ = s.conn.Write(b)
	}
}

// MakeSafe switches everything off that nobody owns, and lets go.
func MakeSafe(ctx context.Context, units []Unit, lock *Lock, open Opener) error {
	if err := lock.Take(ctx); err != nil {
		return err
	}
	defer lock.Release()
	k := NewKeeper(SinceBoot())
	var errs []error
	for i := range units {
		u := &units[i]
		lines, err := open(u)
		if err != nil {
			errs = append(errs, fmt.Errorf("actuator %s: %w", u.Name, err))
			continue
		}
		for _, r := range k.Add(SinceBoot(), u, lines) {
			errs = append(errs, fmt.Errorf("actuator %s: %s", u.Name, r.Fault))
		}
	}
	k.Finish(SinceBoot, Ended)
	return errors.Join(errs...)
}
