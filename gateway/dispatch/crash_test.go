package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/dispatch"
	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/internal/testdb"
	"github.com/headgate-io/headgate/mqtt/broker"
	"github.com/headgate-io/headgate/sandbox/host"
)

// tally counts each event by its number under a key of its own, and all of
// them under one.
func tally(c *host.Calls) {
	for _, key := range []string{"n", "event/" + string(c.Input())} {
		v, _ := c.KVGet([]byte(key))
		n, _ := strconv.Atoi(string(v))
		_ = c.KVSet([]byte(key), []byte(strconv.Itoa(n+1)), 0)
	}
}

// deployTallies sets a counting function and one that sometimes fails and
// sometimes is slow, on the same topics.
func deployTallies(r *rig) {
	triggers := []function.Trigger{{MQTT: "a/{client}", OrderBy: "client"}}
	retry := function.Retry{Attempts: 1000, Backoff: function.Duration(time.Millisecond), MaxBackoff: function.Duration(4 * time.Millisecond)}
	r.deploy("steady", func(_ context.Context, c *host.Calls) error { tally(c); return nil }, deploy{triggers: triggers, retry: retry})
	r.deploy("flaky", func(_ context.Context, c *host.Calls) error {
		switch rand.IntN(10) {
		case 0, 1:
			return errors.New("boom")
		case 2:
			time.Sleep(3 * time.Millisecond)
		}
		tally(c)
		return nil
	}, deploy{triggers: triggers, retry: retry})
}

func client(i int) string { return fmt.Sprint("client-", i) }

func inbound(c, i int) *broker.InboundRecord {
	return &broker.InboundRecord{Client: client(c), Epoch: uint64(c + 1), QoS: 1, PacketID: uint16(i + 1), Slot: uint32(i), Hash: uint64(c)<<32 | uint64(i)}
}

// At any moment the files hold what recovery needs: once clients send again
// what has no duplicate record, every event counts exactly once in both
// functions, and nothing that was acknowledged needed sending again.
func TestCrashAtAnyMoment(t *testing.T) {
	const clients, window = 8, 4
	each := 40
	if testing.Short() {
		each = 8
	}
	fast := func(c *dispatch.Config) { c.SpillAfter = 2 * time.Millisecond }
	r := newRig(t, options{dispatch: fast, quiet: true})
	for c := range clients {
		saved := make(chan error, 1)
		r.store.SaveSession(broker.SessionRecord{Client: client(c), Epoch: uint64(c + 1)}, func(err error) { saved <- err })
		if err := <-saved; err != nil {
			t.Fatal(err)
		}
	}
	deployTallies(r)
	var acked [clients][]atomic.Bool
	for c := range acked {
		acked[c] = make([]atomic.Bool, each)
	}
	var wg sync.WaitGroup
	for c := range clients {
		wg.Add(1)
		go func() {
			defer wg.Done()
			inflight := make(chan struct{}, window)
			for i := range each {
				inflight <- struct{}{}
				time.Sleep(time.Duration(rand.IntN(3)) * time.Millisecond)
				r.submit("a/"+client(c), strconv.Itoa(c*each+i), 1, releaseFunc(func(code broker.ReasonCode) {
					acked[c][i].Store(code == broker.Success)
					<-inflight
				}), inbound(c, i), store.DedupeKey{})
			}
			for range window {
				inflight <- struct{}{}
			}
		}()
	}
	running := make(chan struct{})
	go func() { wg.Wait(); close(running) }()
	var moments []moment
	for more := true; more; {
		m := moment{acked: map[uint64]bool{}}
		for c := range clients {
			for i := range each {
				if acked[c][i].Load() {
					m.acked[inbound(c, i).Hash] = true
				}
			}
		}
		m.path = testdb.Copy(t, r.path)
		moments = append(moments, m)
		select {
		case <-running:
			more = false
		case <-time.After(time.Duration(rand.IntN(8)) * time.Millisecond):
		}
	}
	for n, m := range moments {
		t.Run(fmt.Sprint("crash-", n), func(t *testing.T) { recoverAndCheck(t, m, fast, clients, each) })
	}
}

// moment is what was on disk at some time, and which events had been
// acknowledged before.
type moment struct {
	path  string
	acked map[uint64]bool
}

func recoverAndCheck(t *testing.T, m moment, fast func(*dispatch.Config), clients, each int) {
	r := newRig(t, options{path: m.path, dispatch: fast, quiet: true})
	recs, err := r.store.LoadSessions(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	known := map[uint64]bool{}
	for _, rec := range recs {
		for _, in := range rec.Inbound {
			known[in.Hash] = true
		}
	}
	deployTallies(r)
	var rels []release
	for c := range clients {
		for i := range each {
			in := inbound(c, i)
			if known[in.Hash] {
				continue
			}
			if m.acked[in.Hash] {
				t.Errorf("event %d of %s was acknowledged and has no record", i, client(c))
			}
			rel := make(release, 1)
			r.submit("a/"+client(c), strconv.Itoa(c*each+i), 1, rel, in, store.DedupeKey{})
			rels = append(rels, rel)
		}
	}
	for _, rel := range rels {
		rel.wait(t, broker.Success)
	}
	until(t, "the queue is empty", func() bool { n, _ := r.store.QueueLen(); return n == 0 })
	for _, fn := range []string{"steady", "flaky"} {
		for i := range clients * each {
			if n := r.get(fn, "event/"+strconv.Itoa(i)); n != "1" {
				t.Errorf("%s counted event %d %q times", fn, i, n)
			}
		}
		if n := r.get(fn, "n"); n != strconv.Itoa(clients*each) {
			t.Errorf("%s counted %s events, want %d", fn, n, clients*each)
		}
	}
}
