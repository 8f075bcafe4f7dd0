package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/headgate-io/headgate/internal/fault"
	"github.com/headgate-io/headgate/mqtt/broker"
)

var _ broker.MessageStore = (*Store)(nil)

// outKey names a row of outgoing.
type outKey struct{ session, seq uint64 }

func (k outKey) compare(o outKey) int {
	return cmp.Or(cmp.Compare(k.session, o.session), cmp.Compare(k.seq, o.seq))
}

type outChange uint8

const (
	outInsert outChange = iota
	outUpdate           // releasing becomes true
	outDelete
)

// outgoingOp is the change of one row of outgoing within a group.
type outgoingOp struct {
	change    outChange
	releasing bool // of an insert
	row       broker.Row
	message   uint64
}

// message is what must be known of a stored message.
type message struct {
	refs  int // rows of outgoing that name it
	bytes int64
}

// messageState is what is known of messages and who waits for them; the rows
// of each session are with the session. Changes that wait for their commit are
// included.
type messageState struct {
	byID        map[uint64]*message
	next        uint64
	rows, bytes int64
}

func newMessageState() messageState { return messageState{byID: make(map[uint64]*message)} }

// refer counts one row more of a message.
func (m *messageState) refer(id uint64) {
	m.byID[id].refs++
	m.rows++
}

// messageBytes is about what a message takes on disk.
func messageBytes(m *broker.Message) int64 {
	n := len(m.Topic) + len(m.Payload) + 16
	if p := m.Properties; p != nil {
		n += len(p.ContentType) + len(p.ResponseTopic) + len(p.CorrelationData)
		for _, u := range p.User {
			n += len(u.Name) + len(u.Value) + 2
		}
	}
	return int64(n)
}

// outgoingBytes is about what a row of outgoing takes.
const outgoingBytes = 24

// deliverLocked puts a plan into the group. Rows of sessions that are gone are
// left out.
func (s *Store) deliverLocked(g *group, p *broker.Plan) {
	var id uint64
	for i := range p.Rows {
		row := &p.Rows[i]
		ses := s.sessions[row.Client]
		if ses == nil || ses.epoch != row.Epoch {
			s.stats.OrphanDeliveries++
			continue
		}
		if _, twice := ses.out[row.Seq]; twice {
			continue
		}
		if id == 0 {
			id = s.bodyLocked(g, p.Message)
		}
		s.messages.refer(id)
		if ses.out == nil {
			ses.out = make(map[uint64]uint64)
		}
		ses.out[row.Seq] = id
		g.putOutgoing(outKey{ses.id, row.Seq}, outgoingOp{row: *row, message: id})
		g.bytes += outgoingBytes
	}
	if p.Retain {
		s.retainLocked(g, p.Message)
	}
}

// bodyLocked stores a message, once for all its rows.
func (s *Store) bodyLocked(g *group, m *broker.Message) uint64 {
	s.messages.next++
	id, n := s.messages.next, messageBytes(m)
	s.messages.byID[id] = &message{bytes: n}
	s.messages.bytes += n
	if g.bodies == nil {
		g.bodies = make(map[uint64]*broker.Message)
	}
	g.bodies[id] = m
	g.bytes += n
	return id
}

func (g *group) putOutgoing(k outKey, o outgoingOp) {
	if g.outgoing == nil {
		g.outgoing = make(map[outKey]outgoingOp)
	}
	g.outgoing[k] = o
}

// removeLocked deletes a row and, with its last row, the message. What was
// inserted in the same group leaves no trace.
func (s *Store) removeLocked(g *group, ses *session, seq uint64) {
	id, ok := ses.out[seq]
	if !ok {
		return
	}
	delete(ses.out, seq)
	s.messages.rows--
	k := outKey{ses.id, seq}
	if o, ok := g.outgoing[k]; ok && o.change == outInsert {
		delete(g.outgoing, k)
	} else {
		g.putOutgoing(k, outgoingOp{change: outDelete})
	}
	m := s.messages.byID[id]
	if m.refs--; m.refs > 0 {
		return
	}
	delete(s.messages.byID, id)
	s.messages.bytes -= m.bytes
	if _, fresh := g.bodies[id]; fresh {
		delete(g.bodies, id)
		s.stats.MessagesElided++
		return
	}
	g.deadBodies = append(g.deadBodies, id)
}

// dropOutgoingLocked deletes all rows of a session.
func (s *Store) dropOutgoingLocked(g *group, ses *session) {
	for seq := range ses.out {
		s.removeLocked(g, ses, seq)
	}
}

// Runtime implements broker.MessageStore.
func (s *Store) Runtime(stored time.Time) time.Time { return s.runtimeOf(stored) }

// Deliver implements broker.MessageStore.
func (s *Store) Deliver(p *broker.Plan, done func(error)) {
	if err := s.refuses(); err != nil {
		done(fmt.Errorf("%w: %w", broker.ErrRefused, err))
		return
	}
	s.sealOp(&looseOp{done: done, change: func(g *group) { s.deliverLocked(g, p) }})
}

// refuses reports why no message is taken now: the disk is full, or has taken
// no commit for a while.
func (s *Store) refuses() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	switch {
	case s.space.stopped[Events]:
		err = s.spaceError(Events)
		s.stats.QuotaRefusals++
	case !s.failing.IsZero() && time.Since(s.failing) > deliverPatience:
		err = fmt.Errorf("%w: %w", ErrUnavailable, s.cause)
		s.stats.SealsRefused++
	}
	return err
}

// deliverPatience is how long messages wait for a disk that takes no commits,
// before they are refused.
const deliverPatience = time.Second

// Releasing implements broker.MessageStore.
func (s *Store) Releasing(client string, epoch, seq uint64, done func(error)) {
	s.sealOp(&looseOp{done: done, change: func(g *group) {
		ses := s.sessions[client]
		if ses == nil || ses.epoch != epoch {
			return
		}
		id, ok := ses.out[seq]
		if !ok {
			return
		}
		k := outKey{ses.id, seq}
		if o, ok := g.outgoing[k]; ok && o.change == outInsert {
			o.releasing = true
			g.outgoing[k] = o
			return
		}
		g.putOutgoing(k, outgoingOp{change: outUpdate, message: id})
	}})
}

// Remove implements broker.MessageStore.
func (s *Store) Remove(client string, epoch, seq uint64) {
	s.sealOp(&looseOp{lazy: true, change: func(g *group) {
		if ses := s.sessions[client]; ses != nil && ses.epoch == epoch {
			s.removeLocked(g, ses, seq)
		}
	}})
}

// maxLazy is how many changes wait for a commit that is made anyway.
const maxLazy = 1024

// flushLazy commits what waits for the next commit.
func (s *Store) flushLazy() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pending != nil {
		s.wakeLocked()
	}
}

// LoadMessages implements broker.MessageStore.
func (s *Store) LoadMessages(ctx context.Context, fn func(id uint64, body []byte)) error {
	rows, err := s.reader.db.QueryContext(ctx, `SELECT id, body FROM message ORDER BY id`)
	if err != nil {
		return fmt.Errorf("read messages: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var id int64
		var body []byte
		if err := rows.Scan(&id, &body); err != nil {
			return fmt.Errorf("read messages: %w", err)
		}
		fn(uint64(id), body)
	}
	return rows.Err()
}

// LoadOutgoing implements broker.MessageStore.
func (s *Store) LoadOutgoing(ctx context.Context, fn func(broker.OutgoingRecord)) error {
	rows, err := s.reader.db.QueryContext(ctx, `SELECT client, epoch, seq, message, releasing, options
		FROM outgoing JOIN session ON session.id = outgoing.session ORDER BY outgoing.session, seq`)
	if err != nil {
		return fmt.Errorf("read outgoing messages: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var r broker.OutgoingRecord
		var epoch, seq, id int64
		if err := rows.Scan(&r.Client, &epoch, &seq, &id, &r.Releasing, &r.Options); err != nil {
			return fmt.Errorf("read outgoing messages: %w", err)
		}
		r.Epoch, r.Seq, r.Message = uint64(epoch), uint64(seq), uint64(id)
		fn(r)
	}
	return rows.Err()
}

// tidyMessages deletes rows that nothing leads to: there are none but in a file
// that was damaged.
func (w *writer) tidyMessages(ctx context.Context) error {
	var all error
	for _, q := range [...]string{
		`DELETE FROM outgoing WHERE session NOT IN (SELECT id FROM session) OR message NOT IN (SELECT id FROM message)`,
		`DELETE FROM message WHERE id NOT IN (SELECT message FROM outgoing)`,
	} {
		r, err := w.conn.ExecContext(ctx, q)
		if err != nil {
			all = errors.Join(all, err)
			continue
		}
		if n, err := r.RowsAffected(); err == nil && n > 0 {
			w.s.log.Error("rows of the broker that nothing led to are deleted", "rows", n)
			w.s.mu.Lock()
			w.s.stats.DamagedRows += uint64(n)
			w.s.mu.Unlock()
		}
	}
	return all
}

// messages writes the group's messages and who waits for them.
func (w *writer) messages(g *group) error {
	if fault.On(fault.ForgetMessages) {
		return nil
	}
	for id, m := range g.bodies {
		w.buf = broker.AppendMessage(w.buf[:0], m, w.s.steadyOf(m.Expires))
		if err := w.run(sqlMessage, int64(id), w.buf); err != nil {
			return fmt.Errorf("write message: %w", err)
		}
	}
	w.keys = w.keys[:0]
	for k := range g.outgoing {
		w.keys = append(w.keys, k)
	}
	slices.SortFunc(w.keys, outKey.compare) // neighbours share a page
	for _, k := range w.keys {
		o := g.outgoing[k]
		var err error
		switch o.change {
		case outInsert:
			w.buf = o.row.AppendOptions(w.buf[:0])
			err = w.run(sqlOutgoing, int64(k.session), int64(k.seq), int64(o.message), o.releasing, w.buf)
		case outUpdate:
			err = w.run(sqlOutgoingReleasing, int64(k.session), int64(k.seq))
		case outDelete:
			err = w.run(sqlOutgoingDelete, int64(k.session), int64(k.seq))
		}
		if err != nil {
			return fmt.Errorf("write outgoing message: %w", err)
		}
	}
	for _, id := range g.deadBodies {
		if err := w.run(sqlMessageDelete, int64(id)); err != nil {
			return fmt.Errorf("delete message: %w", err)
		}
	}
	return nil
}
