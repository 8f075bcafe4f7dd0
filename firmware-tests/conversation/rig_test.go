package conversation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/mqtt/broker"
)

// patience bounds what only a broker that hangs makes wait. It is the bubble's
// time, which costs nothing.
const patience = time.Minute

// rig is a broker, with a store or without, that can be started again.
type rig struct {
	dir     string // for databases; empty is no store
	life    int    // how many brokers there were
	handler bool
	store   *store.Store
	broker  *broker.Server
	door    *door
}

// open starts a broker on the database of this life.
func (r *rig) open() error {
	log := slog.New(slog.DiscardHandler)
	cfg := broker.DefaultConfig()
	cfg.SysInterval, cfg.PublishRate, cfg.RefusalDelay = 0, 0, 0
	cfg.ReceiveMaximum = maxOpen + 2
	deps := broker.Deps{Authenticator: everyone{}, Logger: log}
	if r.dir != "" {
		s, err := store.Open(context.Background(), store.Config{
			Path: filepath.Join(r.home(), "headgate.db"), Durability: store.Relaxed, MinFreeBytes: -1, BallastBytes: -1, Logger: log,
		})
		if err != nil {
			return err
		}
		r.store, deps.Sessions, deps.Messages = s, s, s
		if r.handler {
			deps.Handler = &settler{store: s}
		}
	}
	var err error
	if r.broker, err = broker.New(cfg, deps); err != nil {
		return err
	}
	r.door = &door{in: make(chan net.Conn), done: make(chan struct{})}
	return r.broker.Serve(r.door, broker.ListenerConfig{Name: "pipe", Network: "tcp"})
}

func (r *rig) home() string { return filepath.Join(r.dir, fmt.Sprint(r.life)) }

// close ends the broker in order.
func (r *rig) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := r.broker.Close(ctx)
	if r.store != nil {
		err = errors.Join(err, r.store.Close(ctx))
	}
	return err
}

// restart goes on with a new broker: on what the last one left when it closed,
// or with kill on what was on disk just before that.
func (r *rig) restart(kill bool) error {
	if kill {
		from := r.home()
		r.life++
		if err := copyDatabase(from, r.home()); err != nil {
			return err
		}
	}
	if err := r.close(); err != nil {
		return err
	}
	return r.open()
}

func copyDatabase(from, to string) error {
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	for _, name := range []string{"headgate.db", "headgate.db-wal"} {
		b, err := os.ReadFile(filepath.Join(from, name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(to, name), b, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// everyone may do everything, also below $t.
type everyone struct{}

var _ broker.Authenticator = everyone{}

// Authenticate implements broker.Authenticator.
func (everyone) Authenticate(context.Context, broker.Credentials) (broker.Identity, error) {
	return broker.Identity{Publish: []string{"#", "$t/#"}, Subscribe: []string{"#", "$t/#"}}, nil
}

// door is a listener for connections in memory.
type door struct {
	in   chan net.Conn
	once sync.Once
	done chan struct{}
}

// Accept implements net.Listener.
func (d *door) Accept() (net.Conn, error) {
	select {
	case c := <-d.in:
		return c, nil
	case <-d.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (d *door) Close() error {
	d.once.Do(func() { close(d.done) })
	return nil
}

// Addr implements net.Listener.
func (d *door) Addr() net.Addr { return new(net.TCPAddr) }

// dial connects.
func (d *door) dial() net.Conn {
	client, server := net.Pipe()
	d.in <- server
	return client
}

// settler is a handler that does what the gateway does with an event that no
// function wants: a QoS 2 record and the plan go into one commit, QoS 1 is
// released at once.
type settler struct{ store *store.Store }

var _ broker.Handler = (*settler)(nil)

// Publish implements broker.Handler.
func (h *settler) Publish(in *broker.Inbound) {
	if in.Record == nil || in.Record.QoS < 2 {
		in.Release(broker.Success)
		return
	}
	u := &store.Unit{Inbound: in.Record, Done: func(err error) {
		if err != nil {
			in.Release(broker.UnspecifiedError)
			return
		}
		if in.Plan != nil {
			in.Plan.Committed()
		}
		in.Release(broker.Success)
	}}
	if in.Plan != nil {
		u.Deliveries = []*broker.Plan{in.Plan}
	}
	if t, err := h.store.Seal(u); err != nil {
		in.Release(broker.UnspecifiedError)
	} else if !t.Written {
		in.Release(broker.Success)
	}
}
