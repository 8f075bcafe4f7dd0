package sandbox

import (
	"errors"
	"fmt"
	"strings"

	"github.com/headgate-io/headgate/function"
)

// stop is the panic value that ends a guest from inside a host call.
type stop struct {
	outcome function.Outcome
	reason  string
	// exit is true when the guest asked to exit, with code.
	exit bool
	code uint32
}

func (s *stop) Error() string { return s.reason }

// trapText makes one line of a trap: what happened, and in which functions.
func trapText(err error) string {
	head, trace, _ := strings.Cut(err.Error(), "\nwasm stack trace:\n")
	head = strings.TrimSuffix(strings.TrimPrefix(head, "wasm error: "), " (recovered by wazero)")
	var frames []string
	for line := range strings.SplitSeq(trace, "\n") {
		name, _, ok := strings.Cut(strings.TrimSpace(line), "(")
		if !ok || name == "" {
			continue
		}
		frames = append(frames, strings.TrimPrefix(name, "."))
		if len(frames) == 4 {
			break
		}
	}
	if len(frames) == 0 {
		return head
	}
	return fmt.Sprintf("%s in %s", head, strings.Join(frames, " < "))
}

// asStop finds the stop that a host call panicked with.
func asStop(err error) (*stop, bool) {
	var s *stop
	return s, errors.As(err, &s)
}
