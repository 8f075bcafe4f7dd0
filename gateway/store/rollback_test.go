package store_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/internal/testdb"
	"github.com/headgate-io/headgate/mqtt/broker"
)

// fail makes one step of a commit fail, once armed, a number of times.
type fail struct {
	step  store.Step
	times atomic.Int32
}

func (f *fail) inject(step store.Step) error {
	if step == f.step && f.times.Add(-1) >= 0 {
		return errors.New("disk I/O error (injected)")
	}
	return nil
}

func TestFailedCommitIsTakenBack(t *testing.T) {
	for _, step := range []store.Step{store.StepBegin, store.StepWrite, store.StepCommit} {
		t.Run(string(step), func(t *testing.T) {
			f := &fail{step: step}
			path := dbPath(t)
			s := open(t, path, func(c *store.Config) { c.Inject = f.inject })
			mustSeal(t, s, &store.Unit{Slots: []store.Slot{{Writes: []function.Write{set("f", "a", "old")}}}})
			_, gen := s.Sealed()
			f.times.Store(1)

			reader := s.View()
			defer reader.Release()
			if _, _, err := reader.Get("f", "a"); err != nil {
				t.Fatal(err)
			}
			fn := s.Function("f")
			row := &store.QueueRow{ID: fn.NextID(), Function: fn, Event: testEvent("e")}
			err := seal(t, s, &store.Unit{Slots: []store.Slot{{Writes: []function.Write{set("f", "a", "new"), set("g", "b", "new")}}}, Insert: []*store.QueueRow{row}})
			if !errors.Is(err, store.ErrRolledBack) {
				t.Fatalf("failed commit: %v", err)
			}
			if a, b := get(t, s, "f", "a"), get(t, s, "g", "b"); a != "old" || b != "(absent)" {
				t.Errorf("after the rollback a = %s, b = %s", a, b)
			}
			if n, _ := s.QueueLen(); n != 0 {
				t.Errorf("%d rows counted after the rollback", n)
			}
			if !reader.Stale() {
				t.Error("a view from before the rollback is not stale")
			}
			if _, _, err := reader.Get("f", "a"); !errors.Is(err, store.ErrRolledBack) {
				t.Errorf("reading with it: %v", err)
			}
			if err := seal(t, s, &store.Unit{Gen: gen, Slots: []store.Slot{{Writes: []function.Write{set("f", "a", "x")}}}}); !errors.Is(err, store.ErrRolledBack) {
				t.Errorf("a unit of the old generation: %v", err)
			}
			// Namespace g had its number in the failed group alone.
			mustSeal(t, s, &store.Unit{Slots: []store.Slot{{Writes: []function.Write{set("f", "a", "new"), set("g", "b", "new")}}}, Insert: []*store.QueueRow{row}})
			r := open(t, testdb.Copy(t, path))
			if a, b := get(t, r, "f", "a"), get(t, r, "g", "b"); a != "new" || b != "new" {
				t.Errorf("rerun after a crash: a = %s, b = %s", a, b)
			}
		})
	}
}

// An error that comes although the transaction is on disk fails nobody.
func TestCommitThatOnlyLooksFailed(t *testing.T) {
	f := &fail{step: store.StepAfterCommit}
	s := open(t, dbPath(t), func(c *store.Config) { c.Inject = f.inject })
	f.times.Store(1)
	mustSeal(t, s, &store.Unit{Slots: []store.Slot{{Writes: []function.Write{set("f", "a", "new")}}}})
	if st := s.Stats(); st.CommitErrors != 1 || st.Rollbacks != 0 {
		t.Errorf("stats %+v", st)
	}
	if got := get(t, s, "f", "a"); got != "new" {
		t.Errorf("a = %s", got)
	}
}

func TestReopenIsTriedAgain(t *testing.T) {
	f, g := &fail{step: store.StepCommit}, &fail{step: store.StepReopen}
	s := open(t, dbPath(t), func(c *store.Config) {
		c.Inject = func(step store.Step) error { return errors.Join(f.inject(step), g.inject(step)) }
	})
	f.times.Store(1)
	g.times.Store(2)
	if err := seal(t, s, &store.Unit{Slots: []store.Slot{{Writes: []function.Write{set("f", "a", "1")}}}}); !errors.Is(err, store.ErrRolledBack) {
		t.Fatal(err)
	}
	mustSeal(t, s, &store.Unit{Slots: []store.Slot{{Writes: []function.Write{set("f", "a", "2")}}}})
}

// An administrator's mistake fails alone, not the units that share its commit.
func TestRareOperationFailsAlone(t *testing.T) {
	s := open(t, dbPath(t))
	done := make(chan error, 1)
	if _, err := s.Seal(&store.Unit{Slots: []store.Slot{{Writes: []function.Write{set("f", "a", "1")}}}, Done: func(err error) { done <- err }}); err != nil {
		t.Fatal(err)
	}
	if err := s.RemoveDevice(context.Background(), "nobody"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("remove nobody: %v", err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func saveSession(t *testing.T, s *store.Store, rec broker.SessionRecord) {
	t.Helper()
	done := make(chan error, 1)
	s.SaveSession(rec, func(err error) { done <- err })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func loadSessions(t *testing.T, s *store.Store) map[string]broker.SessionRecord {
	t.Helper()
	recs, err := s.LoadSessions(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]broker.SessionRecord{}
	for _, r := range recs {
		out[r.Client] = r
	}
	return out
}

func TestSessionsAndDuplicateRecords(t *testing.T) {
	path := dbPath(t)
	s := open(t, path)
	rec := broker.SessionRecord{Client: "soil-3", User: "u", Epoch: 1 << 63, Expiry: broker.NeverExpires, Subscriptions: []byte("subs")}
	saveSession(t, s, rec)
	saveSession(t, s, broker.SessionRecord{Client: "other", Epoch: 7})
	in := func(client string, epoch uint64, qos byte, slot uint32, hash uint64) *store.Unit {
		return &store.Unit{Inbound: &broker.InboundRecord{Client: client, Epoch: epoch, QoS: qos, Slot: slot, PacketID: uint16(slot + 1), Hash: hash}}
	}
	mustSeal(t, s, in("soil-3", 1<<63, 1, 0, 100))
	mustSeal(t, s, in("soil-3", 1<<63, 1, 1, 101))
	mustSeal(t, s, in("soil-3", 1<<63, 1, 0, 102)) // forgets the first
	mustSeal(t, s, in("soil-3", 1<<63, 2, 9, 103))
	mustSeal(t, s, in("soil-3", 1<<63, 2, 10, 104))
	mustSeal(t, s, in("soil-3", 5, 1, 2, 105)) // an epoch that is over
	mustSeal(t, s, in("other", 7, 1, 0, 106))
	done := make(chan error, 1)
	s.ForgetID("soil-3", 1<<63, 9, func(err error) { done <- err })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	hashes := func(s *store.Store, client string) map[uint64]bool {
		out := map[uint64]bool{}
		for _, r := range loadSessions(t, s)[client].Inbound {
			out[r.Hash] = true
		}
		return out
	}
	r := open(t, testdb.Copy(t, path))
	got := loadSessions(t, r)["soil-3"]
	if got.User != "u" || got.Epoch != 1<<63 || got.Expiry != broker.NeverExpires || string(got.Subscriptions) != "subs" || !got.Disconnected.IsZero() {
		t.Errorf("session %+v", got)
	}
	if h := hashes(r, "soil-3"); len(h) != 3 || !h[101] || !h[102] || !h[104] {
		t.Errorf("records %v, want 101, 102 and 104", h)
	}
	// A new epoch forgets the records of the earlier one.
	rec.Epoch = 77
	saveSession(t, r, rec)
	if h := hashes(r, "soil-3"); len(h) != 0 {
		t.Errorf("records %v after a new epoch", h)
	}
	r.DeleteSession("other", func(err error) { done <- err })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := loadSessions(t, r); len(got) != 1 {
		t.Errorf("sessions %v after a delete", got)
	}
}

// The journal stays small however many packets come, and compaction loses no
// record that counts.
func TestJournalCompaction(t *testing.T) {
	path := dbPath(t)
	s := open(t, path)
	saveSession(t, s, broker.SessionRecord{Client: "quiet", Epoch: 1})
	saveSession(t, s, broker.SessionRecord{Client: "busy", Epoch: 2})
	mustSeal(t, s, &store.Unit{Inbound: &broker.InboundRecord{Client: "quiet", Epoch: 1, QoS: 1, Slot: 3, Hash: 42}})
	key := store.NewDedupeKey("user", "/mqtt/quiet", "id-1")
	mustSeal(t, s, &store.Unit{Dedupe: key})
	const ring = 64
	var last int
	for round := range 200 {
		done := make(chan error, 64)
		for range 64 {
			last++
			_, err := s.Seal(&store.Unit{
				Inbound: &broker.InboundRecord{Client: "busy", Epoch: 2, QoS: 1, Slot: uint32(last % ring), Hash: uint64(last)},
				Done:    func(err error) { done <- err },
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		for range 64 {
			if err := <-done; err != nil {
				t.Fatal(round, err)
			}
		}
	}
	if st := s.Stats(); st.JournalBytes > 150<<10 {
		t.Errorf("journal holds %d bytes", st.JournalBytes)
	}
	r := open(t, testdb.Copy(t, path))
	got := loadSessions(t, r)
	if q := got["quiet"].Inbound; len(q) != 1 || q[0].Hash != 42 || q[0].Slot != 3 {
		t.Errorf("quiet session's records %+v", q)
	}
	busy := map[uint64]bool{}
	for _, rec := range got["busy"].Inbound {
		busy[rec.Hash] = true
	}
	for i := range ring {
		if !busy[uint64(last-i)] {
			t.Fatalf("record %d of %d is lost", last-i, last)
		}
	}
	if len(busy) != ring {
		t.Errorf("%d records, want %d", len(busy), ring)
	}
	if _, seen := r.Seen(key); !seen {
		t.Error("the dedupe id is lost")
	}
}

func TestDedupeWindow(t *testing.T) {
	path := dbPath(t)
	small := func(c *store.Config) { c.DedupeWindow = 4 }
	s := open(t, path, small)
	key := func(i int) store.DedupeKey { return store.NewDedupeKey("u", "s", string(rune('a'+i))) }
	for i := range 6 {
		mustSeal(t, s, &store.Unit{Dedupe: key(i)})
	}
	if err := seal(t, s, &store.Unit{Dedupe: key(5)}); !errors.Is(err, store.ErrDuplicate) {
		t.Errorf("again: %v", err)
	}
	r := open(t, testdb.Copy(t, path), small)
	for i := range 6 {
		if _, seen := r.Seen(key(i)); seen != (i >= 2) {
			t.Errorf("id %d seen = %v", i, seen)
		}
	}
}

// TestDuplicatesAreTheSendersOwn: an id that one sender has used suppresses
// nothing of another, however the names run into each other.
func TestDuplicatesAreTheSendersOwn(t *testing.T) {
	s := open(t, dbPath(t))
	mustSeal(t, s, &store.Unit{Dedupe: store.NewDedupeKey("mallory", "/soil", "1")})
	for _, k := range [][3]string{{"soil-3", "/soil", "1"}, {"", "/soil", "1"}, {"mallor", "y/soil", "1"}, {"mallory/", "soil", "1"}, {"mallory", "/soil1", ""}} {
		if _, seen := s.Seen(store.NewDedupeKey(k[0], k[1], k[2])); seen {
			t.Errorf("%q is taken for the one of mallory", k)
		}
	}
	if err := seal(t, s, &store.Unit{Dedupe: store.NewDedupeKey("mallory", "/soil", "1")}); !errors.Is(err, store.ErrDuplicate) {
		t.Errorf("again: %v", err)
	}
}
