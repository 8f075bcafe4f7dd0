package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/headgate-io/headgate/firmware-tests/observer"
	"github.com/headgate-io/headgate/gateway/store"
)

// ledger is what had been acknowledged up to a point of the trace. A
// publisher's packet ids are its events' numbers: one connection sends fewer
// than there are ids.
type ledger struct {
	publishers map[string]*observer.Publisher // by address
	rest       map[string][]byte              // bytes of a packet that is not complete, by address
	taken      map[string][]int               // acknowledged numbers, by publisher's name
}

func newLedger(rec *recording) *ledger {
	return &ledger{publishers: rec.publishers, rest: map[string][]byte{}, taken: map[string][]int{}}
}

func (l *ledger) count() (n int) {
	for _, numbers := range l.taken {
		n += len(numbers)
	}
	return n
}

// take reads the packets that a client was sent.
func (l *ledger) take(c *call) error {
	p := l.publishers[c.path]
	if c.kind != opAnswered || p == nil {
		return nil
	}
	b := append(l.rest[c.path], c.data...)
	for len(b) >= 2 {
		if b[1] >= 0x80 {
			return fmt.Errorf("a packet of more than 127 bytes for a publisher: 0x%02x", b[0])
		}
		size := 2 + int(b[1])
		if len(b) < size {
			break
		}
		if kind := b[0] >> 4; kind == 4 || kind == 5 { // PUBACK, PUBREC
			l.taken[p.Name] = append(l.taken[p.Name], int(b[2])<<8|int(b[3]))
		}
		b = b[size:]
	}
	l.rest[c.path] = append([]byte(nil), b...)
	return nil
}

// compare opens what a power cut left. It returns what is wrong with it.
func compare(ctx context.Context, dir string, l *ledger) (found string, err error) {
	path := filepath.Join(dir, "headgate.db")
	s, err := store.Open(ctx, store.Config{Path: path, Durability: store.Relaxed, MinFreeBytes: -1})
	if err != nil {
		return "", err
	}
	defer func() {
		if e := s.Close(ctx); err == nil {
			err = e
		}
	}()
	if found, err := integrity(ctx, path); err != nil || found != "" {
		return found, err
	}
	waiting, err := queued(ctx, s)
	if err != nil {
		return "", err
	}
	for name, numbers := range l.taken {
		for _, function := range observer.Functions {
			seen, err := seenBy(ctx, s, function, name)
			if err != nil {
				return "", err
			}
			rows := waiting[function+"/count/"+name]
			for _, n := range numbers {
				switch ran := seen.Has(n); {
				case !ran && rows[n] == 0:
					return fmt.Sprintf("%s: event %d of %s was acknowledged and is gone", function, n, name), nil
				case ran && rows[n] > 0, rows[n] > 1:
					return fmt.Sprintf("%s: event %d of %s has its effect, and waits to have it again", function, n, name), nil
				}
			}
			if seen.Count != seen.Distinct() {
				return fmt.Sprintf("%s: %d events of %s ran %d times", function, seen.Distinct(), name, seen.Count), nil
			}
		}
	}
	return "", nil
}

func integrity(ctx context.Context, path string) (found string, err error) {
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath())
	if err != nil {
		return "", err
	}
	defer db.Close()
	if err := db.QueryRowContext(ctx, "PRAGMA integrity_check(1)").Scan(&found); err != nil {
		return "", err
	}
	if found == "ok" {
		return "", nil
	}
	return "integrity check: " + found, nil
}

func seenBy(ctx context.Context, s *store.Store, function, publisher string) (seen observer.Seen, err error) {
	value, ok, err := s.GetState(ctx, function, publisher)
	if err != nil || !ok {
		return seen, err
	}
	return seen, json.Unmarshal(value, &seen)
}

// queued counts the rows that wait, by function and topic, and number.
func queued(ctx context.Context, s *store.Store) (map[string]map[int]int, error) {
	out := map[string]map[int]int{}
	var ids []store.RowID
	names := map[store.RowID]string{}
	err := s.QueuedRows(ctx, func(r *store.QueueRow) error {
		ids = append(ids, r.ID)
		names[r.ID] = r.Function.Name()
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		ev, _, err := s.LoadEvent(ctx, id)
		if err != nil {
			return nil, err
		}
		var body struct{ N int }
		if err := json.Unmarshal(ev.Data, &body); err != nil {
			return nil, err
		}
		key := names[id] + "/" + strings.Clone(ev.Subject)
		if out[key] == nil {
			out[key] = map[int]int{}
		}
		out[key][body.N]++
	}
	return out, nil
}
