package store

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/headgate-io/headgate/mqtt/broker"
)

// The journal keeps the duplicate records. A table row per record would touch
// one page per session and commit; instead all records of a group are one
// blob at the end of one table. What a record superseded stays in older rows
// until compact copies their live records forward and deletes them.

// Kinds of journal records.
const (
	recordQoS1   = 1
	recordQoS2   = 2
	recordForget = 3 // a QoS 2 id was released
	recordDedupe = 4
)

// recordBytes is about what one record takes.
const recordBytes = 20

// journalBuffer is the journal's part of a group.
type journalBuffer struct {
	base    uint64 // sequences are encoded relative to it
	records []byte
	// replaces is an empty row at the end whose place the new one takes;
	// 0 is none.
	replaces uint64
	// compacted is the greatest row whose records were copied forward.
	compacted uint64
	// freed counts the bytes of those rows.
	freed int64
}

// journal is what is known of the journal on disk.
type journal struct {
	bytes     int64
	live      int64 // records that count, about
	emptyTail uint64
}

func (j *journal) wrote(g *group) {
	j.bytes += int64(len(g.journal.records)) - g.journal.freed
	j.emptyTail = 0
	if len(g.journal.records) == 0 {
		j.emptyTail = g.last
	}
}

// due reports whether most of the journal is superseded.
func (j *journal) due() bool {
	const slack = 64 << 10
	return j.bytes > slack+3*recordBytes*j.live
}

// record is one decoded journal record.
type record struct {
	kind    byte
	seq     uint64
	session uint64
	slot    uint32
	packet  uint16
	hash    uint64
	dedupe  DedupeKey
}

func (b *journalBuffer) add(r *record) {
	buf := append(b.records, r.kind)
	buf = binary.AppendVarint(buf, int64(r.seq-b.base))
	switch r.kind {
	case recordDedupe:
		buf = append(buf, r.dedupe[:]...)
	default:
		buf = binary.AppendUvarint(buf, r.session)
		buf = binary.AppendUvarint(buf, uint64(r.slot))
		if r.kind != recordForget {
			buf = binary.LittleEndian.AppendUint16(buf, r.packet)
			buf = binary.LittleEndian.AppendUint64(buf, r.hash)
		}
	}
	b.records = buf
}

var errJournal = errors.New("journal row is damaged")

// decodeRecords calls fn for each record of a row; the row starts with its
// base.
func decodeRecords(row []byte, fn func(*record)) error {
	if len(row) == 0 {
		return nil
	}
	base, n := binary.Uvarint(row)
	if n <= 0 {
		return errJournal
	}
	d := decoder{b: row[n:]}
	for len(d.b) > 0 && !d.bad {
		r := record{kind: d.byte()}
		r.seq = base + uint64(d.varint())
		switch r.kind {
		case recordDedupe:
			copy(r.dedupe[:], d.take(len(r.dedupe)))
		case recordQoS1, recordQoS2, recordForget:
			r.session, r.slot = d.uvarint(), uint32(d.uvarint())
			if r.kind != recordForget {
				r.packet, r.hash = d.uint16(), d.uint64()
			}
		default:
			return errJournal
		}
		if d.bad {
			return errJournal
		}
		fn(&r)
	}
	return nil
}

// noteInboundLocked puts the duplicate record of a packet into the group. A
// record of a session that is gone is worth nothing.
func (s *Store) noteInboundLocked(g *group, in *broker.InboundRecord) {
	ses := s.sessions[in.Client]
	if ses == nil || ses.epoch != in.Epoch {
		s.stats.OrphanRecords++
		return
	}
	r := record{kind: recordQoS1, seq: s.seq, session: ses.id, slot: in.Slot, packet: in.PacketID, hash: in.Hash}
	if in.QoS == 2 {
		r.kind = recordQoS2
	}
	s.journal.live += ses.note(&r)
	g.journal.add(&r)
	g.bytes += recordBytes
}

func (s *Store) noteDedupeLocked(g *group, k DedupeKey) {
	s.dedupe.add(k, s.seq)
	g.journal.add(&record{kind: recordDedupe, seq: s.seq, dedupe: k})
	g.bytes += recordBytes
}

// isLiveLocked reports whether r is what counts for its slot.
func (s *Store) isLiveLocked(r *record) bool {
	switch r.kind {
	case recordDedupe:
		seq, ok := s.dedupe.get(r.dedupe)
		return ok && seq == r.seq
	case recordForget:
		return false // what it forgets was in an older row
	default:
		ses := s.sessionIDs[r.session]
		return ses != nil && ses.current(r) == uint32(r.seq)
	}
}

// compact copies the live records of the oldest rows into the pending group,
// whose commit deletes those rows. It is called by the committer.
func (s *Store) compact() error {
	const rows = 16
	s.mu.Lock()
	due := s.journal.due()
	s.mu.Unlock()
	if !due {
		return nil
	}
	oldest, err := s.writer.oldestJournal(rows)
	if err != nil {
		return fmt.Errorf("compact journal: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	b := &s.pending.journal
	for _, row := range oldest {
		if row.seq == s.journal.emptyTail {
			break
		}
		err := decodeRecords(row.records, func(r *record) {
			if s.isLiveLocked(r) {
				b.add(r)
			}
		})
		if err != nil {
			s.log.Error("journal row dropped", "seq", row.seq, "error", err)
			s.stats.DamagedRows++
		}
		b.compacted = row.seq
		b.freed += int64(len(row.records))
	}
	return nil
}

// dedupeWindow remembers the last ids.
type dedupeWindow struct {
	seqs map[DedupeKey]uint64
	ring []DedupeKey
	next int
	size int
}

func newDedupeWindow(size int) dedupeWindow {
	return dedupeWindow{seqs: make(map[DedupeKey]uint64), size: size}
}

func (w *dedupeWindow) get(k DedupeKey) (uint64, bool) {
	seq, ok := w.seqs[k]
	return seq, ok
}

func (w *dedupeWindow) add(k DedupeKey, seq uint64) {
	if _, ok := w.seqs[k]; ok {
		w.seqs[k] = max(w.seqs[k], seq)
		return
	}
	if len(w.ring) < w.size {
		w.ring = append(w.ring, k)
	} else {
		delete(w.seqs, w.ring[w.next])
		w.ring[w.next] = k
		w.next = (w.next + 1) % w.size
	}
	w.seqs[k] = seq
}
