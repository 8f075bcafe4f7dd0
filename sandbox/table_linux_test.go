package sandbox_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/internal/toolchain"
	"github.com/headgate-io/headgate/sandbox"
	"github.com/headgate-io/headgate/sandbox/host"
)

var update = flag.Bool("update", false, "measure the languages and write the table of docs/functions.md")

const (
	guidePath  = "../docs/functions.md"
	tableStart = "<!-- languages: go test ./sandbox -run TestLanguageTable -update -->\n"
	tableEnd   = "<!-- end of languages -->\n"
)

// cpu is what this process has taken of the processors.
func cpu(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// perCall is the least CPU that a call takes among several tries.
func perCall(t *testing.T, calls int, call func()) time.Duration {
	t.Helper()
	least := time.Duration(1 << 62)
	for range 5 {
		before := cpu(t)
		for range calls {
			call()
		}
		least = min(least, (cpu(t)-before)/time.Duration(calls))
	}
	return least
}

func size(n int) string {
	switch {
	case n < 10_000:
		return fmt.Sprintf("%d B", n)
	case n < 1_000_000:
		return fmt.Sprintf("%d KB", n/1000)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}

// TestLanguageTable measures the same function in every language with -update;
// without, it wants a row for each in the guide.
func TestLanguageTable(t *testing.T) {
	text, err := os.ReadFile(guidePath)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(text), tableStart)
	old, tail, ended := strings.Cut(rest, tableEnd)
	if !ok || !ended {
		t.Fatalf("%s has no table of languages", guidePath)
	}
	if !*update {
		for _, name := range []string{"c", "rust", "assemblyscript", "go", "tinygo", "extism-c", "extism-go", "javascript", "python"} {
			if !strings.Contains(old, "| "+name+" |") {
				t.Errorf("the table has no row for %s: run with -update", name)
			}
		}
		return
	}
	toolchain.NeedTinyGo(t)
	table := "| | size | first call | further calls | fuel |\n|---|---|---|---|---|\n"
	e := testEngine(t, sandbox.Config{})
	for _, g := range benchGuests(t) {
		if g.name == "wasm" || strings.HasSuffix(g.name, "-empty") {
			continue
		}
		u := load(t, e, g.main, g.source, testOptions{export: g.export})
		fuel := uint64(0)
		call := func() {
			r := u.invoke(host.Invocation{Input: benchInput})
			if fuel = r.Fuel; r.Outcome != function.OK {
				t.Fatalf("%s: %s", g.name, r.Error)
			}
		}
		call()
		warm := perCall(t, 2000, call)
		cold := perCall(t, 20, func() { u.pool.Shrink(); call() })
		table += fmt.Sprintf("| %s | %s | %.2f ms | %.1f µs | %d |\n", g.name, size(len(g.source)), cold.Seconds()*1e3, warm.Seconds()*1e6, fuel)
	}
	if err := os.WriteFile(guidePath, []byte(head+tableStart+table+tableEnd+tail), 0o644); err != nil {
		t.Fatal(err)
	}
}
