package memory

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

func files(pairs ...string) fstest.MapFS {
	m := fstest.MapFS{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
	}
	return m
}

const meminfo = "MemTotal:        1000000 kB\nMemFree:          500000 kB\n"

func TestDetect(t *testing.T) {
	const mib = 1 << 20
	for name, c := range map[string]struct {
		root       fstest.MapFS
		configured int64
		want       int64
		source     string
	}{
		"configured": {files(), 77, 77, "memory.budget"},
		"machine":    {files("proc/meminfo", meminfo), 0, 500000 << 10, "machine"},
		"group": {files("proc/meminfo", meminfo, "proc/self/cgroup", "0::/system.slice/headgate.service\n",
			"sys/fs/cgroup/system.slice/headgate.service/memory.max", "104857600\n"), 0, 90 * mib, "headgate.service"},
		"group above": {files("proc/meminfo", meminfo, "proc/self/cgroup", "0::/a/b\n",
			"sys/fs/cgroup/a/b/memory.max", "max\n", "sys/fs/cgroup/a/memory.max", "104857600\n"), 0, 90 * mib, "group /a"},
		"group without limit": {files("proc/meminfo", meminfo, "proc/self/cgroup", "0::/\n", "sys/fs/cgroup/memory.max", "max\n"), 0, 500000 << 10, "machine"},
		"group larger than the machine": {
			files("proc/meminfo", meminfo, "proc/self/cgroup", "0::/\n", "sys/fs/cgroup/memory.max", "99999999999\n"),
			0, 500000 << 10, "machine",
		},
		"version 1": {files("proc/meminfo", meminfo, "proc/self/cgroup", "9:cpu,cpuacct:/x\n5:memory:/docker/abc\n",
			"sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "104857600\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"), 0, 90 * mib, "/docker/abc"},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := Detect(c.root, c.configured)
			if err != nil || l.Bytes != c.want || !strings.Contains(l.Source, c.source) {
				t.Errorf("got %+v, %v; want %d from %s", l, err, c.want, c.source)
			}
		})
	}
	if _, err := Detect(files(), 0); err == nil || !strings.Contains(err.Error(), "memory.budget") {
		t.Errorf("nothing to go by: %v", err)
	}
}

// TestDivide never gives more than the budget, whatever was asked.
func TestDivide(t *testing.T) {
	for _, budget := range []int64{32 << 20, 256 << 20, 8 << 30} {
		s := Divide(budget, Shares{})
		if outside := s.Instances + s.Heap; outside > budget*95/100 {
			t.Errorf("%d: instances and heap are %d", budget, outside)
		}
		if inHeap := s.Queued + s.Buffered + s.Retained + s.Pending + s.Loaded; inHeap > s.Heap {
			t.Errorf("%d: %d of buffers in a heap of %d", budget, inHeap, s.Heap)
		}
	}
	if s := Divide(1<<30, Shares{Instances: 1 << 20, Queued: 1 << 40}); s.Instances != 1<<20 || s.Queued != (1<<30)/100*percent.Queued {
		t.Errorf("asked for less and for more: %+v", s)
	}
}

func TestWatch(t *testing.T) {
	var taken int64
	var err error
	relieved := 0
	w := NewWatch(Limit{Bytes: 1000}, func() (int64, error) { return taken, err }, func() { relieved++ }, slog.New(slog.NewTextHandler(t.Output(), nil)))
	now := time.Unix(1000, 0)
	for _, step := range []struct {
		taken    int64
		level    Level
		relieved int
	}{
		{100, Plenty, 0},
		{799, Plenty, 0},
		{800, Tight, 1},
		{760, Tight, 1}, // too soon to free again
		{749, Plenty, 1},
		{930, Full, 2},
		{890, Full, 2},
		{870, Tight, 3},
		{100, Plenty, 3},
	} {
		taken = step.taken
		now = now.Add(reliefEvery / 2)
		w.look(now)
		if w.Level() != step.level || relieved != step.relieved {
			t.Errorf("at %d: %v, freed %d times; want %v, %d", step.taken, w.Level(), relieved, step.level, step.relieved)
		}
		if w.Admit() != (step.level < Full) {
			t.Errorf("at %d: admit %v", step.taken, step.level < Full)
		}
	}
	err = errors.New("no /proc")
	w.look(now)
	if s := w.Stats(); s.PeakBytes != 930 || s.Refusals != 2 || s.Level != 0 || s.Reliefs != 3 {
		t.Errorf("%+v", s)
	}
}

// TestResident does not count the pages of the program's own file.
func TestResident(t *testing.T) {
	n, err := resident(files("proc/self/status", "Name:\theadgate\nVmRSS:\t   58396 kB\nRssAnon:\t   33672 kB\nRssFile:\t   24720 kB\nRssShmem:\t       4 kB\nThreads:\t24\n"))
	if err != nil || n != 33676<<10 {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := resident(files("proc/self/status", "Name:\theadgate\n")); err == nil {
		t.Error("nothing is taken for something")
	}
	if n, err := Resident(); err != nil || n < 64<<10 {
		t.Errorf("this process takes %d, %v", n, err)
	}
}
