package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/headgate-io/headgate/firmware-tests/observer"
	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/mqtt/broker"
)

// ledger is what had been acknowledged up to a point of the trace. A
// publisher's packet ids are its events' numbers: one connection sends fewer
// than there are ids.
type ledger struct {
	publishers map[string]*observer.Publisher // by address
	rest       map[string][]byte              // bytes of a packet that is not complete, by address
	taken      map[string][]int               // acknowledged numbers, by publisher's name
	objects    []int                          // acknowledged uploads
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
	if n, ok := storedIn(c); ok {
		l.objects = append(l.objects, n)
		return nil
	}
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
	if found, err := lostObject(ctx, s, dir, l.objects); err != nil || found != "" {
		return found, err
	}
	waiting, err := queued(ctx, s)
	if err != nil {
		return "", err
	}
	kept, err := messages(ctx, s)
	if err != nil {
		return "", err
	}
	for name, numbers := range l.taken {
		if found, err := missing(ctx, s, kept, name, numbers); err != nil || found != "" {
			return found, err
		}
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

var (
	topicIn  = regexp.MustCompile(`(?:count|out)/pub-\d+`)
	numberIn = regexp.MustCompile(`\{"n":(\d+)\}`)
)

// messages are the numbers that wait for the absent subscriber, by topic, with
// how often each does.
func messages(ctx context.Context, s *store.Store) (map[string]map[int]int, error) {
	type content struct {
		topic  string
		number int
	}
	bodies := map[uint64]content{}
	err := s.LoadMessages(ctx, func(id uint64, body []byte) {
		if m := numberIn.FindSubmatch(body); m != nil {
			n, _ := strconv.Atoi(string(m[1]))
			bodies[id] = content{string(topicIn.Find(body)), n}
		}
	})
	if err != nil {
		return nil, err
	}
	out := map[string]map[int]int{}
	return out, s.LoadOutgoing(ctx, func(r broker.OutgoingRecord) {
		c := bodies[r.Message]
		if r.Client != absent {
			return
		}
		if out[c.topic] == nil {
			out[c.topic] = map[int]int{}
		}
		out[c.topic][c.number]++
	})
}

// missing looks for messages of a publisher's events that do not wait for the
// absent subscriber: those that were acknowledged, and what counter published
// in the transaction that counted.
func missing(ctx context.Context, s *store.Store, kept map[string]map[int]int, name string, acknowledged []int) (found string, err error) {
	for _, n := range acknowledged {
		if kept["count/"+name][n] != 1 {
			return fmt.Sprintf("event %d of %s was acknowledged, and waits for its subscriber %d times", n, name, kept["count/"+name][n]), nil
		}
	}
	seen, err := seenBy(ctx, s, "counter", name)
	if err != nil {
		return "", err
	}
	out := kept["out/"+name]
	for _, r := range seen.Ranges {
		for n := r[0]; n <= r[1]; n++ {
			if out[n] != 1 {
				return fmt.Sprintf("counter counted event %d of %s, and what it published waits for its subscriber %d times", n, name, out[n]), nil
			}
		}
	}
	if len(out) != seen.Distinct() {
		return fmt.Sprintf("counter counted %d events of %s, and %d of what it published wait", seen.Distinct(), name, len(out)), nil
	}
	return "", nil
}
