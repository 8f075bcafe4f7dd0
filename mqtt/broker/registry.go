package broker

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net"
	"time"
)

// attach gives c the session of its client, new or resumed, and sends the
// CONNACK. A connection that has the session is taken over: its reader has
// ended before anything of the new one is read, so the order of what the client
// published holds.
func (s *Server) attach(ctx context.Context, c *conn, h *hello) error {
	sess, present, err := s.claim(ctx, c, h)
	if err != nil {
		return err
	}
	c.sess, c.resumed, c.will = sess, present, h.will
	if present {
		sess.revoke(c)
	}
	c.keepAlive = s.keepAlive(c.version, c.keepAlive)
	connack := c.connack(h, Success, "")
	if connack == nil {
		err = refuse(PacketTooLarge, "a maximum packet size of %d bytes leaves no room for the CONNACK", c.max.packet)
	} else {
		err = s.admitSession(c, sess, h)
	}
	if err == nil {
		err = c.nc.SetDeadline(time.Time{})
	}
	if err == nil && c.kicked() { // whose deadline was just overwritten
		err = net.ErrClosed
	}
	if err != nil {
		s.unclaim(sess, c)
		if !present || sess.forgotten.Load() {
			s.end(sess)
		}
		return err
	}
	c.out = newOutput(s.cfg.MaxOutBuffer, &c.outHeld)
	c.routing = &routing{srv: s}
	s.wg.Add(1)
	go c.write()
	sess.activate(c, h, connack)
	c.routing.flush()
	s.log.Debug("client connected", "client", sess.client, "user", sess.user, "remote", c.remote, "session_present", present)
	return nil
}

// admitSession makes a durable session durable before the client hears of it.
func (s *Server) admitSession(c *conn, sess *session, h *hello) error {
	sess.keeps.Store(h.expiry > 0)
	sess.mu.Lock()
	sess.expiry, sess.leaving = h.expiry, nil
	sess.mu.Unlock()
	if sess.forgotten.Load() { // by Forget, which was faster
		sess.keeps.Store(false)
		return net.ErrClosed
	}
	if err := sess.save(c, sess.subs); err != nil {
		return refuse(ServerUnavailable, "the session cannot be stored")
	}
	return nil
}

// claim finds or makes the session and makes c its owner.
func (s *Server) claim(ctx context.Context, c *conn, h *hello) (sess *session, present bool, err error) {
	for {
		s.mu.Lock()
		if s.closing {
			s.mu.Unlock()
			return nil, false, refuse(ServerShuttingDown, "the server is shutting down")
		}
		if c.stale {
			c.stale = false
			s.mu.Unlock()
			return nil, false, errStale
		}
		old := s.sessions[h.client]
		if old != nil && (old.user != h.user || old.resident != nil) {
			s.mu.Unlock()
			s.count.deniedConnects.Add(1)
			return nil, false, refuse(NotAuthorized, "client id %q belongs to another user", h.client)
		}
		if old != nil && old.owner != nil {
			owner := old.owner
			s.mu.Unlock()
			s.count.takeovers.Add(1)
			owner.kick(SessionTakenOver) // [MQTT-3.1.4-3]
			select {
			case <-owner.done:
			case <-c.closing:
				return nil, false, net.ErrClosed
			case <-ctx.Done():
				return nil, false, refuse(ServerBusy, "the earlier connection did not end in time")
			}
			continue
		}
		if old != nil && !h.clean { // [MQTT-3.1.2-5]
			old.owner = c
			s.mu.Unlock()
			return old, true, nil
		}
		if old != nil {
			old.owner = c // nobody else may have it now
			s.mu.Unlock()
			old.returnShared()
			s.mu.Lock()
		}
		sess, displaced, err := s.newSessionLocked(h, old)
		if err != nil {
			s.mu.Unlock()
			return nil, false, err
		}
		sess.owner = c
		s.mu.Unlock()
		if displaced != nil {
			displaced.finishEnd()
		}
		return sess, false, nil
	}
}

// newSessionLocked makes a session in place of old, which may be nil. Beyond
// MaxSessions one that is offline goes, of the user who has most: nobody
// displaces others by making sessions.
func (s *Server) newSessionLocked(h *hello, old *session) (sess, displaced *session, err error) {
	displaced = old
	if old == nil && len(s.sessions) >= s.cfg.MaxSessions {
		if displaced = s.expendableLocked(); displaced == nil {
			s.count.refusedSessions.Add(1)
			return nil, nil, refuse(QuotaExceeded, "too many sessions")
		}
		s.count.displaced.Add(1)
	}
	if displaced != nil {
		s.removeLocked(displaced)
	}
	sess = s.makeSessionLocked(h.client, h.user, newEpoch())
	if old != nil {
		sess.lane = old.lane // what it has published is still to be released, in order
	}
	return sess, displaced, nil
}

func (s *Server) makeSessionLocked(client, user string, epoch uint64) *session {
	sess := &session{
		srv: s, client: client, user: user, epoch: epoch,
		inbox: newInbox(max(int(s.cfg.ReceiveMaximum), 1024)),
		subs:  map[string]*subscription{}, out: newOutgoing(),
	}
	if sess.lane = s.lanes[client]; sess.lane == nil {
		sess.lane = newLane()
	}
	delete(s.lanes, client)
	if n := len(s.freeSlots); n > 0 {
		sess.slot, s.freeSlots = s.freeSlots[n-1], s.freeSlots[:n-1]
	} else {
		sess.slot = s.slots
		s.slots++
	}
	s.sessions[client] = sess
	s.perUser[user]++
	s.sessionCount.Store(int64(len(s.sessions)))
	return sess
}

// removeLocked takes a session out. Its stored record goes in the same step: a
// later session of the same client must be saved after that.
func (s *Server) removeLocked(sess *session) {
	delete(s.sessions, sess.client)
	if s.perUser[sess.user]--; s.perUser[sess.user] == 0 {
		delete(s.perUser, sess.user)
	}
	s.sessionCount.Store(int64(len(s.sessions)))
	s.freeSlots = append(s.freeSlots, sess.slot)
	if s.store == nil || !sess.stored.Load() {
		return
	}
	s.storedSessions.Add(-1)
	s.storing.Add(1)
	sess.records.remove(s.store, sess.client, func(err error) {
		defer s.storing.Done()
		s.storeFailed("delete session", sess.client, err)
	})
}

func (s *Server) expendableLocked() (oldest *session) {
	var at time.Time
	most := 0
	for _, sess := range s.sessions {
		if sess.owner != nil || sess.resident != nil {
			continue
		}
		n, since := s.perUser[sess.user], sess.offlineSince()
		if n > most || n == most && since.Before(at) {
			oldest, at, most = sess, since, n
		}
	}
	return oldest
}

func (s *session) offlineSince() time.Time { return time.Unix(0, s.leftAt.Load()) }

// newEpoch is random, so that it needs no memory of those used before. It fits
// a signed integer.
func newEpoch() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:])>>1 | 1
}

// unclaim gives the session up.
func (s *Server) unclaim(sess *session, c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sess.owner == c {
		sess.owner = nil
	}
}

// unlink takes a session that nobody owns out of the registry. It reports
// false when somebody was faster.
func (s *Server) unlink(sess *session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sessions[sess.client] != sess || sess.owner != nil {
		return false
	}
	s.removeLocked(sess)
	return true
}

// offline reports whether nobody owns the session.
func (s *Server) offline(sess *session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return sess.owner == nil
}

// retire ends a session together with its connection.
func (s *Server) retire(sess *session, c *conn) {
	sess.returnShared()
	s.mu.Lock()
	if sess.owner != c {
		s.mu.Unlock()
		return
	}
	sess.owner = nil
	s.removeLocked(sess)
	s.mu.Unlock()
	sess.finishEnd()
}

func (s *Server) end(sess *session) {
	if s.offline(sess) {
		sess.returnShared()
	}
	if s.unlink(sess) {
		sess.finishEnd()
	}
}

// settleLane keeps the lane of an ended session findable until it is empty.
func (s *Server) settleLane(sess *session) {
	l := sess.lane
	l.mu.Lock()
	busy := l.first() != nil || l.draining
	if busy {
		l.orphan = func() { s.dropLane(sess.client, l) }
	}
	l.mu.Unlock()
	if !busy {
		return
	}
	s.mu.Lock()
	if s.sessions[sess.client] == nil {
		s.lanes[sess.client] = l
	}
	s.mu.Unlock()
	l.mu.Lock()
	empty := l.first() == nil && !l.draining
	l.mu.Unlock()
	if empty {
		s.dropLane(sess.client, l)
	}
}

func (s *Server) dropLane(client string, l *lane) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lanes[client] == l {
		delete(s.lanes, client)
	}
}

func (s *Server) keepAlive(version byte, asked time.Duration) time.Duration {
	limit := s.cfg.MaxKeepAlive
	if version != 5 || limit == 0 || (asked > 0 && asked <= limit) {
		return asked
	}
	return limit.Truncate(time.Second)
}

var errStoreTimeout = errors.New("the session store did not answer in time")

// save writes the session with these subscriptions and waits for the disk. It
// is called by the reader of the connection that owns the session.
func (s *session) save(c *conn, subs map[string]*subscription) error {
	if s.srv.store == nil || (!s.durable() && !s.stored.Load()) {
		return nil
	}
	s.noteStored()
	s.mu.Lock()
	rec := s.recordLocked(subs, true)
	s.mu.Unlock()
	rec.Will = encodeWill(c.will)
	if c.routing != nil {
		c.routing.flush() // others must not wait for this disk
	}
	result := make(chan error, 1)
	s.srv.storing.Add(1)
	s.records.save(s.srv.store, rec, func(err error) {
		defer s.srv.storing.Done()
		s.srv.storeFailed("save session", s.client, err)
		result <- err
	})
	t := time.NewTimer(s.srv.cfg.StoreTimeout)
	defer t.Stop()
	select {
	case err := <-result:
		return err
	case <-c.closing:
		return net.ErrClosed
	case <-t.C:
		s.srv.storeFailed("save session", s.client, errStoreTimeout)
		return errStoreTimeout
	}
}

func (s *session) noteStored() {
	if !s.stored.Swap(true) {
		s.srv.storedSessions.Add(1)
	}
}

// persist writes the session as offline, without waiting.
func (s *session) persist() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.persistLocked()
}

func (s *session) persistLocked() {
	if s.srv.store == nil {
		return
	}
	s.srv.storing.Add(1)
	s.records.save(s.srv.store, s.recordLocked(s.subs, false), func(err error) {
		defer s.srv.storing.Done()
		s.srv.storeFailed("save session", s.client, err)
	})
}

func (s *session) recordLocked(subs map[string]*subscription, connected bool) SessionRecord {
	rec := SessionRecord{
		Client: s.client, User: s.user, Epoch: s.epoch, Expiry: s.expiry, Subscriptions: encodeSubscriptions(subs),
	}
	if !connected {
		rec.Disconnected = s.since
		rec.Will = encodeWill(s.leaving)
	}
	return rec
}

func (s *Server) storeFailed(what, client string, err error) {
	if err == nil {
		return
	}
	s.count.storeErrors.Add(1)
	s.log.Error("session store", "operation", what, "client", client, "error", err)
}
