package recording

import (
	"bytes"
	"crypto/sha256"
	"math"

	"github.com/headgate-io/headgate/function"
)

// MaxObject implements host.Blobs: a replay has no buckets to overfill.
func (p *Player) MaxObject(string) int64 { return math.MaxInt64 }

// PutBlob implements host.Blobs.
func (p *Player) PutBlob(data []byte) (string, error) {
	sum := sha256.Sum256(data)
	digest := function.DigestOf(sum[:])
	if p.put == nil {
		p.put = map[string][]byte{}
	}
	p.put[digest] = bytes.Clone(data)
	return digest, nil
}

// ReadBlob implements host.Blobs with what was put and what the recording has.
func (p *Player) ReadBlob(digest string, offset int64, dst []byte) (int, error) {
	if data, ok := p.put[digest]; ok {
		return copy(dst, data[min(offset, int64(len(data))):]), nil
	}
	for i := range p.rec.Answers.Blobs {
		b := &p.rec.Answers.Blobs[i]
		from := offset - b.Offset
		if b.Digest != digest || b.Cut || from < 0 || from > 0 && int64(len(dst)) > int64(len(b.Data))-from {
			continue
		}
		return copy(dst, b.Data[from:]), nil
	}
	return 0, p.unanswered("the bytes of object %s from %d on", digest, offset)
}
