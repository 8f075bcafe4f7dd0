package broker

import (
	"encoding/binary"
	"time"
)

// will is a client's last will, ready to be published.
type will struct {
	msg   Message
	delay time.Duration
	life  time.Duration // message expiry from publication; negative is none
}

// encodeWill is delay and life, then the message.
func encodeWill(w *will) []byte {
	if w == nil {
		return nil
	}
	b := binary.AppendVarint(nil, int64(w.delay))
	b = binary.AppendVarint(b, int64(w.life))
	return AppendMessage(b, &w.msg, w.msg.Expires)
}

func decodeWill(b []byte) (*will, error) {
	d := storedReader{b: b}
	w := &will{delay: time.Duration(d.varint()), life: time.Duration(d.varint())}
	m, err := decodeMessage(d.b)
	if err != nil {
		return nil, err
	}
	w.msg = *m
	return w, nil
}

// willIsOut follows the release of a will: a restart need not publish it any
// more.
func (s *session) willIsOut(w *will) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leaving != w || s.ended {
		return
	}
	s.leaving = nil
	if s.conn == nil && s.stored.Load() {
		s.persistLocked()
	}
}

// restoreWill gives a session the will back that was not out when the process
// ended, and returns when it is due.
func (s *session) restoreWill(stored []byte) time.Duration {
	if len(stored) == 0 {
		return longest
	}
	w, err := decodeWill(stored)
	if err != nil {
		s.srv.damaged("will", "client", s.client, err)
		return longest
	}
	s.will, s.leaving = w, w
	return time.Until(s.since.Add(w.delay))
}
