package function_test

import (
	"strings"
	"testing"

	"github.com/headgate-io/headgate/function"
)

// TestDeepFiles reads files that are nothing but brackets inside each other.
func TestDeepFiles(t *testing.T) {
	for _, text := range []string{
		strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000), strings.Repeat("{a: ", 60_000) + "1" + strings.Repeat("}", 60_000),
		strings.Repeat("[", 100_000), strings.Repeat("- ", 100_000) + "1", strings.Repeat("? ", 100_000) + "1",
	} {
		var v map[string]any
		_, err := function.DecodeFile("f.yaml", []byte("a: 1\nb:\n  "+text), &v)
		if err == nil || !strings.HasPrefix(err.Error(), "f.yaml:3:") || !strings.Contains(err.Error(), ": has more than 1000 brackets or dashes inside each other") {
			t.Errorf("%.20q: %v", text, err)
		}
	}
	var v map[string]any
	if _, err := function.DecodeFile("f.yaml", []byte("a: "+strings.Repeat("[", 50)+strings.Repeat("]", 50)+"\nb: \"[[{\"\n"), &v); err != nil {
		t.Error(err)
	}
}
