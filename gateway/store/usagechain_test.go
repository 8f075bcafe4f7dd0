package store_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"database/sql"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/internal/slow"
	"github.com/headgate-io/headgate/internal/testdb"
	"github.com/headgate-io/headgate/sync/usage"
)

const enrolledAs = "abcdefghijklmnop"

var t0 = time.Unix(1_700_000_040, 0)

func enrolled(c *store.Config) { c.Gateway = enrolledAs }

func meter(t testing.TB, s *store.Store, fn string, at time.Time, fuel uint64) {
	t.Helper()
	mustSeal(t, s, &store.Unit{Usage: []usage.Record{{Function: fn, Version: 1, At: at, Outcome: function.OK, Fuel: fuel}}})
}

func sealUsage(t testing.TB, s *store.Store) {
	t.Helper()
	if _, err := s.SealUsage(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func batches(t testing.TB, s *store.Store) []usage.Batch {
	t.Helper()
	b, err := s.UsageBatches(context.Background(), 0, 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// ledger is a controller in short: it verifies the chain and counts each batch
// once.
type ledger struct {
	key   *ecdsa.PrivateKey
	total usage.Totals
	last  map[usage.Stream]*usage.Batch
	wrong []error
}

func newLedger(t testing.TB) *ledger {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &ledger{key: key, last: map[usage.Stream]*usage.Batch{}}
}

func (l *ledger) take(t testing.TB, all []usage.Batch) {
	t.Helper()
	for i := range all {
		b := &all[i]
		next, prev := uint64(1), b.Genesis()
		if last := l.last[b.Stream]; last != nil {
			next, prev = last.Seq+1, last.Link
		}
		if b.Seq < next {
			continue
		}
		if b.Seq != next {
			t.Fatalf("batch %d of %v, want %d", b.Seq, b.Stream, next)
		}
		if err := b.Sign(l.key); err != nil {
			t.Fatal(err)
		}
		closings, err := b.Verify(&l.key.PublicKey)
		if err = errors.Join(err, b.Follows(prev)); err != nil {
			l.wrong = append(l.wrong, err)
		}
		l.last[b.Stream] = b
		for _, c := range closings {
			for j := range c {
				l.total.Merge(&c[j].Totals)
			}
		}
	}
}

func TestUsageIsSealedIntoAChain(t *testing.T) {
	path := dbPath(t)
	s := open(t, path, enrolled)
	l := newLedger(t)
	meter(t, s, "f", t0, 1)
	meter(t, s, "f", t0, 2)
	meter(t, s, "g", t0, 4)
	s.CloseUsage()
	meter(t, s, "f", t0, 8) // a late one of the same minute
	sealUsage(t, s)
	meter(t, s, "f", t0.Add(time.Minute), 16)
	closeStore(t, s)
	s = open(t, path, enrolled)
	meter(t, s, "f", t0.Add(time.Minute), 32)
	sealUsage(t, s)
	sealUsage(t, s) // nothing new, no batch
	all := batches(t, s)
	if len(all) != 2 {
		t.Fatalf("%d batches, want 2", len(all))
	}
	l.take(t, all)
	if len(l.wrong) > 0 || l.total.Fuel != 63 || l.total.Requests() != 6 {
		t.Errorf("the batches hold %+v, %v", l.total, l.wrong)
	}
	// The minute is still one for people.
	got, err := s.Usage(context.Background(), store.UsageQuery{Function: "f", From: t0, To: t0.Add(time.Minute)})
	if err != nil || len(got) != 1 || got[0].Fuel != 11 {
		t.Errorf("the minute is %+v, %v", got, err)
	}
	s.UsageAcknowledged(all[0].Stream, 1)
	meter(t, s, "f", t0, 1)
	if left := batches(t, s); len(left) != 1 || left[0].Seq != 2 {
		t.Errorf("after the acknowledgement there are %d batches", len(left))
	}
	held, err := s.UsageHeld(context.Background())
	if err != nil || len(held) != 1 || held[0].First != 2 || held[0].Next != 3 {
		t.Errorf("held %+v, %v", held, err)
	}
	if st := s.Stats(); st.UsageBatches != 1 || st.UsageBatchBytes != int64(len(all[1].Data)) {
		t.Errorf("stats count %d batches, %d bytes", st.UsageBatches, st.UsageBatchBytes)
	}
}

// What is closed is sealed at once, though its closing is not on disk yet.
func TestSealsWhatIsBeingClosed(t *testing.T) {
	s := open(t, dbPath(t), enrolled)
	sealUsage(t, s)
	for n := 1; n <= 20; n++ {
		r := usage.Rollup{Key: usage.Key{Function: "f", Version: 1, Minute: usage.MinuteOf(t0)}, Totals: usage.Totals{Fuel: 1}}
		s.AddUsage([]usage.Rollup{r}, nil)
		s.CloseUsage()
		sealUsage(t, s)
		if all := batches(t, s); len(all) != n {
			t.Fatalf("%d batches, want %d", len(all), n)
		}
	}
}

func TestWithoutAControllerNothingIsKeptForOne(t *testing.T) {
	s := open(t, dbPath(t))
	meter(t, s, "f", t0, 1)
	s.CloseUsage()
	sealUsage(t, s)
	if all := batches(t, s); len(all) != 0 {
		t.Errorf("%d batches", len(all))
	}
	if err := s.MeterFor(context.Background(), enrolledAs); err != nil {
		t.Fatal(err)
	}
	meter(t, s, "f", t0, 2)
	sealUsage(t, s)
	l := newLedger(t)
	l.take(t, batches(t, s))
	if l.total.Fuel != 2 || len(l.wrong) > 0 {
		t.Errorf("the controller gets %d, want what was metered for it: %v", l.total.Fuel, l.wrong)
	}
}

// A row that somebody changes after its minute was closed is found, and what
// comes later goes on.
func TestAnEditedRollupShows(t *testing.T) {
	slow.Both(t, slow.OneGoroutine)
	for _, edit := range []string{
		`UPDATE usage SET fuel = fuel - 1 WHERE part = 1`, `UPDATE usage SET minute = minute + 1`, `DELETE FROM usage`,
		`INSERT INTO usage SELECT minute, function, version + 1, part, ok, failed, trapped, out_of_fuel, out_of_stack, out_of_memory,
		timed_out, refused, fuel, duration_nanos, memory_byte_millis, cold_starts, bytes_in, bytes_out, bytes_written, time_estimated, time_unknown FROM usage`,
	} {
		path := dbPath(t)
		s := open(t, path, enrolled)
		meter(t, s, "f", t0, 5)
		s.CloseUsage()
		meter(t, s, "f", t0.Add(time.Minute), 5)
		closeStore(t, s)
		db, err := sql.Open("sqlite", path)
		if err == nil {
			_, err = db.Exec(edit)
		}
		if err = errors.Join(err, db.Close()); err != nil {
			t.Fatal(err)
		}
		s = open(t, path, enrolled)
		sealUsage(t, s)
		meter(t, s, "f", t0.Add(2*time.Minute), 7)
		sealUsage(t, s)
		l := newLedger(t)
		l.take(t, batches(t, s))
		if len(l.wrong) != 1 || !errors.Is(l.wrong[0], usage.ErrTampered) || l.total.Fuel != 7 {
			t.Errorf("%s: %v, and %d counted", edit, l.wrong, l.total.Fuel)
		}
		closeStore(t, s)
	}
}

// Killed between any two steps, a gateway neither loses a rollup nor sends one
// twice.
func TestAKillLosesAndDoublesNoUsage(t *testing.T) {
	slow.Both(t, slow.OneGoroutine)
	steps := []store.Step{store.StepWrite, store.StepAfterCommit}
	for _, step := range steps {
		for nth := 1; nth < 12; nth += 2 {
			path, kept, seen := dbPath(t), "", 0
			s := open(t, path, enrolled, func(c *store.Config) {
				c.Inject = func(at store.Step) error {
					if at == step {
						if seen == nth {
							kept = testdb.Copy(t, path)
						}
						seen++
					}
					return nil
				}
			})
			for i := range 4 {
				meter(t, s, "f", t0.Add(time.Duration(i)*time.Minute), 1)
				s.CloseUsage()
				meter(t, s, "g", t0.Add(time.Duration(i)*time.Minute), 1)
				sealUsage(t, s)
			}
			closeStore(t, s)
			if kept == "" {
				continue
			}
			s = open(t, kept, enrolled)
			sealUsage(t, s)
			want := usage.Totals{}
			rows, err := s.Usage(context.Background(), store.UsageQuery{})
			if err != nil {
				t.Fatal(err)
			}
			for i := range rows {
				want.Merge(&rows[i].Totals)
			}
			l := newLedger(t)
			l.take(t, batches(t, s))
			if l.total != want || len(l.wrong) > 0 {
				t.Errorf("killed at %s %d: the batches hold %d attempts, the gateway %d: %v", step, nth, l.total.Requests(), want.Requests(), l.wrong)
			}
			closeStore(t, s)
		}
	}
}

func TestUsageSurvivesFailedCommits(t *testing.T) {
	n := 0
	s := open(t, dbPath(t), enrolled, func(c *store.Config) {
		c.Inject = func(at store.Step) error {
			if at != store.StepCommit {
				return nil
			}
			if n++; n%3 == 0 {
				return errors.New("injected")
			}
			return nil
		}
	})
	var metered uint64
	for i := range 20 {
		if err := seal(t, s, &store.Unit{Usage: []usage.Record{{Function: "f", Version: 1, At: t0.Add(time.Duration(i) * time.Minute), Fuel: 1}}}); err == nil {
			metered++
		}
		s.CloseUsage()
		if i%5 == 0 {
			_, _ = s.SealUsage(context.Background()) // may be taken back
		}
	}
	n = 1
	sealUsage(t, s)
	l := newLedger(t)
	l.take(t, batches(t, s))
	if l.total.Fuel != metered || len(l.wrong) > 0 || metered == 20 {
		t.Errorf("metered %d, the batches hold %d: %v", metered, l.total.Fuel, l.wrong)
	}
}

// After a restore the epoch is another one. What the copy had not sent goes out
// under the numbers of its own epoch.
func TestARestoreBeginsAnotherChain(t *testing.T) {
	ctx := context.Background()
	path := dbPath(t)
	s := open(t, path, enrolled)
	l := newLedger(t)
	meter(t, s, "f", t0, 1)
	sealUsage(t, s)
	meter(t, s, "f", t0, 2) // open in the copy
	backup := filepath.Join(t.TempDir(), "copy.db")
	if err := s.Backup(ctx, backup); err != nil {
		t.Fatal(err)
	}
	l.take(t, batches(t, s))
	if err := s.StageRestore(ctx, backup); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	s = open(t, path, enrolled)
	meter(t, s, "f", t0, 4)
	sealUsage(t, s)
	all := batches(t, s)
	if len(all) != 3 || all[1].Epoch != 1 || all[1].Seq != 2 || all[2].Epoch != 2 || all[2].Seq != 1 {
		t.Fatalf("batches %+v", all)
	}
	l.take(t, all)
	if l.total.Fuel != 7 || len(l.wrong) > 0 {
		t.Errorf("counted %d, want 7: %v", l.total.Fuel, l.wrong)
	}
	if held, err := s.UsageHeld(ctx); err != nil || len(held) != 2 {
		t.Errorf("held %+v, %v", held, err)
	}
}

func TestAnotherControllerGetsNothingOfTheFirst(t *testing.T) {
	path := dbPath(t)
	s := open(t, path, enrolled)
	meter(t, s, "f", t0, 1)
	sealUsage(t, s)
	if err := s.MeterFor(context.Background(), "qqqqqqqqqqqqqqqq"); err != nil {
		t.Fatal(err)
	}
	meter(t, s, "f", t0, 2)
	sealUsage(t, s)
	l := newLedger(t)
	l.take(t, batches(t, s))
	if l.total.Fuel != 2 || len(l.wrong) > 0 || s.Stats().UsageBatchesAbandoned != 1 {
		t.Errorf("the second gets %d: %v; %+v", l.total.Fuel, l.wrong, s.Stats())
	}
}

// Offline for ever: usage gets coarser, and none is lost.
func TestAFullOutboxMakesUsageCoarser(t *testing.T) {
	now := t0
	s := open(t, dbPath(t), enrolled, func(c *store.Config) {
		c.MaxOutboxBytes = 400
		c.Now = func() time.Time { return now }
	})
	minutes := 10_000 // a week
	for i := range minutes {
		if now = now.Add(time.Minute); i%97 == 0 {
			meter(t, s, "f", now, 1)
			s.CloseUsage()
			sealUsage(t, s)
		}
	}
	sealUsage(t, s)
	grain := s.Stats().UsageGrainMinutes
	l := newLedger(t)
	all := batches(t, s)
	s.UsageAcknowledged(all[len(all)-1].Stream, all[len(all)-1].Seq)
	now = now.Add(48 * time.Hour)
	meter(t, s, "f", now, 1)
	sealUsage(t, s)
	now = now.Add(48 * time.Hour)
	meter(t, s, "f", now, 1)
	sealUsage(t, s)
	l.take(t, append(all, batches(t, s)...))
	if want := uint64(minutes/97 + 3); l.total.Fuel != want || len(l.wrong) > 0 || grain != 24*60 {
		t.Errorf("counted %d, want %d; %d minutes a row: %v", l.total.Fuel, want, grain, l.wrong)
	}
	if g := s.Stats().UsageGrainMinutes; g != 1 {
		t.Errorf("with room again %d minutes share a row", g)
	}
}

// On a metered link five minutes share a row, and what is sent now is what was
// metered until now.
func TestAGrainOfMinutes(t *testing.T) {
	now := time.Unix(1_700_000_100, 0) // a whole five minutes
	s := open(t, dbPath(t), enrolled, func(c *store.Config) {
		c.UsageGrain = 5
		c.Now = func() time.Time { return now }
	})
	const minutes = 63
	for range minutes {
		meter(t, s, "f", now, 1)
		s.CloseUsage()
		now = now.Add(time.Minute)
	}
	sealUsage(t, s)
	rows := 0
	all := batches(t, s)
	for i := range all {
		closings, err := usage.DecodeClosings(all[i].Data)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range closings {
			rows += len(c)
		}
	}
	l := newLedger(t)
	l.take(t, all)
	if l.total.Fuel != minutes || len(l.wrong) > 0 || rows != 13 {
		t.Errorf("counted %d of %d in %d rows, want 13: %v", l.total.Fuel, minutes, rows, l.wrong)
	}
}
