package label_test

import (
	"strings"
	"testing"

	"github.com/headgate-io/headgate/controller/label"
)

func TestSelector(t *testing.T) {
	labels := map[string]string{"site": "north", "batch": "7", "empty": ""}
	for text, want := range map[string]bool{
		"": true, "site=north": true, "site=south": false, "site!=south": true, "site!=north": false,
		"site": true, "!site": false, "other": false, "!other": true, "other!=x": true, "empty=": true, "site=": false,
		"site=north, batch=7": true, "site=north,batch=8": false,
	} {
		s, err := label.Parse(text)
		if err != nil || s.Match(labels) != want {
			t.Errorf("%q: %v, %v", text, s.Match(labels), err)
		}
	}
	for _, text := range []string{",", "=x", "!=x", "!", "a=b=c", "a b", "!a=b", strings.Repeat("a", 2000)} {
		if s, err := label.Parse(text); err == nil {
			t.Errorf("%q was read as %+v", text, s)
		}
	}
}

// Two spellings of a selector are one.
func TestSpelling(t *testing.T) {
	for text, want := range map[string]string{
		"": "", " site=north , !retired,batch!=7, site=north": "!retired,batch!=7,site=north", "b,a=": "a=,b",
	} {
		s, err := label.Parse(text)
		if err != nil || s.String() != want {
			t.Errorf("%q: %q, %v", text, s, err)
		}
		if again, err := label.Parse(s.String()); err != nil || again.String() != want {
			t.Errorf("%q again: %q, %v", text, again, err)
		}
	}
}
