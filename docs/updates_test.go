package docs_test

import (
	"os"
	"strings"
	"testing"
)

// TestUpdatesAsWritten has every command of updates.md run by a script as it is
// written there, down to the last word.
func TestUpdatesAsWritten(t *testing.T) {
	asWritten(t, "updates.md", 20, "updates", "keys", "fleetupdates", "fleetpublish")
}

// TestFleetAsWritten has the same of fleet.md.
func TestFleetAsWritten(t *testing.T) {
	asWritten(t, "fleet.md", 30, "fleet", "fleetpublish", "fleetdeploy")
}

// asWritten looks for a page's commands, of which there are some, in scripts.
func asWritten(t *testing.T, page string, least int, scripts ...string) {
	t.Helper()
	raw, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	run := map[string]bool{}
	for _, name := range scripts {
		script, err := os.ReadFile("../cmd/headgate/testdata/script/" + name + ".txtar")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(script)) {
			if i := strings.Index(line, "headgate "); i >= 0 {
				run[strings.TrimSpace(line[i:])] = true
			}
		}
	}
	n := 0
	for i, block := range strings.Split(string(raw), "```") {
		if i%2 == 0 || strings.HasPrefix(block, "yaml") {
			continue
		}
		for line := range strings.Lines(block) {
			if line = strings.TrimSpace(line); line == "" {
				continue
			}
			if n++; !run[line] {
				t.Errorf("%s: no script runs: %s", page, line)
			}
		}
	}
	if n < least {
		t.Errorf("%s: only %d commands were found", page, n)
	}
}
