package actuate

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"sync"
	"time"

	"github.com/headgate-io/headgate/internal/durable"
)

// Ledger is the safety ledger: who asked for which actuator, until when it was
// granted and how that ended. It is a ring of records in a file of fixed size
// that is written whole when it is made, so that a full disk does not stop it.
//
// The last record of each actuator is never overwritten before it was copied
// to the ring's head: what has to be known after a restart is always there.
type Ledger struct {
	path string
	size uint64 // in records

	mu   sync.Mutex
	f    *os.File
	next uint64
	last map[string]Record
	lost int
}

// Sizes of the ledger. A record fills whole sectors, so that a write that a
// power cut tears apart harms no other record.
const (
	recordSize    = 1024
	ledgerRecords = 4096
	recordHeader  = 4 + 4 + 8 + 2
)

var (
	ledgerMagic = [4]byte{'H', 'G', 'L', '1'}
	castagnoli  = crc32.MakeTable(crc32.Castagnoli)
)

// Record is one entry. Times without a name are milliseconds since the start of
// the machine that Boot names.
type Record struct {
	Seq      uint64 `json:"-"`
	Kind     Kind   `json:"kind"`
	Actuator string `json:"actuator"`
	// Who asked, and for which event.
	Who   string  `json:"who,omitempty"`
	Event string  `json:"event,omitempty"`
	Value float64 `json:"value,omitempty"`
	// Reason says why, in words.
	Reason string `json:"reason,omitempty"`
	Boot   string `json:"boot"`
	At     int64  `json:"at"`
	// Since and Until are the lease's.
	Since int64 `json:"since,omitempty"`
	Until int64 `json:"until,omitempty"`
	// Wall is the wall time as far as it was known, Trust how far that was.
	Wall  time.Time `json:"wall"`
	Trust string    `json:"trust,omitempty"`
	// Used is how long the actuator was on, by hour: see window.
	Used [][2]int64 `json:"used,omitempty"`
	// Seqs are the newest sequence numbers of those who number their commands.
	Seqs []sourceSeq `json:"seqs,omitempty"`
}

// NewLedger returns the ledger in the file at path. It is opened when it is
// first needed, and again after a failure.
func NewLedger(path string) *Ledger { return &Ledger{path: path, size: ledgerRecords} }

// Last is the newest record of each actuator.
func (l *Ledger) Last() (map[string]Record, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.openLocked(); err != nil {
		return nil, err
	}
	last := make(map[string]Record, len(l.last))
	for k, v := range l.last {
		last[k] = v
	}
	return last, nil
}

// Append writes records and returns when they are on disk.
func (l *Ledger) Append(records ...*Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.openLocked(); err != nil {
		return err
	}
	next, written := l.next, make([]Record, 0, len(records))
	put := func(r Record) error {
		r.Seq = next
		if err := l.write(&r); err != nil {
			return err
		}
		written = append(written, r)
		next++
		return nil
	}
	// What would be overwritten soon goes to the head first.
	margin := uint64(2*len(l.last) + len(records) + 8)
	for _, r := range l.last {
		if next-r.Seq+margin >= l.size {
			if err := put(r); err != nil {
				return err
			}
		}
	}
	for _, r := range records {
		if err := put(*r); err != nil {
			return err
		}
	}
	if err := l.f.Sync(); err != nil {
		// What the kernel could not write it may have forgotten: read it again.
		return errors.Join(fmt.Errorf("safety ledger: %w", err), l.closeLocked())
	}
	l.next = next
	for _, r := range written {
		l.last[r.Actuator] = r
	}
	return nil
}

// Read calls yield with the records that are there, the oldest first, until it
// returns false.
func (l *Ledger) Read(yield func(r *Record) bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.openLocked(); err != nil {
		return err
	}
	buf := make([]byte, recordSize)
	first := uint64(1)
	if l.next > l.size {
		first = l.next - l.size
	}
	for seq := first; seq < l.next; seq++ {
		r, err := l.read(seq%l.size, buf)
		if err != nil {
			return err
		}
		if r != nil && r.Seq == seq && !yield(r) {
			return nil
		}
	}
	return nil
}

// Lost is how many records could not be read when the ledger was opened.
func (l *Ledger) Lost() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

// Close lets go of the file.
func (l *Ledger) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closeLocked()
}

func (l *Ledger) closeLocked() error {
	if l.f == nil {
		return nil
	}
	err := l.f.Close()
	l.f = nil
	return err
}

// openLocked opens the file, makes it where it is missing, and reads it.
func (l *Ledger) openLocked() error {
	if l.f != nil {
		return nil
	}
	f, err := os.OpenFile(l.path, os.O_RDWR, 0o600)
	if errors.Is(err, os.ErrNotExist) {
		// Real zeros, not a hole: what they take is the ledger's for good.
		if err = durable.Replace(l.path, make([]byte, recordSize*l.size)); err == nil {
			f, err = os.OpenFile(l.path, os.O_RDWR, 0o600)
		}
	}
	if err != nil {
		return fmt.Errorf("safety ledger: %w", err)
	}
	l.f = f
	if err := l.scan(); err != nil {
		return errors.Join(fmt.Errorf("safety ledger: %w", err), l.closeLocked())
	}
	return nil
}

// scan finds the head and the last record of each actuator.
func (l *Ledger) scan() error {
	l.next, l.last, l.lost = 1, map[string]Record{}, 0
	buf := make([]byte, recordSize)
	for slot := range l.size {
		r, err := l.read(slot, buf)
		if err != nil {
			return err
		}
		if r == nil {
			continue
		}
		l.next = max(l.next, r.Seq+1)
		if old, ok := l.last[r.Actuator]; !ok || r.Seq > old.Seq {
			l.last[r.Actuator] = *r
		}
	}
	return nil
}

// read reads one slot: nil where there is no whole record.
func (l *Ledger) read(slot uint64, buf []byte) (*Record, error) {
	if _, err := l.f.ReadAt(buf, int64(slot)*recordSize); err != nil {
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("%s is shorter than its %d bytes: move it away, and a new one is made", l.path, recordSize*l.size)
		}
		return nil, err
	}
	if [4]byte(buf[:4]) != ledgerMagic {
		if [4]byte(buf[:4]) != [4]byte{} {
			l.lost++
		}
		return nil, nil
	}
	n := int(binary.BigEndian.Uint16(buf[16:]))
	seq := binary.BigEndian.Uint64(buf[8:])
	r := &Record{Seq: seq}
	if n > recordSize-recordHeader || crc32.Checksum(buf[8:recordHeader+n], castagnoli) != binary.BigEndian.Uint32(buf[4:]) ||
		seq%l.size != slot {
		l.lost++
		return nil, nil
	}
	if err := json.Unmarshal(buf[recordHeader:recordHeader+n], r); err != nil {
		l.lost++
		return nil, nil //nolint:nilerr // it is counted
	}
	return r, nil
}

// write writes one record to its slot.
func (l *Ledger) write(r *Record) error {
	payload, err := r.payload()
	if err != nil {
		return fmt.Errorf("safety ledger: %w", err)
	}
	buf := make([]byte, recordSize)
	copy(buf, ledgerMagic[:])
	binary.BigEndian.PutUint64(buf[8:], r.Seq)
	binary.BigEndian.PutUint16(buf[16:], uint16(len(payload)))
	copy(buf[recordHeader:], payload)
	binary.BigEndian.PutUint32(buf[4:], crc32.Checksum(buf[8:recordHeader+len(payload)], castagnoli))
	if _, err := l.f.WriteAt(buf, int64(r.Seq%l.size)*recordSize); err != nil {
		return fmt.Errorf("safety ledger: %w", err)
	}
	return nil
}

// payload is the record as JSON, with texts cut and the oldest sources left
// out until it fits.
func (r *Record) payload() ([]byte, error) {
	c := *r
	c.Who, c.Event, c.Reason = clip(c.Who, 64), clip(c.Event, 64), clip(c.Reason, 128)
	for {
		b, err := json.Marshal(&c)
		if err != nil || len(b) <= recordSize-recordHeader {
			return b, err
		}
		switch {
		case c.Reason != "":
			c.Reason = ""
		case len(c.Seqs) > 0:
			c.Seqs = c.Seqs[1:]
		case c.Who+c.Event != "":
			c.Who, c.Event = "", ""
		default:
			return nil, fmt.Errorf("the record of %s has %d bytes, over %d", c.Actuator, len(b), recordSize-recordHeader)
		}
	}
}

// clip cuts a text between characters.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xc0 == 0x80 {
		n--
	}
	return s[:n]
}
