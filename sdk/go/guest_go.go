//go:build wasip1 && !tinygo

package headgate

import (
	"runtime"
	"runtime/debug"
)

// warmBytes is how much heap is made before the clean state is taken. A
// handler that needs no more never grows its memory, and an instance that
// grew cannot be used again.
const warmBytes = 1 << 20

var sink []byte

func warmHeap() {
	sink = make([]byte, warmBytes)
	for i := range sink {
		sink[i] = 1
	}
	sink = nil
	runtime.GC()
	// Every event starts from this heap, so garbage is what one event makes.
	debug.SetGCPercent(200)
}
