package store_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/internal/slow"
	"github.com/headgate-io/headgate/internal/testdb"
	"pgregory.net/rapid"
)

// model is what the store must behave like: a map whose keys have versions.
type model struct {
	values   map[string]string
	versions map[string]int
	listing  int // changes when a key comes or goes
}

// invocation is an open view and what the model says it saw.
type invocation struct {
	view   *store.View
	reads  map[string]int
	listed int // -1 for not
	writes []function.Write
}

func (m *model) fresh(in *invocation) bool {
	for k, v := range in.reads {
		if m.versions[k] != v {
			return false
		}
	}
	return in.listed < 0 || in.listed == m.listing
}

func (m *model) apply(writes []function.Write) {
	before := maps.Clone(m.values)
	for _, w := range writes {
		m.versions[w.Key]++
		if w.Delete {
			delete(m.values, w.Key)
		} else {
			m.values[w.Key] = string(w.Value)
		}
	}
	a, b := slices.Sorted(maps.Keys(before)), slices.Sorted(maps.Keys(m.values))
	if !slices.Equal(a, b) {
		m.listing++
	}
}

// Invocations that overlap in every possible way see and leave what a map
// with versions says, across restarts and with a cache that holds next to
// nothing.
func TestModel(t *testing.T) {
	slow.Both(t, slow.OneGoroutine)
	rapid.Check(t, func(rt *rapid.T) {
		path := dbPath(t)
		small := func(c *store.Config) { c.CacheBytes = rapid.SampledFrom([]int64{1, 600, 1 << 20}).Draw(rt, "cache") }
		s := open(t, path, small)
		m := &model{values: map[string]string{}, versions: map[string]int{}}
		var active []*invocation
		key := rapid.SampledFrom([]string{"a", "b", "ab", "a\x00", "ü", "z/1", "z/2", ""})
		pick := func() *invocation {
			return active[rapid.IntRange(0, len(active)-1).Draw(rt, "which")]
		}
		end := func(in *invocation) {
			in.view.Release()
			active = slices.DeleteFunc(active, func(o *invocation) bool { return o == in })
		}
		rt.Repeat(map[string]func(*rapid.T){
			"begin": func(rt *rapid.T) {
				if len(active) < 4 {
					active = append(active, &invocation{view: s.View(), reads: map[string]int{}, listed: -1})
				}
			},
			"get": func(rt *rapid.T) {
				if len(active) == 0 {
					return
				}
				in, k := pick(), key.Draw(rt, "key")
				v, found, err := in.view.Get("f", k)
				if err != nil {
					rt.Fatal(err)
				}
				want, there := m.values[k]
				if found != there || string(v) != want {
					rt.Fatalf("get %q: %q %v, want %q %v", k, v, found, want, there)
				}
				if _, ok := in.reads[k]; !ok {
					in.reads[k] = m.versions[k]
				}
			},
			"list": func(rt *rapid.T) {
				if len(active) == 0 {
					return
				}
				in := pick()
				prefix, after := rapid.SampledFrom([]string{"", "a", "z/"}).Draw(rt, "prefix"), rapid.SampledFrom([]string{"", "a", "z/1"}).Draw(rt, "after")
				limit := rapid.IntRange(1, 5).Draw(rt, "limit")
				keys, more, err := in.view.List("f", prefix, after, limit)
				if err != nil {
					rt.Fatal(err)
				}
				var want []string
				for k := range m.values {
					if strings.HasPrefix(k, prefix) && (after == "" || k > after) {
						want = append(want, k)
					}
				}
				sort.Strings(want)
				if wantMore := len(want) > limit; more != wantMore {
					rt.Fatalf("list more = %v, want %v", more, wantMore)
				}
				if want = want[:min(limit, len(want))]; !slices.Equal(keys, want) {
					rt.Fatalf("list %q after %q: %q, want %q", prefix, after, keys, want)
				}
				if in.listed < 0 {
					in.listed = m.listing
				}
			},
			"write": func(rt *rapid.T) {
				if len(active) == 0 {
					return
				}
				in := pick()
				w := function.Write{Namespace: "f", Key: key.Draw(rt, "key"), Delete: rapid.Bool().Draw(rt, "delete")}
				if !w.Delete {
					w.Value = []byte(rapid.StringN(0, 30, -1).Draw(rt, "value"))
				}
				in.writes = append(in.writes, w)
			},
			"seal": func(rt *rapid.T) {
				if len(active) == 0 {
					return
				}
				in := pick()
				fresh := m.fresh(in)
				if in.view.Stale() == fresh {
					rt.Fatalf("stale = %v, model says fresh = %v", !fresh, fresh)
				}
				_, err := s.Seal(&store.Unit{Slots: []store.Slot{{View: in.view, Writes: in.writes}}})
				var conflict *store.ConflictError
				if fresh != (err == nil) || err != nil && !errors.As(err, &conflict) {
					rt.Fatalf("seal: %v, model says fresh = %v", err, fresh)
				}
				if fresh {
					m.apply(in.writes)
				}
				end(in)
			},
			"restart": func(rt *rapid.T) {
				for len(active) > 0 {
					end(active[0])
				}
				closeStore(t, s)
				s = open(t, path, small)
			},
			"": func(rt *rapid.T) {
				n, _ := s.StateBytes("f")
				var want int64
				for k, v := range m.values {
					want += int64(len(k) + len(v))
				}
				if n != want {
					rt.Fatalf("namespace holds %d bytes, want %d", n, want)
				}
			},
		})
		for len(active) > 0 {
			end(active[0])
		}
		closeStore(t, s)
	})
}

// Counters incremented by many at once, each retried on conflict, lose
// nothing; and what Done reported is there after a crash at that moment.
func TestConcurrentIncrements(t *testing.T) {
	path := dbPath(t)
	s := open(t, path)
	const workers, each = 8, 60
	var wg sync.WaitGroup
	for w := range workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range each {
				k := fmt.Sprint("k", (w+i)%3)
				for {
					v := s.View()
					b, _, err := v.Get("f", k)
					if err != nil {
						t.Error(err)
					}
					err = seal(t, s, &store.Unit{Slots: []store.Slot{{View: v, Writes: []function.Write{set("f", k, string(b)+"x")}}}})
					v.Release()
					var conflict *store.ConflictError
					if errors.As(err, &conflict) {
						continue
					}
					if err != nil {
						t.Error(err)
					}
					break
				}
			}
		}()
	}
	wg.Wait()
	r := open(t, testdb.Copy(t, path))
	total := 0
	for i := range 3 {
		total += len(get(t, r, "f", fmt.Sprint("k", i)))
	}
	if total != workers*each {
		t.Errorf("%d increments survived, want %d", total, workers*each)
	}
	st := s.Stats()
	if st.Commits == 0 || st.ActiveViews != 0 {
		t.Errorf("stats %+v", st)
	}
}

func TestGroupsShareACommit(t *testing.T) {
	gate := make(chan struct{})
	var once sync.Once
	s := open(t, dbPath(t), func(c *store.Config) {
		c.Inject = func(step store.Step) error {
			if step == store.StepBegin {
				once.Do(func() { <-gate })
			}
			return nil
		}
	})
	const n = 100
	var mu sync.Mutex
	var order []int
	done := make(chan struct{})
	for i := range n {
		_, err := s.Seal(&store.Unit{
			Slots: []store.Slot{{Writes: []function.Write{set("f", "k", fmt.Sprint(i))}}},
			Done: func(err error) {
				mu.Lock()
				defer mu.Unlock()
				if order = append(order, i); len(order) == n {
					close(done)
				}
			},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	close(gate)
	<-done
	if !sort.IntsAreSorted(order) {
		t.Errorf("done out of order: %v", order)
	}
	if st := s.Stats(); st.Commits > 2 || st.Units != n {
		t.Errorf("%d commits of %d units, want at most 2 of %d", st.Commits, st.Units, n)
	}
}

func TestAfterCommitWaitsForWhatWasRead(t *testing.T) {
	gate := make(chan struct{})
	s := open(t, dbPath(t), func(c *store.Config) {
		c.Inject = func(step store.Step) error {
			if step == store.StepCommit {
				<-gate
			}
			return nil
		}
	})
	committed := make(chan struct{})
	if _, err := s.Seal(&store.Unit{Slots: []store.Slot{{Writes: []function.Write{set("f", "k", "v")}}}, Done: func(error) { close(committed) }}); err != nil {
		t.Fatal(err)
	}
	v := s.View()
	defer v.Release()
	if b, _, err := v.Get("f", "k"); err != nil || string(b) != "v" {
		t.Fatalf("read %q %v", b, err)
	}
	tk, err := s.Seal(&store.Unit{Slots: []store.Slot{{View: v}}})
	if err != nil || tk.Written || tk.Seq == 0 {
		t.Fatalf("read-only ticket %+v %v", tk, err)
	}
	said := make(chan bool, 1)
	s.AfterCommit(tk, func(error) {
		select {
		case <-committed:
			said <- true
		default:
			said <- false
		}
	})
	select {
	case <-said:
		t.Fatal("left before the commit")
	default:
	}
	close(gate)
	if !<-said {
		t.Error("left before the commit of what it read")
	}
	now := make(chan error, 1)
	s.AfterCommit(store.Ticket{}, func(err error) { now <- err })
	select {
	case err := <-now:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("a ticket without a sequence waits")
	}
}
