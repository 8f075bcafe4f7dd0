package store

import (
	"context"
	"fmt"
	"time"

	"github.com/headgate-io/headgate/internal/fault"
	"github.com/headgate-io/headgate/mqtt/broker"
)

var _ broker.SessionStore = (*Store)(nil)

// session is what the store must know of a stored session: its number, and
// which journal records count.
type session struct {
	id    uint64
	epoch uint64
	// ring holds, per slot, the low half of the sequence of the QoS 1 record
	// that counts; ids does so for QoS 2 packet ids. 0 is none.
	ring []uint32
	ids  map[uint32]uint32
	// out are the rows of outgoing: message by sequence.
	out map[uint64]uint64
}

// note makes r what counts for its slot and returns how many more records
// count than before.
func (ses *session) note(r *record) int64 {
	switch r.kind {
	case recordQoS1:
		if r.slot > 1<<16 {
			return 0
		}
		for int(r.slot) >= len(ses.ring) {
			ses.ring = append(ses.ring, 0)
		}
		was := ses.ring[r.slot]
		ses.ring[r.slot] = uint32(r.seq)
		if was != 0 {
			return 0
		}
		return 1
	case recordQoS2:
		if ses.ids == nil {
			ses.ids = make(map[uint32]uint32)
		}
		n := len(ses.ids)
		ses.ids[r.slot] = uint32(r.seq)
		return int64(len(ses.ids) - n)
	case recordForget:
		n := len(ses.ids)
		delete(ses.ids, r.slot)
		return int64(len(ses.ids) - n)
	}
	return 0
}

func (ses *session) current(r *record) uint32 {
	if r.kind == recordQoS2 {
		return ses.ids[r.slot]
	}
	if int(r.slot) < len(ses.ring) {
		return ses.ring[r.slot]
	}
	return 0
}

func (ses *session) count() int64 {
	n := int64(len(ses.ids))
	for _, seq := range ses.ring {
		if seq != 0 {
			n++
		}
	}
	return n
}

// steadyOf is a moment of the runtime's clock on the steady scale.
func (s *Store) steadyOf(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return s.cfg.Steady().Add(-time.Since(t))
}

// runtimeOf is the opposite.
func (s *Store) runtimeOf(steady time.Time) time.Time {
	return time.Now().Add(steady.Sub(s.cfg.Steady()))
}

// sessionOp is a session row to write, or with id 0 to delete.
type sessionOp struct {
	id  uint64
	rec broker.SessionRecord
}

// LoadSessions implements broker.SessionStore.
func (s *Store) LoadSessions(ctx context.Context) ([]broker.SessionRecord, error) {
	recs, ids, err := s.reader.sessions(ctx)
	if err != nil {
		return nil, fmt.Errorf("load sessions: %w", err)
	}
	for i := range recs {
		if !recs[i].Disconnected.IsZero() {
			recs[i].Disconnected = s.runtimeOf(recs[i].Disconnected)
		}
	}
	if fault.On(fault.NoDuplicateCheck) {
		return recs, nil
	}
	rows, err := s.reader.journal(ctx)
	if err != nil {
		return nil, fmt.Errorf("load sessions: %w", err)
	}
	at := make(map[uint64]*broker.SessionRecord, len(ids))
	for i, id := range ids {
		at[id] = &recs[i]
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, row := range rows {
		err := decodeRecords(row.records, func(r *record) {
			rec := at[r.session]
			if rec == nil || r.kind != recordQoS1 && r.kind != recordQoS2 || !s.isLiveLocked(r) {
				return
			}
			qos := byte(1)
			if r.kind == recordQoS2 {
				qos = 2
			}
			rec.Inbound = append(rec.Inbound, broker.InboundRecord{
				Client: rec.Client, Epoch: rec.Epoch, PacketID: r.packet, QoS: qos, Hash: r.hash, Slot: r.slot,
			})
		})
		if err != nil {
			return nil, fmt.Errorf("load sessions: row %d: %w", row.seq, err)
		}
	}
	return recs, nil
}

// SaveSession implements broker.SessionStore.
func (s *Store) SaveSession(rec broker.SessionRecord, done func(error)) {
	s.sealOp(&looseOp{done: done, change: func(g *group) {
		ses := s.sessions[rec.Client]
		if ses == nil || ses.epoch != rec.Epoch {
			s.forgetSessionLocked(g, rec.Client)
			s.nextSession++
			ses = &session{id: s.nextSession, epoch: rec.Epoch}
			s.sessions[rec.Client], s.sessionIDs[ses.id] = ses, ses
		}
		rec.Inbound = nil
		g.putSession(rec.Client, sessionOp{id: ses.id, rec: rec})
	}})
}

// DeleteSession implements broker.SessionStore.
func (s *Store) DeleteSession(client string, done func(error)) {
	s.sealOp(&looseOp{done: done, change: func(g *group) {
		s.forgetSessionLocked(g, client)
		g.putSession(client, sessionOp{})
	}})
}

// ForgetID implements broker.SessionStore.
func (s *Store) ForgetID(client string, epoch uint64, packetID uint16, done func(error)) {
	s.sealOp(&looseOp{done: done, change: func(g *group) {
		ses := s.sessions[client]
		if ses == nil || ses.epoch != epoch {
			return
		}
		r := record{kind: recordForget, seq: s.seq, session: ses.id, slot: uint32(packetID)}
		s.journal.live += ses.note(&r)
		g.journal.add(&r)
	}})
}

// looseOp is a change outside any unit. It depends on nothing that was read, so
// that the store itself makes it again, in order, when a commit was taken back.
type looseOp struct {
	change func(*group)
	done   func(error) // may be nil
	lazy   bool        // waits for a commit that is made anyway
	tries  int
}

// maxRedo is how often a change is made again before its done is told.
const maxRedo = 5

// sealOp makes a change under the mutex. It never waits: while the store
// recovers the change is put off until it has.
func (s *Store) sealOp(o *looseOp) {
	s.mu.Lock()
	switch {
	case s.closed:
		s.mu.Unlock()
		if o.done != nil {
			o.done(ErrClosed)
		}
		return
	case s.recovering:
		s.deferred = append(s.deferred, o)
	default:
		s.sealOpLocked(o)
	}
	s.mu.Unlock()
}

func (s *Store) sealOpLocked(o *looseOp) {
	if !o.lazy || s.pending == nil { // each group has a sequence of its own
		s.seq++
	}
	g := s.pendingLocked()
	g.last = s.seq
	o.change(g)
	g.loose = append(g.loose, o)
	if o.lazy {
		if g.lazy++; g.lazy >= maxLazy {
			s.wakeLocked()
		}
		return
	}
	g.units++
	g.bytes += 256
	if o.done != nil {
		g.done = append(g.done, o.committed)
	}
	s.wakeLocked()
}

// committed is told of the commit, or of its loss.
func (o *looseOp) committed(err error) {
	if err == nil || o.tries >= maxRedo {
		o.done(err)
	}
}

// redoLocked makes loose changes again that were taken back.
func (s *Store) redoLocked(failed []*group) {
	for _, g := range failed {
		for _, o := range g.loose {
			if o.tries++; o.tries <= maxRedo || o.done == nil {
				s.sealOpLocked(o)
			}
		}
	}
}

// recoveredLocked ends a recovery: what was put off is done now.
func (s *Store) recoveredLocked() {
	s.recovering = false
	deferred := s.deferred
	s.deferred = nil
	for _, o := range deferred {
		s.sealOpLocked(o)
	}
	s.room.Broadcast()
}

func (s *Store) forgetSessionLocked(g *group, client string) {
	if ses := s.sessions[client]; ses != nil {
		s.dropOutgoingLocked(g, ses)
		s.journal.live -= ses.count()
		delete(s.sessions, client)
		delete(s.sessionIDs, ses.id)
	}
}

func (g *group) putSession(client string, o sessionOp) {
	if g.sessions == nil {
		g.sessions = make(map[string]sessionOp)
	}
	g.sessions[client] = o
}

func unixNanos(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixNano()
}
