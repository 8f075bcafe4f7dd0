package host

import (
	"time"

	"github.com/headgate-io/headgate/sandbox/abi"
)

// Heard is what an invocation was told that another one of the same event would
// not be told again, apart from the state.
type Heard struct {
	// Now is when it began, and Seed that of its random: zero and nil where
	// nobody asked.
	Now  time.Time
	Seed []byte
	// Remaining are the answers to remaining_ms, in order, and Fetches those to
	// http_fetch; of invocations that are Recorded.
	Remaining []int64
	Fetches   []HeardFetch
	// Blobs are the bytes of objects that were read, of all runs.
	Blobs []HeardBlob
	// Actuations are the answers to actuate, in order; of invocations that are
	// Recorded.
	Actuations []HeardActuation
	// Sensors are the readings that were asked for, of all runs.
	Sensors []HeardSensor
}

// HeardFetch is one call of http_fetch.
type HeardFetch struct {
	Request []byte
	Answer  []byte
	Errno   abi.Errno
	Reason  string
}

// HeardBlob are bytes of an object's content from Offset on. A Digest with no
// Data was read beyond what is kept.
type HeardBlob struct {
	Digest string
	Offset int64
	Data   []byte
}

// MaxHeardBlobs bounds the bytes of objects that are kept of one invocation.
const MaxHeardBlobs = 1 << 20

// heardBlob keeps what was read of an object, once.
func (c *Calls) heardBlob(digest string, offset int64, data []byte) {
	j := &c.journal
	for i := range j.blobs {
		if b := &j.blobs[i]; b.Digest == digest && b.Offset == offset && len(b.Data) >= len(data) {
			return
		}
	}
	b := HeardBlob{Digest: digest, Offset: offset}
	if j.blobBytes+len(data) <= MaxHeardBlobs {
		b.Data = append([]byte{}, data...)
		j.blobBytes += len(data)
	}
	j.blobs = append(j.blobs, b)
}

// maxRemaining bounds the answers that are kept.
const maxRemaining = 4096

// Heard tells it. It is valid until Reset.
func (c *Calls) Heard() Heard {
	h := Heard{Now: c.journal.now, Remaining: c.journal.remaining}
	if c.journal.seeded {
		h.Seed = c.journal.seed[:]
	}
	if !c.in.Recorded {
		return h
	}
	h.Blobs, h.Actuations = c.journal.blobs, c.journal.actuations
	h.Sensors = c.journal.sensors
	for i := range c.fetches.journal[:c.fetches.made] {
		f := &c.fetches.journal[i]
		h.Fetches = append(h.Fetches, HeardFetch{Request: f.raw, Answer: f.answer, Errno: f.errno, Reason: f.reason})
	}
	return h
}

// heardRemaining answers remaining_ms.
func (c *Calls) heardRemaining() int64 {
	if c.in.Remaining != nil {
		return c.in.Remaining()
	}
	left := c.remaining()
	if c.in.Recorded && len(c.journal.remaining) < maxRemaining {
		c.journal.remaining = append(c.journal.remaining, left)
	}
	return left
}
