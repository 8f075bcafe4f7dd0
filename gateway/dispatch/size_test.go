package dispatch

import (
	"testing"
	"unsafe"
)

// A hundred thousand events may be queued, each with its task in memory.
func TestQueuedTaskIsSmall(t *testing.T) {
	if n := unsafe.Sizeof(task{}); n > 512 {
		t.Errorf("a task takes %d bytes", n)
	}
}
