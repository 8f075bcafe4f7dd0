package ingest_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/headgate-io/headgate/controller/ingest"
	"github.com/headgate-io/headgate/controller/store"
	"github.com/headgate-io/headgate/controller/store/pgtest"
	"github.com/headgate-io/headgate/sync/usage"
	"github.com/headgate-io/headgate/sync/wire"
)

var postgres pgtest.Server

func TestMain(m *testing.M) {
	code := m.Run()
	postgres.Stop()
	os.Exit(code)
}

const gatewayID = "abcdefghijklmnop"

// rig is a controller with one gateway, and that gateway's chain.
type rig struct {
	*testing.T
	store   *store.Store
	service *ingest.Service
	codec   *wire.Codec
	key     *ecdsa.PrivateKey
	stream  usage.Stream
	link    usage.Link
	seq     uint64
}

// both runs a test on each kind of database.
func both(t *testing.T, test func(r *rig)) {
	t.Run("sqlite", func(t *testing.T) { test(newRig(t, "sqlite:"+filepath.Join(t.TempDir(), "c.db"))) })
	t.Run("postgres", func(t *testing.T) { test(newRig(t, postgres.Database(t))) })
}

func newRig(t *testing.T, dsn string) *rig {
	t.Helper()
	s, err := store.Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	r := &rig{T: t, store: s, key: newKey(t), stream: usage.Stream{Gateway: gatewayID, Hardware: "hw", Epoch: 1}}
	r.link = r.stream.Genesis()
	r.service = r.replica()
	if r.codec, err = wire.NewCodec(); err != nil {
		t.Fatal(err)
	}
	r.enrol("acme", gatewayID, r.key)
	return r
}

func (r *rig) replica() *ingest.Service {
	r.Helper()
	s, err := ingest.New(r.store, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		r.Fatal(err)
	}
	return s
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (r *rig) enrol(tenant, id string, key *ecdsa.PrivateKey) {
	r.Helper()
	addGateway(r, r.store, tenant, id, key)
}

func addGateway(t testing.TB, s *store.Store, tenant, id string, key *ecdsa.PrivateKey) {
	t.Helper()
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	err = s.Update(ctx, func(tx *store.Tx) error {
		return errors.Join(tx.AddTenant(ctx, store.Tenant{ID: tenant, Name: tenant}),
			tx.AddGateway(ctx, store.Gateway{ID: id, Tenant: tenant, Name: "gw"}), tx.AddKey(ctx, store.Key{Gateway: id, Public: public, Since: time.Unix(1, 0)}))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// rows are a closing with as much fuel.
func rows(minute int64, fuel uint64) usage.Closing {
	return usage.Closing{{Key: usage.Key{Function: "f", Version: 1, Minute: minute}, Totals: usage.Totals{Fuel: fuel}}}
}

// next makes the next batch of the chain.
func (r *rig) next(closings ...usage.Closing) *usage.Batch {
	r.Helper()
	r.seq++
	b := &usage.Batch{Stream: r.stream, Seq: r.seq, Prev: r.link, Link: r.link}
	for _, c := range closings {
		b.Link = b.Link.Next(c)
	}
	r.link = b.Link
	r.fill(b, closings...)
	return b
}

func (r *rig) fill(b *usage.Batch, closings ...usage.Closing) {
	r.Helper()
	var err error
	if b.Data, err = usage.EncodeClosings(closings); err == nil {
		err = b.Sign(r.key)
	}
	if err != nil {
		r.Fatal(err)
	}
}

// send hands a message to a replica and returns its answer.
func (r *rig) send(s *ingest.Service, gateway string, message any) (answer any, err error) {
	r.Helper()
	b, err := r.codec.Encode(message)
	if err != nil {
		r.Fatal(err)
	}
	err = s.Take(context.Background(), gateway, b, func(b []byte) {
		if answer, err = r.codec.Decode(b); err != nil {
			r.Error(err)
		}
	})
	return answer, err
}

// take sends a batch, and wants the mark after it.
func (r *rig) take(b *usage.Batch, mark uint64) {
	r.Helper()
	answer, err := r.send(r.service, gatewayID, wire.UsageOf(b))
	if ack, ok := answer.(*wire.Ack); err != nil || !ok || len(ack.Marks) != 1 || ack.Marks[0].UpTo != mark {
		r.Errorf("batch %d: %+v, %v; want everything acknowledged up to %d", b.Seq, answer, err, mark)
	}
}

func (r *rig) fuel(tenant string) (sum uint64) {
	r.Helper()
	err := r.store.View(r.Context(), func(tx *store.Tx) error {
		days, err := tx.UsageDays(r.Context(), tenant, "", -1<<40, 1<<40, store.Day{Day: -1 << 41}, 1000)
		for i := range days {
			sum += days[i].Fuel
		}
		return err
	})
	if err != nil {
		r.Fatal(err)
	}
	return sum
}

// findings wants these, newest first, as kind and number.
func (r *rig) findings(want ...string) {
	r.Helper()
	err := r.store.View(r.Context(), func(tx *store.Tx) error {
		list, err := tx.Findings(r.Context(), "acme", store.Page{Limit: 100})
		var got []string
		for _, f := range list {
			if f.Gateway != gatewayID || f.Hardware != "hw" || f.Detail == "" {
				r.Errorf("finding %+v", f)
			}
			got = append(got, fmt.Sprint(f.Kind, " ", f.Seq))
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			r.Errorf("found %q, want %q", got, want)
		}
		return err
	})
	if err != nil {
		r.Fatal(err)
	}
}

// Batches come in any order, again and again, to several replicas at once, and
// count once.
func TestEveryBatchCountsOnce(t *testing.T) {
	both(t, func(r *rig) {
		replicas := []*ingest.Service{r.replica(), r.replica(), r.replica()}
		var sends []*usage.Batch
		var want uint64
		for i := range uint64(8) {
			b := r.next(rows(int64(i)*200, i), rows(int64(i)*200+1, 1000))
			want += i + 1000
			sends = append(sends, b, b, b)
		}
		mathrand.Shuffle(len(sends), func(i, j int) { sends[i], sends[j] = sends[j], sends[i] })
		var all sync.WaitGroup
		for i, s := range replicas {
			all.Go(func() {
				for j := i; j < len(sends); j += len(replicas) {
					if _, err := r.send(s, gatewayID, wire.UsageOf(sends[j])); err != nil {
						r.Error(err)
					}
				}
			})
		}
		all.Wait()
		if got := r.fuel("acme"); got != want {
			r.Errorf("counted %d, want %d", got, want)
		}
		r.findings()
		r.take(sends[0], r.seq)
		var counted, repeated uint64
		for _, s := range append(replicas, r.service) {
			counted, repeated = counted+s.Stats().Batches, repeated+s.Stats().Repeated
		}
		if counted != 8 || repeated != 17 {
			r.Errorf("%d counted and %d repeated, want 8 and 17", counted, repeated)
		}
	})
}

func TestWhatIsWrongIsNamed(t *testing.T) {
	both(t, func(r *rig) {
		r.take(r.next(rows(1, 1)), 1)
		edited := r.next(rows(2, 2))
		r.fill(edited, rows(2, 0))
		r.take(edited, 2)
		r.findings("tampered 2")
		r.take(r.next(rows(3, 4)), 3) // the chain goes on
		other := *r
		other.seq = 2
		r.take(other.next(rows(9, 64)), 3) // another number 3
		r.findings("fork 3", "tampered 2")
		stray := *r
		stray.link = usage.Link{1}
		r.take(stray.next(rows(4, 128)), 4) // a 4 that does not follow 3
		r.findings("fork 4", "fork 3", "tampered 2")
		if got := r.fuel("acme"); got != 5 {
			r.Errorf("counted %d, want what was in order: 5", got)
		}
		forged := *r
		forged.key = newKey(r.T)
		answer, err := r.send(r.service, gatewayID, wire.UsageOf(forged.next(rows(5, 256))))
		if ack, ok := answer.(*wire.Ack); err != nil || !ok || len(ack.Marks) != 0 || len(ack.Refused) != 1 {
			r.Errorf("a batch by another key: %+v, %v", answer, err)
		}
		r.findings("foreign 4", "fork 4", "fork 3", "tampered 2")
	})
}

func TestHelloFindsGaps(t *testing.T) {
	both(t, func(r *rig) {
		session := uint64(0)
		again := func(first, next, want uint64) {
			r.Helper()
			m := &wire.Hello{Streams: []wire.Held{{Stream: wire.StreamOf(r.stream), First: first, Next: next}}, Session: session}
			answer, err := r.send(r.service, gatewayID, m)
			w, ok := answer.(*wire.Welcome)
			if err != nil || !ok || w.Session != session || len(w.Marks) != 1 || w.Marks[0].UpTo != want {
				r.Fatalf("%+v, %v; want a mark of %d", answer, err, want)
			}
		}
		hello := func(first, next, want uint64) {
			r.Helper()
			session++
			again(first, next, want)
		}
		hello(1, 1, 0)
		r.take(r.next(rows(1, 1)), 1)
		hello(1, 2, 1)
		hello(2, 2, 1)
		r.next(rows(2, 2)) // lost
		r.next(rows(3, 2)) // lost
		fourth := r.next(rows(4, 4))
		r.next(rows(5, 2)) // lost
		sixth := r.next(rows(6, 8))
		r.take(fourth, 1)
		hello(6, 7, 5)
		r.findings("gap 5", "gap 2")
		r.take(sixth, 6)
		if got := r.fuel("acme"); got != 13 {
			r.Errorf("counted %d, want 13", got)
		}
		again(3, 3, 6) // came twice, or late
		r.findings("gap 5", "gap 2")
		hello(3, 3, 6)
		r.findings("fork 3", "gap 5", "gap 2")
	})
}

// What is removed for its age was counted, and is not counted again.
func TestOldBatchesAreRemovedAndCountOnce(t *testing.T) {
	both(t, func(r *rig) {
		first := r.next(rows(1, 1))
		r.take(first, 1)
		second := r.next(rows(2, 2))
		r.take(second, 2)
		var removed int64
		err := r.store.Update(r.Context(), func(tx *store.Tx) (err error) {
			removed, err = tx.RemoveUsageBatches(r.Context(), time.Now().Add(time.Hour), 100)
			return err
		})
		if err != nil || removed != 1 {
			r.Fatalf("%d removed, want all but the last: %v", removed, err)
		}
		r.take(first, 2)
		r.take(second, 2)
		r.take(r.next(rows(3, 4)), 3)
		if got := r.fuel("acme"); got != 7 {
			r.Errorf("counted %d, want 7", got)
		}
		r.findings()
	})
}

// One gateway's messages touch no other's, and nobody's nothing.
func TestGatewaysAreTheirOwn(t *testing.T) {
	both(t, func(r *rig) {
		const otherID = "qrstuvwxyzabcdef"
		r.enrol("other", otherID, newKey(r.T))
		b := r.next(rows(1, 1))
		answer, err := r.send(r.service, otherID, wire.UsageOf(b))
		if ack, ok := answer.(*wire.Ack); err != nil || !ok || len(ack.Refused) != 1 {
			r.Errorf("another gateway's batch: %+v, %v", answer, err)
		}
		r.take(b, 1)
		if acme, other := r.fuel("acme"), r.fuel("other"); acme != 1 || other != 0 {
			r.Errorf("acme has %d and the other tenant %d, want 1 and 0", acme, other)
		}
		if _, err := r.send(r.service, "nobodynobodynobo", wire.UsageOf(b)); !errors.Is(err, ingest.ErrUnknown) {
			r.Errorf("an unknown gateway: %v", err)
		}
		if err := r.service.Take(r.Context(), gatewayID, []byte("noise"), nil); err == nil {
			r.Error("noise was taken")
		}
		if _, err := r.send(r.service, gatewayID, &wire.Welcome{}); err == nil {
			r.Error("a gateway spoke as a controller")
		}
	})
}

// Sums stay within what the databases hold.
func TestHugeSumsStop(t *testing.T) {
	both(t, func(r *rig) {
		for i := range int64(3) {
			r.take(r.next(rows(i, 1<<63-1)), uint64(i)+1)
		}
		if got := r.fuel("acme"); got != 1<<63-1 {
			r.Errorf("counted %d", got)
		}
	})
}

// A gateway that makes streams up fills nobody's disk, and one with names that
// no database takes is told.
func TestStreamsAreBounded(t *testing.T) {
	both(t, func(r *rig) {
		epoch, session := uint64(100), uint64(0)
		flood := func(n int) (answer any, err error) {
			m := &wire.Hello{}
			for range n {
				epoch++
				m.Streams = append(m.Streams, wire.Held{Stream: wire.Stream{Hardware: "hw", Epoch: epoch}, First: 5, Next: 9})
			}
			session++
			m.Session = session
			return r.send(r.service, gatewayID, m)
		}
		if answer, err := flood(4000); err != nil || len(answer.(*wire.Welcome).Marks) > 64 {
			r.Errorf("%v", err)
		}
		var err error
		for range 20 {
			if _, err = flood(64); err != nil {
				break
			}
		}
		if !errors.Is(err, ingest.ErrStreams) {
			r.Errorf("1344 streams: %v", err)
		}
		for range 64 {
			if _, err = flood(1); err != nil {
				break
			}
		}
		b := r.next(rows(1, 1))
		if _, err := r.send(r.service, gatewayID, wire.UsageOf(b)); !errors.Is(err, ingest.ErrStreams) {
			r.Errorf("one more by a batch: %v", err)
		}
		for _, hardware := range []string{"a\x00b", strings.Repeat("x", 1<<20)} {
			u := wire.UsageOf(b)
			u.Hardware = hardware
			answer, err := r.send(r.service, gatewayID, u)
			if ack, ok := answer.(*wire.Ack); err != nil || !ok || len(ack.Refused) != 1 || len(ack.Refused[0].Reason) > 200 {
				r.Errorf("%T, %v", answer, err)
			}
			m := &wire.Hello{Streams: []wire.Held{{Stream: wire.Stream{Hardware: hardware, Epoch: 1}, First: 1, Next: 1}}, Session: 1}
			if answer, err := r.send(r.service, gatewayID, m); err != nil || len(answer.(*wire.Welcome).Marks) != 0 {
				r.Errorf("%v, %v", answer, err)
			}
		}
		var n int
		err = r.store.View(r.Context(), func(tx *store.Tx) (err error) {
			n, err = tx.CountUsageStreams(r.Context(), gatewayID)
			return err
		})
		if err != nil || n > 1000 {
			r.Errorf("%d streams are kept, %v", n, err)
		}
	})
}

// A gateway that was put out is not heard, whatever it says.
func TestRevokedIsNotHeard(t *testing.T) {
	both(t, func(r *rig) {
		if _, err := r.send(r.service, gatewayID, &wire.Hello{Session: 1}); err != nil {
			r.Fatal(err)
		}
		err := r.store.Update(r.Context(), func(tx *store.Tx) error {
			g, err := tx.Gateway(r.Context(), gatewayID)
			g.Revoked = time.Now()
			return errors.Join(err, tx.SetGateway(r.Context(), g))
		})
		if err != nil {
			r.Fatal(err)
		}
		for _, m := range []any{&wire.Hello{Session: 2}, &wire.Health{Uptime: 77}, wire.UsageOf(r.next(rows(1, 1)))} {
			if _, err := r.send(r.service, gatewayID, m); !errors.Is(err, ingest.ErrUnknown) {
				r.Errorf("%T: %v", m, err)
			}
		}
	})
}
