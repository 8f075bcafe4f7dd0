package topic_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/headgate-io/headgate/mqtt/topic"
)

// TestTreeAgainstModel adds and removes random filters and compares every
// lookup with a plain scan.
func TestTreeAgainstModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	word := func(words ...string) string { return words[rng.IntN(len(words))] }
	random := func(words ...string) string {
		levels := make([]string, 1+rng.IntN(4))
		for i := range levels {
			levels[i] = word(words...)
		}
		return strings.Join(levels, "/")
	}
	tree := topic.NewTree[int]()
	model := map[int]string{}
	for step := range 20000 {
		filter := random("a", "b", "c", "", "$x", "+")
		if rng.IntN(4) == 0 {
			filter += "/#"
		}
		if rng.IntN(3) > 0 {
			tree.Add(filter, step)
			model[step] = filter
		} else {
			for v, f := range model {
				if n := tree.Remove(f, func(have int) bool { return have == v }); n != 1 {
					t.Fatalf("removed %d values of %q", n, f)
				}
				delete(model, v)
				break
			}
		}
		if step%20 != 0 {
			continue
		}
		name := random("a", "b", "c", "", "$x")
		got := tree.Match(name, nil)
		slices.Sort(got)
		var want []int
		for v, f := range model {
			if topic.Match(f, name) {
				want = append(want, v)
			}
		}
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("step %d: Match(%q) = %v, want %v", step, name, got, want)
		}
	}
	for v, f := range model {
		tree.Remove(f, func(have int) bool { return have == v })
	}
	if tree.Len() != 0 || len(tree.Match("a/b", nil)) != 0 {
		t.Errorf("%d values left", tree.Len())
	}
}

// TestTreeConcurrent reads a filter that stays while thousands of others come
// and go around it: it must never be missed.
func TestTreeConcurrent(t *testing.T) {
	tree := topic.NewTree[int]()
	tree.Add("farm/stay/+", -1)
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			var dst []int
			for {
				select {
				case <-done:
					return
				default:
				}
				if dst = tree.Match("farm/stay/x", dst[:0]); !slices.Contains(dst, -1) {
					t.Error("a standing filter was missed")
					return
				}
			}
		})
	}
	for i := range 3000 {
		tree.Add(fmt.Sprintf("farm/%d/x", i%500), i)
		if i >= 250 {
			tree.Remove(fmt.Sprintf("farm/%d/x", (i-250)%500), func(v int) bool { return v == i-250 })
		}
	}
	close(done)
	readers.Wait()
}

func TestTreeUpdateReplacesInOneStep(t *testing.T) {
	tree := topic.NewTree[string]()
	tree.Add("a/+", "one")
	tree.Update("a/+", func(old []string) []string { old[0] = "two"; return old })
	if got := tree.Match("a/b", nil); !slices.Equal(got, []string{"two"}) || tree.Len() != 1 {
		t.Errorf("got %q, len %d", got, tree.Len())
	}
}

func TestTreeMatchDoesNotAllocate(t *testing.T) {
	tree := topic.NewTree[int]()
	for i := range 1000 {
		tree.Add(fmt.Sprintf("farm/%d/moisture", i), i)
	}
	dst := make([]int, 0, 8)
	if n := testing.AllocsPerRun(100, func() { dst = tree.Match("farm/7/moisture", dst[:0]) }); n != 0 {
		t.Errorf("%v allocations per match", n)
	}
}

func BenchmarkTreeMatch(b *testing.B) {
	for _, filters := range []int{1, 100, 10000} {
		b.Run(fmt.Sprintf("filters=%d", filters), func(b *testing.B) {
			tree := topic.NewTree[int]()
			for i := range filters {
				tree.Add(fmt.Sprintf("farm/%d/moisture", i), i)
			}
			dst := make([]int, 0, 8)
			b.ReportAllocs()
			for b.Loop() {
				dst = tree.Match("farm/0/moisture", dst[:0])
			}
		})
	}
}
