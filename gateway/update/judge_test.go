package update

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/headgate-io/headgate/function"
)

func TestWorse(t *testing.T) {
	c := &Canary{Sample: 20, Slower: 3}
	count := func(n, failed uint64, each time.Duration) Count {
		return Count{Invocations: n, Failures: failed, Timed: n, Busy: time.Duration(n) * each}
	}
	good := count(1000, 5, time.Millisecond)
	for name, x := range map[string]struct {
		before, now Count
		want        string
	}{
		"nothing yet":               {good, Count{}, ""},
		"as good":                   {good, count(40, 0, time.Millisecond), ""},
		"two failures":              {good, count(2, 2, time.Millisecond), ""},
		"all fail at once":          {good, count(3, 3, time.Millisecond), "3 of 3"},
		"a tenth of too few fails":  {good, count(19, 3, time.Millisecond), ""},
		"a tenth of a sample fails": {good, count(30, 3, time.Millisecond), "10.0 %"},
		"as bad as before":          {count(100, 50, time.Millisecond), count(40, 20, time.Millisecond), ""},
		"worse than bad":            {count(100, 50, time.Millisecond), count(40, 30, time.Millisecond), "75.0 %"},
		"slower":                    {good, count(20, 0, 40*time.Millisecond), "takes 40ms"},
		"slower, too few":           {good, count(19, 0, 40*time.Millisecond), ""},
		"slower, nobody notices":    {good, count(20, 0, 9*time.Millisecond), ""},
		"twice as slow":             {count(20, 0, 40*time.Millisecond), count(20, 0, 80*time.Millisecond), ""},
		"nothing to compare with":   {Count{Invocations: 50}, count(20, 0, time.Second), ""},
	} {
		got := worse(x.before, x.now, c)
		if (got == "") != (x.want == "") || !strings.Contains(got, x.want) {
			t.Errorf("%s: %q, want %q", name, got, x.want)
		}
	}
}

func TestAddedPermissions(t *testing.T) {
	var before, now function.Spec
	before.Permissions = function.Permissions{Publish: []string{"a/#"}, Actuators: []string{"valve-1"}, Fetch: []string{"https://x"}}
	now.Permissions = function.Permissions{
		Publish: []string{"a/#", "b"}, Actuators: []string{"valve-*"}, State: function.StatePermissions{Read: []string{"weather"}, Write: []string{"w"}},
		Objects: function.ObjectPermissions{Read: []string{"in"}, Write: []string{"out"}}, Invoke: []string{"f"}, Enqueue: []string{"q"}, Sensors: []string{"s"},
	}
	now.Secrets = []string{"key"}
	want := []string{
		"publish b", "read state weather", "write state w", "read objects in", "write objects out", "invoke f", "enqueue q",
		"sensors s", "actuators valve-*", "secret key",
	}
	if got := added(&before, &now); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got := added(&now, &now); got != nil {
		t.Errorf("the same: %q", got)
	}
}

// BenchmarkObserve is what every attempt of every function costs more.
func BenchmarkObserve(b *testing.B) {
	idle, busy := new(Pipeline), new(Pipeline)
	busy.watched.Store(&map[string]*watch{"f": {from: 1, to: 2}})
	for name, p := range map[string]*Pipeline{"nothing rolls out": idle, "one function does": busy} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p.Observe("f", 2, function.OK, time.Millisecond)
			}
		})
	}
}
