package broker

import (
	"errors"
	"strings"
	"sync/atomic"
)

// Plan is a message of QoS 1 or 2 with the places that it has in the queues of
// durable sessions, from before its commit until it is delivered. A place
// keeps later messages behind it, so that order holds whichever commit is
// first, and its number is the packet id, so that the id is on disk before the
// message leaves.
//
// Plan, then commit, then deliver: what a plan lists goes into the event's own
// unit (see gateway/store), or by Server.Deliver into a commit of its own.
type Plan struct {
	// Message is stored once, however many sessions get it.
	Message *Message
	// Rows are the places; they must not change while a commit is under way.
	Rows []Row
	// Retain is true when the topic's retained message changes with it.
	Retain bool

	srv       *Server
	publisher string
	groups    []*shareGroup // that have chosen their member
	stored    atomic.Bool
}

// Row is one place.
type Row struct {
	Client string
	Epoch  uint64
	Seq    uint64

	sess *session
	q    queued
}

// Committed says that the plan is on disk: its owner put it into a commit of
// its own. It comes before the release.
func (p *Plan) Committed() { p.stored.Store(true) }

// has reports whether sess has a place.
func (p *Plan) has(sess *session) bool {
	for i := range p.Rows {
		if p.Rows[i].sess == sess {
			return true
		}
	}
	return false
}

// Plan reserves the places of a message that the gateway itself publishes: see
// Plan. It is nil when nothing of the message has to be on disk. joins says
// that there is a commit anyway, which then takes a retained message of QoS 0
// too. m must not change afterwards. The plan ends with Deliver or Cancel.
func (s *Server) Plan(m *Message, joins bool) *Plan {
	if m.QoS == 0 && !(joins && m.Retain) {
		return nil
	}
	r := s.borrow()
	p := r.plan(s, m, "", true)
	r.giveBack()
	return p
}

// Deliver delivers a planned message. Where its plan is not Committed it is
// stored first. done, which may be nil, is called when the message is safe and
// on its way, or with an error when it could not be stored.
func (s *Server) Deliver(p *Plan, done func(error)) {
	r := s.borrow()
	defer r.giveBack()
	if !p.stored.Load() {
		p.store(r, func(err error) {
			if err == nil {
				s.Deliver(p, done)
			} else if done != nil {
				done(err)
			}
		})
		return
	}
	r.route(s, p.Message, p.publisher, true, p)
	if done != nil {
		done(nil)
	}
}

// Cancel gives the places up: the commit will not be.
func (p *Plan) Cancel() {
	r := p.srv.borrow()
	p.cancel(r)
	r.giveBack()
}

func (p *Plan) cancel(r *routing) {
	for i := range p.Rows {
		p.Rows[i].sess.giveUp(r, p.Rows[i].Seq)
	}
}

// keepsRetained reports whether a topic's retained messages outlive the
// process. $SYS is made anew.
func (s *Server) keepsRetained(name string) bool {
	return s.messages != nil && !strings.HasPrefix(name, sysPrefix)
}

// retainedChanged keeps the disk at what the memory retains.
func (s *Server) retainedChanged(m *Message) {
	if s.keepsRetained(m.Topic) {
		s.messages.Retain(m)
	}
}

// plan matches m and reserves a place with every durable session that gets it
// with QoS 1 or 2. It returns nil when nothing has to be on disk.
func (r *routing) plan(s *Server, m *Message, publisher string, owned bool) *Plan {
	if s.messages == nil || m.expired() {
		return nil
	}
	retain := m.Retain && s.keepsRetained(m.Topic)
	if m.QoS == 0 || s.storedSessions.Load() == 0 {
		if !retain {
			return nil
		}
		return &Plan{Message: keep(m, owned), Retain: true, srv: s, publisher: publisher}
	}
	r.take(m, owned)
	var p *Plan
	r.subs = s.subs.Match(m.Topic, r.subs[:0])
	r.collect(m, publisher, func(g *shareGroup) { g.plan(r, m, &p) })
	for i := range r.targets {
		t := &r.targets[i]
		r.stamps[t.sess.slot] = 0
		if t.qos > 0 {
			t.sess.reserve(r, t.queued, &p)
		}
		*t = target{}
	}
	r.targets = r.targets[:0]
	if p == nil && retain {
		p = &Plan{Message: r.keep(), srv: s}
	}
	if p != nil {
		p.Retain, p.publisher = retain, publisher
	}
	r.drop()
	return p
}

// reserve gives the message in hand a place in the queue of a durable session,
// and puts that into *p, which it makes if need be. It reports false when the
// session is not durable or has ended.
func (s *session) reserve(r *routing, q queued, p **Plan) bool {
	if !s.persists() {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return false
	}
	if *p == nil {
		*p = &Plan{Message: r.keep(), srv: s.srv}
	}
	s.reserveLocked(q, *p)
	return true
}

func (s *session) reserveLocked(q queued, p *Plan) {
	q.msg, q.seq, q.state, q.stored = p.Message, s.out.take(), reserved, true
	s.out.lossless.push(q)
	p.Rows = append(p.Rows, Row{Client: s.client, Epoch: s.epoch, Seq: q.seq, sess: s, q: q})
}

// store commits the plan by itself. What a client published with QoS 1 may
// already be sent meanwhile: its publisher has no acknowledgement yet, and when
// the subscribers are faster than the committer nothing is written at all.
func (p *Plan) store(r *routing, done func(error)) {
	p.srv.storing.Add(1)
	p.srv.messages.Deliver(p, func(err error) {
		defer p.srv.storing.Done()
		p.written(err, done)
	})
	for i := range p.Rows {
		if row := &p.Rows[i]; row.q.qos == 1 {
			row.sess.makeReady(r, row.Seq)
		}
	}
}

// written follows the commit, or its loss.
func (p *Plan) written(err error, done func(error)) {
	if !errors.Is(err, ErrRefused) {
		p.srv.storeFailed("store message", p.publisher, err)
	}
	if done == nil { // nobody waits: what cannot be stored is in memory at least
		err = nil
	}
	p.stored.Store(err == nil)
	r := p.srv.borrow()
	if err != nil {
		p.cancel(r)
	} else if done == nil {
		p.ready(r)
	}
	r.giveBack()
	if done != nil {
		done(err)
	}
}

// ready lets the places go that waited for the commit.
func (p *Plan) ready(r *routing) {
	for i := range p.Rows {
		p.Rows[i].sess.makeReady(r, p.Rows[i].Seq)
	}
}

// makeReady lets a reserved place go. Where the place was taken away meanwhile
// its row has to go.
func (s *session) makeReady(r *routing, seq uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.out.lossless.find(seq)
	if q == nil {
		if s.out.flight(seq) == nil && !s.ended {
			s.removeRow(seq)
		}
		return
	}
	if q.state != reserved {
		return
	}
	q.state = ready
	s.admit(q)
	s.pump(r)
}

// giveUp takes a place back whose commit will not be.
func (s *session) giveUp(r *routing, seq uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if q := s.out.lossless.find(seq); q != nil && q.state == reserved {
		s.out.lossless.drop(q)
		s.pump(r)
	}
}

// removeRow deletes a row that is no longer needed.
func (s *session) removeRow(seq uint64) {
	if s.srv.messages != nil {
		s.srv.messages.Remove(s.client, s.epoch, seq)
	}
}

// persists reports whether what the session has to get outlives the process.
func (s *session) persists() bool { return s.srv.messages != nil && s.keeps.Load() }
