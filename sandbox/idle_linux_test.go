package sandbox_test

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/internal/slow"
	"github.com/headgate-io/headgate/sandbox"
	"github.com/headgate-io/headgate/sandbox/host"
)

// resident is what this process takes: its Go heap, its private pages, and
// the pages of its images, which are files in memory.
func resident(t *testing.T) (heap, private, images int64) {
	t.Helper()
	debug.FreeOSMemory()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	f, err := os.Open("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "RssAnon:"); ok {
			_, _ = fmt.Sscan(rest, &private)
		}
	}
	links, _ := filepath.Glob("/proc/self/fd/*")
	for _, link := range links {
		var s syscall.Stat_t
		if to, err := os.Readlink(link); err == nil && strings.Contains(to, "memfd:headgate-image") && syscall.Stat(link, &s) == nil {
			images += s.Blocks * 512
		}
	}
	return int64(stats.HeapAlloc), private << 10, images
}

// TestIdleFunctionsAreSmall: a further function that is at zero costs less
// than 100 KB. It prints what one that is warm costs, too.
func TestIdleFunctionsAreSmall(t *testing.T) {
	slow.Both(t, slow.LargeGuests)
	t.Run("javascript", func(t *testing.T) {
		source, err := os.ReadFile("testdata/js/conform.js")
		if err != nil {
			t.Fatal(err)
		}
		idleFunctions(t, "conform.js", source)
	})
	t.Run("python", func(t *testing.T) { idleFunctions(t, "conform.py", pythonGuest(t, "conform.py")) })
}

func idleFunctions(t *testing.T, main string, source []byte) {
	const functions = 40
	e := testEngine(t, sandbox.Config{})
	start := func() *unit {
		u := load(t, e, main, source, testOptions{limits: function.Limits{}})
		if r := u.invoke(host.Invocation{Input: []byte("{}")}); r.Outcome != function.Failed {
			t.Fatalf("%+v", r)
		}
		return u
	}
	first := start() // the shared engine
	heap, private, images := resident(t)
	units := []*unit{first}
	for range functions {
		units = append(units, start())
	}
	per := func(a, b int64) int64 { return (a - b) / functions / 1000 }
	warmHeap, warmPrivate, warmImages := resident(t)
	t.Logf("per warm function: %d KB of Go heap, %d KB of private pages in all, %d KB of image",
		per(warmHeap, heap), per(warmPrivate, private), per(warmImages, images))
	for _, u := range units[1:] {
		u.pool.Shrink()
	}
	zeroHeap, zeroPrivate, zeroImages := resident(t)
	t.Logf("per function at zero: %d KB of Go heap, %d KB of private pages in all, %d KB of image",
		per(zeroHeap, heap), per(zeroPrivate, private), per(zeroImages, images))
	if kb := per(zeroHeap, heap) + per(zeroImages, images); kb > 100 {
		t.Errorf("a function at zero holds %d KB, at most 100 are allowed", kb)
	}
	if r := units[functions].invoke(host.Invocation{Input: []byte("{}")}); !r.ColdStart {
		t.Error("it was not at zero")
	}
}
