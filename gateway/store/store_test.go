package store_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/internal/slow"
	"github.com/headgate-io/headgate/internal/testdb"
	"github.com/headgate-io/headgate/sync/usage"
)

func open(t testing.TB, path string, change ...func(*store.Config)) *store.Store {
	t.Helper()
	cfg := store.Config{Path: path, SweepEvery: time.Hour, MinFreeBytes: -1, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}
	for _, c := range change {
		c(&cfg)
	}
	s, err := store.Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeStore(t, s) })
	return s
}

func closeStore(t testing.TB, s *store.Store) {
	t.Helper()
	if err := s.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func dbPath(t testing.TB) string { return filepath.Join(t.TempDir(), "headgate.db") }

func set(ns, key, value string) function.Write {
	return function.Write{Namespace: ns, Key: key, Value: []byte(value)}
}

// seal seals and waits for the commit.
func seal(t testing.TB, s *store.Store, u *store.Unit) error {
	t.Helper()
	done := make(chan error, 1)
	u.Done = func(err error) { done <- err }
	tk, err := s.Seal(u)
	if err != nil {
		return err
	}
	if !tk.Written {
		return nil
	}
	return <-done
}

func mustSeal(t testing.TB, s *store.Store, u *store.Unit) {
	t.Helper()
	if err := seal(t, s, u); err != nil {
		t.Fatal(err)
	}
}

func get(t testing.TB, s *store.Store, ns, key string) string {
	t.Helper()
	v, found, err := s.GetState(context.Background(), ns, key)
	if err != nil {
		t.Fatal(err)
	}
	if !found {
		return "(absent)"
	}
	return string(v)
}

func TestSealedIsVisibleAtOnceAndSurvives(t *testing.T) {
	path := dbPath(t)
	s := open(t, path)
	u := &store.Unit{Slots: []store.Slot{{Writes: []function.Write{set("f", "a", "1"), set("f", "b", "2"), set("f", "a", "3")}}}}
	if _, err := s.Seal(u); err != nil {
		t.Fatal(err)
	}
	if got := get(t, s, "f", "a"); got != "3" {
		t.Errorf("after Seal a = %s, want 3", got)
	}
	mustSeal(t, s, &store.Unit{Slots: []store.Slot{{Writes: []function.Write{{Namespace: "f", Key: "b", Delete: true}}}}})
	r := open(t, testdb.Copy(t, path))
	if a, b := get(t, r, "f", "a"), get(t, r, "f", "b"); a != "3" || b != "(absent)" {
		t.Errorf("after a crash a = %s, b = %s; want 3 and absent", a, b)
	}
}

func TestConflicts(t *testing.T) {
	slow.UnderRace(t, slow.OneGoroutine)
	cases := []struct {
		name  string
		read  func(v *store.View) error
		write function.Write
		want  bool
	}{
		{"read key written", func(v *store.View) error { _, _, err := v.Get("f", "a"); return err }, set("f", "a", "x"), true},
		{"absent key written", func(v *store.View) error { _, _, err := v.Get("f", "new"); return err }, set("f", "new", "x"), true},
		{"other key written", func(v *store.View) error { _, _, err := v.Get("f", "a"); return err }, set("f", "b", "x"), false},
		{"same key elsewhere", func(v *store.View) error { _, _, err := v.Get("f", "a"); return err }, set("g", "a", "x"), false},
		{"listed, key added", func(v *store.View) error { _, _, err := v.List("f", "", "", 9); return err }, set("f", "new", "x"), true},
		{"listed, key deleted", func(v *store.View) error { _, _, err := v.List("f", "", "", 9); return err }, function.Write{Namespace: "f", Key: "a", Delete: true}, true},
		{"listed, value changed", func(v *store.View) error { _, _, err := v.List("f", "", "", 9); return err }, set("f", "a", "x"), false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := open(t, dbPath(t))
			mustSeal(t, s, &store.Unit{Slots: []store.Slot{{Writes: []function.Write{set("f", "a", "1"), set("f", "b", "1")}}}})
			v := s.View()
			defer v.Release()
			if err := c.read(v); err != nil {
				t.Fatal(err)
			}
			mustSeal(t, s, &store.Unit{Slots: []store.Slot{{Writes: []function.Write{c.write}}}})
			if v.Stale() != c.want {
				t.Errorf("Stale = %v, want %v", v.Stale(), c.want)
			}
			err := seal(t, s, &store.Unit{Slots: []store.Slot{{}, {View: v, Writes: []function.Write{set("f", "z", "1")}}}})
			var conflict *store.ConflictError
			if errors.As(err, &conflict) != c.want {
				t.Fatalf("Seal: %v, want conflict %v", err, c.want)
			}
			if c.want && (conflict.Slot != 1 || conflict.Within) {
				t.Errorf("conflict %+v, want slot 1", conflict)
			}
			if c.want && get(t, s, "f", "z") != "(absent)" {
				t.Error("a refused unit left a write behind")
			}
		})
	}
}

// What a slot of the same unit writes conflicts too, in one direction.
func TestConflictWithin(t *testing.T) {
	s := open(t, dbPath(t))
	v := s.View()
	defer v.Release()
	if _, _, err := v.Get("f", "a"); err != nil {
		t.Fatal(err)
	}
	writer := store.Slot{Writes: []function.Write{set("f", "a", "1")}}
	reader := store.Slot{View: v, Writes: []function.Write{set("f", "b", "1")}}
	var conflict *store.ConflictError
	if err := seal(t, s, &store.Unit{Slots: []store.Slot{writer, reader}}); !errors.As(err, &conflict) || !conflict.Within {
		t.Errorf("reader after writer: %v, want a conflict within", err)
	}
	if err := seal(t, s, &store.Unit{Slots: []store.Slot{reader, writer}}); err != nil {
		t.Errorf("reader before writer: %v", err)
	}
}

func TestStateQuota(t *testing.T) {
	s := open(t, dbPath(t))
	s.SetStateQuota("f", 100)
	big := strings.Repeat("x", 60)
	mustSeal(t, s, &store.Unit{Slots: []store.Slot{{Writes: []function.Write{set("f", "a", big)}}}})
	var quota *store.QuotaError
	err := seal(t, s, &store.Unit{Slots: []store.Slot{{Writes: []function.Write{set("f", "b", big)}}}})
	if !errors.As(err, &quota) || quota.Namespace != "f" || !strings.Contains(err.Error(), "limits.state") {
		t.Fatalf("over quota: %v", err)
	}
	// Replacing, and shrinking while over a lowered quota, are fine.
	mustSeal(t, s, &store.Unit{Slots: []store.Slot{{Writes: []function.Write{set("f", "a", big+big[:30])}}}})
	s.SetStateQuota("f", 10)
	mustSeal(t, s, &store.Unit{Slots: []store.Slot{{Writes: []function.Write{set("f", "a", big)}}}})
	mustSeal(t, s, &store.Unit{Slots: []store.Slot{{Writes: []function.Write{{Namespace: "f", Key: "a", Delete: true}}}}})
	if n, _ := s.StateBytes("f"); n != 0 {
		t.Errorf("state bytes %d after deleting all", n)
	}
}

func TestQuotaCountsWhatIsOnDiskAlone(t *testing.T) {
	path := dbPath(t)
	s := open(t, path)
	mustSeal(t, s, &store.Unit{Slots: []store.Slot{{Writes: []function.Write{set("f", "key", "value")}}}})
	r := open(t, testdb.Copy(t, path))
	if n, _ := r.StateBytes("f"); n != 8 {
		t.Errorf("state bytes after reopening %d, want 8", n)
	}
	mustSeal(t, r, &store.Unit{Slots: []store.Slot{{Writes: []function.Write{set("f", "key", "v")}}}})
	if n, _ := r.StateBytes("f"); n != 4 {
		t.Errorf("state bytes after a blind write %d, want 4", n)
	}
}

func TestTTL(t *testing.T) {
	var mu sync.Mutex
	now := time.Now()
	s := open(t, dbPath(t), func(c *store.Config) {
		c.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	})
	w := set("f", "short", "1")
	w.TTL = time.Minute
	mustSeal(t, s, &store.Unit{Slots: []store.Slot{{Writes: []function.Write{w, set("f", "long", "1")}}}})
	mu.Lock()
	now = now.Add(2 * time.Minute)
	mu.Unlock()
	if got := get(t, s, "f", "short"); got != "(absent)" {
		t.Errorf("expired key reads %q", got)
	}
	keys, _, err := s.ListState(context.Background(), "f", "", "", 10)
	if err != nil || !slices.Equal(keys, []string{"long"}) {
		t.Errorf("list %q %v, want long alone", keys, err)
	}
	if err := s.Sweep(context.Background()); err != nil {
		t.Fatal(err)
	}
	if n, _ := s.StateBytes("f"); n != 5 {
		t.Errorf("%d bytes after the sweep, want 5", n)
	}
}

func TestListMergesOverlay(t *testing.T) {
	s := open(t, dbPath(t))
	var writes []function.Write
	for i := range 20 {
		writes = append(writes, set("f", fmt.Sprintf("k%02d", i), "x"))
	}
	mustSeal(t, s, &store.Unit{Slots: []store.Slot{{Writes: writes}}})
	// Hold the committer back, so that the next unit is in the overlay alone.
	if _, err := s.Seal(&store.Unit{Slots: []store.Slot{{Writes: []function.Write{
		{Namespace: "f", Key: "k03", Delete: true}, set("f", "k03b", "x"), set("f", "z", "x"), set("f", "k", "x"),
	}}}}); err != nil {
		t.Fatal(err)
	}
	var all []string
	after, pages := "", 0
	for {
		keys, more, err := s.ListState(context.Background(), "f", "k0", after, 3)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, keys...)
		if pages++; !more {
			break
		}
		after = keys[len(keys)-1]
	}
	want := []string{"k00", "k01", "k02", "k03b", "k04", "k05", "k06", "k07", "k08", "k09"}
	if !slices.Equal(all, want) || pages != 4 {
		t.Errorf("listed %q in %d pages, want %q in 4", all, pages, want)
	}
}

func testEvent(id string) *event.Event {
	return &event.Event{
		ID: id, Source: "/mqtt/soil-3", Type: event.TypeMQTT, Subject: "farm/3/moisture",
		Time: time.UnixMicro(1_700_000_000_000_000), Data: []byte(`{"moisture":27}`), Hops: 2, Retained: true,
		Extensions: map[string]string{"x": "y"},
	}
}

func TestQueueRowsSurvive(t *testing.T) {
	path := dbPath(t)
	s := open(t, path)
	f := s.Function("irrigate")
	var rows []*store.QueueRow
	for i := range 4 {
		rows = append(rows, &store.QueueRow{ID: f.NextID(), Function: f, Key: "3", Arrived: time.UnixMilli(1000), Event: testEvent(fmt.Sprint(i)), Params: []store.Param{{Name: "field", Value: "3"}}})
	}
	mustSeal(t, s, &store.Unit{Insert: rows})
	rows[1].Attempt, rows[1].Error, rows[1].Due = 2, "boom", time.UnixMilli(5000)
	mustSeal(t, s, &store.Unit{Update: rows[1:2], Delete: rows[0:1]})
	gone := &store.QueueRow{ID: f.NextID(), Function: f, Event: testEvent("gone")}
	if _, err := s.Seal(&store.Unit{Insert: []*store.QueueRow{gone}}); err != nil {
		t.Fatal(err)
	}
	mustSeal(t, s, &store.Unit{Delete: []*store.QueueRow{gone}})

	r := open(t, testdb.Copy(t, path))
	var got []*store.QueueRow
	if err := r.QueuedRows(context.Background(), func(q *store.QueueRow) error { got = append(got, q); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 || got[0].ID != rows[1].ID || got[0].Attempt != 2 || got[0].Error != "boom" || !got[0].Due.Equal(rows[1].Due) || got[0].Function.Name() != "irrigate" {
		t.Fatalf("rows after a crash: %+v", got)
	}
	e, params, err := r.LoadEvent(context.Background(), got[2].ID)
	if err != nil {
		t.Fatal(err)
	}
	if len(params) != 1 || params[0] != (store.Param{Name: "field", Value: "3"}) {
		t.Errorf("params %v", params)
	}
	if want := testEvent("3"); fmt.Sprint(*e) != fmt.Sprint(*want) {
		t.Errorf("event %+v, want %+v", e, want)
	}
	if next := r.Function("irrigate").NextID(); next <= rows[3].ID {
		t.Errorf("next id %d is not after %d", next, rows[3].ID)
	}
	if n, b := r.QueueLen(); n != 3 || b <= 0 {
		t.Errorf("queue holds %d rows, %d bytes", n, b)
	}
	mustSeal(t, r, &store.Unit{Delete: got})
	if n, b := r.QueueLen(); n != 0 || b != 0 {
		t.Errorf("emptied queue holds %d rows, %d bytes", n, b)
	}
}

func TestQueueQuota(t *testing.T) {
	s := open(t, dbPath(t), func(c *store.Config) { c.MaxQueueRows = 2 })
	f := s.Function("f")
	row := func() *store.QueueRow { return &store.QueueRow{ID: f.NextID(), Function: f, Event: testEvent("e")} }
	a, b, c := row(), row(), row()
	mustSeal(t, s, &store.Unit{Insert: []*store.QueueRow{a, b}})
	var quota *store.QuotaError
	if err := seal(t, s, &store.Unit{Insert: []*store.QueueRow{c}}); !errors.As(err, &quota) || quota.What != "queue" {
		t.Fatalf("third row: %v", err)
	}
	mustSeal(t, s, &store.Unit{Delete: []*store.QueueRow{a}, Insert: []*store.QueueRow{c}})
}

// One function cannot fill the queue of all.
func TestQueueShare(t *testing.T) {
	s := open(t, dbPath(t), func(c *store.Config) { c.MaxQueueRows = 8 })
	flood, other := s.Function("flood"), s.Function("other")
	row := func(f *store.FunctionRef) []*store.QueueRow {
		return []*store.QueueRow{{ID: f.NextID(), Function: f, Event: testEvent("e")}}
	}
	first := row(flood)
	mustSeal(t, s, &store.Unit{Insert: first})
	for range 5 {
		mustSeal(t, s, &store.Unit{Insert: row(flood)})
	}
	var quota *store.QuotaError
	if err := seal(t, s, &store.Unit{Insert: row(flood)}); !errors.As(err, &quota) || quota.What != "share" || quota.Namespace != "flood" {
		t.Fatalf("a seventh of eight rows: %v", err)
	}
	mustSeal(t, s, &store.Unit{Insert: row(other)})
	mustSeal(t, s, &store.Unit{Delete: first, Insert: row(flood)})
	mustSeal(t, s, &store.Unit{Insert: row(other)})
	if got := s.QueuedOf("flood"); got != 6 {
		t.Errorf("flood has %d rows, want 6", got)
	}
}

func TestDeadLetters(t *testing.T) {
	ctx := context.Background()
	s := open(t, dbPath(t), func(c *store.Config) { c.MaxDeadLetters = 3 })
	for i := range 5 {
		mustSeal(t, s, &store.Unit{Dead: []*store.DeadLetter{{
			Function: "f", Version: 2, Key: "3", Attempt: 5, Died: time.Now(), Reason: "attempts", Error: "boom", Event: testEvent(fmt.Sprint(i)),
		}}})
	}
	list, err := s.DeadLetters(ctx, "f", 0, 10)
	if err != nil || len(list) != 3 {
		t.Fatalf("%d dead letters, %v; want the last 3", len(list), err)
	}
	one := func(i int) store.DeadLetterQuery { return store.DeadLetterQuery{ID: list[i].ID} }
	moved, err := s.RedriveDeadLetters(ctx, one(0))
	if err != nil || len(moved) != 1 {
		t.Fatalf("redrive: %v %v", moved, err)
	}
	if e, _, err := s.LoadEvent(ctx, moved[0].Row.ID); err != nil || e.ID != "2" {
		t.Errorf("redriven event %v %v", e, err)
	}
	if gone, err := s.DropDeadLetters(ctx, one(1)); err != nil || len(gone) != 1 || gone[0].Key != "3" {
		t.Fatalf("drop: %v %v", gone, err)
	}
	if gone, err := s.DropDeadLetters(ctx, one(1)); err != nil || len(gone) != 0 {
		t.Errorf("dropped twice: %v %v", gone, err)
	}
	if moved, err := s.RedriveDeadLetters(ctx, one(0)); err != nil || len(moved) != 0 {
		t.Errorf("redriven twice: %v %v", moved, err)
	}
	if st := s.Stats(); st.DeadLetters != 1 || st.DeadLettersDropped != 2 || st.QueueRows != 1 {
		t.Errorf("stats %+v", st)
	}
}

func TestVersionsAndAliases(t *testing.T) {
	ctx := context.Background()
	s := open(t, dbPath(t), func(c *store.Config) { c.MaxVersions = 3 })
	for i := 1; i <= 5; i++ {
		var aliases []string
		if i < 3 {
			aliases = []string{"live"}
		}
		n, err := s.PutVersion(ctx, store.Version{Function: "f", Digest: "d", Author: "a"}, []byte{byte(i)}, aliases...)
		if err != nil || n != i {
			t.Fatalf("version %d: %d %v", i, n, err)
		}
	}
	vs, err := s.Versions(ctx, "f")
	if err != nil {
		t.Fatal(err)
	}
	var numbers []int
	for _, v := range vs {
		numbers = append(numbers, v.Number)
	}
	if !slices.Equal(numbers, []int{5, 4, 3, 2}) {
		t.Errorf("versions %v, want the last three and the live one", numbers)
	}
	if err := s.SetAlias(ctx, store.Alias{Function: "f", Name: "live", Version: 9}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("alias to nowhere: %v", err)
	}
	if err := s.SetAlias(ctx, store.Alias{Function: "f", Name: "live", Version: 4}); err != nil {
		t.Fatal(err)
	}
	as, err := s.Aliases(ctx)
	if err != nil || len(as) != 1 || as[0].Version != 4 {
		t.Errorf("aliases %+v %v", as, err)
	}
	// What an alias splits off to stays too.
	if err := s.SetAlias(ctx, store.Alias{Function: "f", Name: "live", Version: 4, Split: 3, Weight: 100}); err != nil {
		t.Fatal(err)
	}
	if err := s.SetAlias(ctx, store.Alias{Function: "f", Name: "live", Version: 4, Split: 9, Weight: 100}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("split to nowhere: %v", err)
	}
	for range 3 {
		if _, err := s.PutVersion(ctx, store.Version{Function: "f"}, nil, "next"); err != nil {
			t.Fatal(err)
		}
	}
	as, err = s.Aliases(ctx)
	if err != nil || len(as) != 2 || as[0].Split != 3 || as[0].Weight != 100 || as[1].Version != 8 {
		t.Errorf("aliases %+v %v", as, err)
	}
	if _, err := s.Bundle(ctx, "f", 3); err != nil {
		t.Errorf("the version that has a part of the traffic: %v", err)
	}
	if err := s.DropAlias(ctx, "f", "next"); err != nil || !errors.Is(s.DropAlias(ctx, "f", "next"), store.ErrNotFound) {
		t.Errorf("drop alias: %v", err)
	}
	if b, err := s.Bundle(ctx, "f", 4); err != nil || len(b) != 1 || b[0] != 4 {
		t.Errorf("bundle %v %v", b, err)
	}
	if err := s.RemoveFunction(ctx, "f"); err != nil {
		t.Fatal(err)
	}
	if err := s.RemoveFunction(ctx, "f"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("removed twice: %v", err)
	}
	if n, err := s.PutVersion(ctx, store.Version{Function: "f"}, nil); err != nil || n != 9 {
		t.Errorf("a removed function's next version is %d (%v), want 9", n, err)
	}
}

func TestDevices(t *testing.T) {
	ctx := context.Background()
	s := open(t, dbPath(t))
	d := store.Device{Name: "soil-3", Secret: "hash", Publish: []string{"farm/3/#"}}
	if err := s.PutDevice(ctx, d, true); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("replace what is not there: %v", err)
	}
	if err := s.PutDevice(ctx, d, false); err != nil {
		t.Fatal(err)
	}
	if err := s.PutDevice(ctx, d, false); !errors.Is(err, store.ErrExists) {
		t.Errorf("added twice: %v", err)
	}
	d.Secret = "other"
	if err := s.PutDevice(ctx, d, true); err != nil {
		t.Fatal(err)
	}
	got, err := s.Device(ctx, "soil-3")
	if err != nil || got.Secret != "other" || !slices.Equal(got.Publish, d.Publish) || got.Created.IsZero() {
		t.Errorf("device %+v %v", got, err)
	}
	if all, err := s.Devices(ctx); err != nil || len(all) != 1 {
		t.Errorf("devices %v %v", all, err)
	}
	if err := s.RemoveDevice(ctx, "soil-3"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Device(ctx, "soil-3"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("removed device: %v", err)
	}
}

func TestUsageMergesAndSelects(t *testing.T) {
	ctx := context.Background()
	s := open(t, dbPath(t), func(c *store.Config) { c.MaxUsageRows = 3 })
	minute := time.Unix(1_700_000_040, 0)
	rec := func(fn string, v int, at time.Time, o function.Outcome) usage.Record {
		return usage.Record{Function: fn, Version: v, At: at, Outcome: o, Fuel: 10, Duration: time.Millisecond, MemoryBytes: 1 << 16, BytesIn: 3}
	}
	for range 3 {
		mustSeal(t, s, &store.Unit{Usage: []usage.Record{rec("f", 1, minute, function.OK), rec("f", 1, minute, function.Trapped), rec("g", 1, minute, function.OK)}})
	}
	mustSeal(t, s, &store.Unit{Usage: []usage.Record{rec("f", 2, minute.Add(time.Minute), function.OK)}})
	got, err := s.Usage(ctx, store.UsageQuery{Function: "f", From: minute, To: minute.Add(time.Minute)})
	if err != nil || len(got) != 1 {
		t.Fatalf("usage %+v %v, want one rollup", got, err)
	}
	if r := got[0]; r.Requests() != 6 || r.Errors() != 3 || r.Fuel != 60 || r.DurationNanos != 6e6 || r.MemoryByteMillis != 6<<16 || r.BytesIn != 18 {
		t.Errorf("rollup %+v", r)
	}
	s.AddUsage(got, nil)
	mustSeal(t, s, &store.Unit{Usage: []usage.Record{rec("f", 2, minute.Add(2*time.Minute), function.OK)}})
	if got, _ = s.Usage(ctx, store.UsageQuery{Function: "f", To: minute.Add(time.Second)}); len(got) != 1 || got[0].Requests() != 12 {
		t.Errorf("after merging %+v", got)
	}
	if err := s.Sweep(ctx); err != nil {
		t.Fatal(err)
	}
	if got, _ = s.Usage(ctx, store.UsageQuery{}); len(got) != 3 {
		t.Errorf("%d rollups after the sweep, want 3", len(got))
	}
}

func TestCountersAndMeta(t *testing.T) {
	ctx := context.Background()
	path := dbPath(t)
	s := open(t, path)
	for want := uint64(1); want <= 3; want++ {
		if n, err := s.NextCounter(ctx, "boot"); err != nil || n != want {
			t.Fatalf("counter %d %v, want %d", n, err, want)
		}
	}
	if err := s.SetMeta(ctx, "id", []byte("gw-1")); err != nil {
		t.Fatal(err)
	}
	r := open(t, testdb.Copy(t, path))
	if n, err := r.NextCounter(ctx, "boot"); err != nil || n != 4 {
		t.Errorf("counter after a crash %d %v", n, err)
	}
	if v, err := r.Meta(ctx, "id"); err != nil || string(v) != "gw-1" {
		t.Errorf("meta %q %v", v, err)
	}
	if _, err := r.Meta(ctx, "none"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("missing meta: %v", err)
	}
}

func TestOneGatewayPerFile(t *testing.T) {
	path := dbPath(t)
	open(t, path)
	if _, err := store.Open(context.Background(), store.Config{Path: path}); err == nil || !strings.Contains(err.Error(), "stop it first") {
		t.Errorf("second open: %v", err)
	}
}

func TestClosed(t *testing.T) {
	s := open(t, dbPath(t))
	got := errors.New("not called")
	if _, err := s.Seal(&store.Unit{Slots: []store.Slot{{Writes: []function.Write{set("f", "a", "1")}}}, Done: func(err error) { got = err }}); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	if got != nil {
		t.Errorf("Close left a sealed unit: %v", got)
	}
	if err := seal(t, s, &store.Unit{Slots: []store.Slot{{Writes: []function.Write{set("f", "a", "1")}}}}); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Seal after Close: %v", err)
	}
}
