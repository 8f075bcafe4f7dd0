//go:build wasip1 && tinygo

package headgate

import "crypto/rand"

// TinyGo's crypto/rand is the C library's generator, which the runtime seeds
// when it starts: before the clean state is taken, so that every event would
// draw the same. It draws from the gateway instead.
func init() { rand.Reader = hostReader{} }

type hostReader struct{}

func (hostReader) Read(b []byte) (int, error) {
	randomRead(b)
	return len(b), nil
}

// warmBytes is how much heap is made before the clean state is taken. A
// handler that needs no more never grows its memory, and an instance that
// grew cannot be used again.
const warmBytes = 256 << 10

var sink []byte

func warmHeap() {
	sink = make([]byte, warmBytes)
	sink = nil
}
