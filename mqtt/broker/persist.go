package broker

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/headgate-io/headgate/mqtt/topic"
)

// subscriptionsVersion is the first byte of stored subscriptions.
const subscriptionsVersion = 1

// encodeSubscriptions is version, count, then for each: filter, options byte as
// in SUBSCRIBE [MQTT5 3.8.3.1], subscription identifier.
func encodeSubscriptions(subs map[string]*subscription) []byte {
	b := []byte{subscriptionsVersion}
	b = binary.AppendUvarint(b, uint64(len(subs)))
	for _, filter := range slices.Sorted(maps.Keys(subs)) {
		sub := subs[filter]
		b = appendString(b, filter)
		options := sub.qos | sub.handling<<4
		if sub.noLocal {
			options |= 4
		}
		if sub.asPublish {
			options |= 8
		}
		b = append(b, options)
		b = binary.AppendUvarint(b, uint64(sub.id))
	}
	return b
}

var errBadSubscriptions = errors.New("stored subscriptions are not readable")

func decodeSubscriptions(b []byte) ([]*subscription, error) {
	if len(b) == 0 {
		return nil, nil
	}
	if b[0] != subscriptionsVersion {
		return nil, fmt.Errorf("%w: version %d", errBadSubscriptions, b[0])
	}
	count, n := binary.Uvarint(b[1:])
	if n <= 0 || count > uint64(len(b)) {
		return nil, errBadSubscriptions
	}
	b = b[1+n:]
	out := make([]*subscription, 0, count)
	for range count {
		end := skipString(b, 0)
		if end == 0 || end >= len(b) {
			return nil, errBadSubscriptions
		}
		options := b[end]
		id, n := binary.Uvarint(b[end+1:])
		if n <= 0 || id > maxRemaining {
			return nil, errBadSubscriptions
		}
		sub := &subscription{
			filter: string(b[2:end]), qos: options & 3, handling: options >> 4 & 3,
			noLocal: options&4 != 0, asPublish: options&8 != 0, id: int(id),
		}
		group, match, err := topic.SplitShare(sub.filter)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errBadSubscriptions, err)
		}
		if sub.match = match; group != "" {
			sub.group = &shareGroup{}
		}
		out = append(out, sub)
		b = b[end+1+n:]
	}
	return out, nil
}

// load restores the stored sessions. One that cannot be read is left out and
// logged: its client starts afresh.
func (s *Server) load(ctx context.Context) error {
	if s.store == nil {
		return nil
	}
	records, err := s.store.LoadSessions(ctx)
	if err != nil {
		return fmt.Errorf("load sessions: %w", err)
	}
	for _, rec := range records {
		if err := s.restore(rec); err != nil {
			s.log.Error("stored session is not usable", "client", rec.Client, "error", err)
		}
	}
	return nil
}

func (s *Server) restore(rec SessionRecord) error {
	if rec.Expiry <= 0 { // it ended with its connection, and that with the process
		s.storing.Add(1)
		s.store.DeleteSession(rec.Client, func(err error) {
			defer s.storing.Done()
			s.storeFailed("delete session", rec.Client, err)
		})
		return nil
	}
	subs, err := decodeSubscriptions(rec.Subscriptions)
	if err != nil {
		return err
	}
	since := rec.Disconnected
	now := time.Now()
	unsure := since.IsZero() || since.After(now)
	if unsure {
		since = now // it was connected when the process ended, or the clock went back
	}
	s.mu.Lock()
	sess := s.makeSessionLocked(rec.Client, rec.User, rec.Epoch)
	s.mu.Unlock()
	sess.keeps.Store(true)
	sess.noteStored()
	sess.leftAt.Store(since.UnixNano())
	sess.mu.Lock()
	sess.expiry, sess.since = rec.Expiry, since
	sess.ends = since.Add(min(rec.Expiry, longest))
	left := time.Until(sess.ends)
	for _, sub := range subs {
		sub.sess = sess
		s.subscribeIndex(sub, nil)
		sess.subs[sub.filter] = sub
	}
	left = min(left, sess.restoreWill(rec.Will))
	if unsure {
		sess.persistLocked() // or every start would put off its end, and its will
	}
	sess.mu.Unlock()
	var records []InboundRecord
	for _, r := range rec.Inbound {
		if r.Epoch == rec.Epoch {
			records = append(records, r)
		}
	}
	sess.inbox.restore(records)
	s.timers.after(&sess.timer, max(left, 0), sess.timeUp)
	return nil
}
