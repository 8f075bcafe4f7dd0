package usage

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"
)

// Link is one place in the hash chain of a stream: a SHA-256 over everything
// that was metered up to there.
type Link [sha256.Size]byte

// String is the link in hexadecimal, for people.
func (l Link) String() string { return hex.EncodeToString(l[:]) }

// Stream is one unbroken run of numbered batches.
type Stream struct {
	// Gateway is the id that the controller gave, Hardware what the gateway calls
	// itself, Epoch the run of its records.
	Gateway, Hardware string
	Epoch             uint64
}

// The first bytes of what is hashed and signed say what it is, so that nothing
// made for one purpose serves another.
const (
	genesisDomain   = "headgate usage stream 1\n"
	closingDomain   = "headgate usage closing 1\n"
	signatureDomain = "headgate usage batch 1\n"
)

// Genesis is the link before the first closing of a stream.
func (s Stream) Genesis() Link {
	b := append([]byte(genesisDomain), s.appendTo(nil)...)
	return sha256.Sum256(b)
}

func (s Stream) appendTo(b []byte) []byte {
	b = appendText(b, s.Gateway)
	b = appendText(b, s.Hardware)
	return binary.AppendUvarint(b, s.Epoch)
}

func appendText(b []byte, text string) []byte {
	b = binary.AppendUvarint(b, uint64(len(text)))
	return append(b, text...)
}

// Closing is what was metered between two moments of closing, normally the
// rollups of one minute. It never changes.
type Closing []Rollup

// Sort puts the rows into the order that their link needs: by minute, function
// and version.
func (c Closing) Sort() { slices.SortFunc(c, compareRows) }

func compareRows(a, b Rollup) int {
	return cmp.Or(cmp.Compare(a.Minute, b.Minute), cmp.Compare(a.Function, b.Function), cmp.Compare(a.Version, b.Version))
}

// Next is the link after a closing, whose rows are sorted.
func (l Link) Next(c Closing) Link {
	h := sha256.New()
	h.Write([]byte(closingDomain))
	h.Write(l[:])
	buf := binary.AppendUvarint(make([]byte, 0, 256), uint64(len(c)))
	for i := range c {
		r := &c[i]
		buf = appendText(buf, r.Function)
		buf = binary.AppendVarint(buf, int64(r.Version))
		buf = binary.AppendVarint(buf, r.Minute)
		for _, f := range r.Fields() {
			buf = binary.AppendUvarint(buf, *f)
		}
		h.Write(buf)
		buf = buf[:0]
	}
	h.Write(buf) // the count of none
	return Link(h.Sum(nil))
}

// Batch is a run of closings under one number, which is signed when it is sent.
type Batch struct {
	Stream
	// Seq counts the batches of a stream from 1.
	Seq uint64
	// Prev is the link of the batch before, Genesis for the first; Link is the
	// one after this batch's last closing.
	Prev, Link Link
	// Data is what EncodeClosings made of the closings.
	Data []byte
	// Signature is ECDSA P-256 in ASN.1 over the stream, the number and the
	// link, by the gateway's key.
	Signature []byte
}

// Held is what a gateway still has of one stream: numbers from First on, Next is
// not there yet.
type Held struct {
	Stream
	First, Next uint64
}

// What is wrong with a batch. Errors of Verify are one of these.
var (
	// ErrForeignKey is a batch that the gateway's key did not sign.
	ErrForeignKey = errors.New("the signature is not by the gateway's key")
	// ErrTampered is a batch whose rows are not those that were closed.
	ErrTampered = errors.New("the rows are not those that the gateway metered")
	// ErrFork is a second batch of one number, or one that does not continue
	// its predecessor.
	ErrFork = errors.New("the batch does not belong to this chain")
)

func (b *Batch) digest() []byte {
	text := append([]byte(signatureDomain), b.appendTo(nil)...)
	text = binary.AppendUvarint(text, b.Seq)
	text = append(text, b.Prev[:]...)
	text = append(text, b.Link[:]...)
	sum := sha256.Sum256(text)
	return sum[:]
}

// Sign signs the batch.
func (b *Batch) Sign(key *ecdsa.PrivateKey) (err error) {
	b.Signature, err = ecdsa.SignASN1(rand.Reader, key, b.digest())
	return err
}

// Verify checks the signature, and that the closings are those that the link
// was made of. Of a batch with ErrTampered the signature is good: what it says
// was changed on the gateway after it was metered.
func (b *Batch) Verify(key *ecdsa.PublicKey) ([]Closing, error) {
	if !ecdsa.VerifyASN1(key, b.digest(), b.Signature) {
		return nil, ErrForeignKey
	}
	closings, err := DecodeClosings(b.Data)
	if err != nil {
		return nil, errors.Join(ErrTampered, err)
	}
	l := b.Prev
	for _, c := range closings {
		if !slices.IsSortedFunc(c, compareRows) {
			return nil, ErrTampered
		}
		l = l.Next(c)
	}
	if l != b.Link {
		return nil, ErrTampered
	}
	return closings, nil
}

// Follows reports whether b continues the batch before it, whose link is prev;
// the first batch of a stream continues its Genesis.
func (b *Batch) Follows(prev Link) error {
	if b.Prev != prev {
		return ErrFork
	}
	return nil
}
