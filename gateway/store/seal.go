package store

import (
	"errors"
	"fmt"
	"sync"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/internal/fault"
)

// flatWrite is the last write of a unit to one key.
type flatWrite struct {
	kvKey
	space *namespace
	write *function.Write
	slot  int
	entry *entry // what is known of the key; nil until it was loaded
	fresh bool   // entry is not in the overlay
	delta int64  // what it adds to the namespace's bytes
}

// scratch is Seal's working memory.
type scratch struct {
	writes []flatWrite
	index  map[kvKey]int // of writes, once they are many
	// missing are the keys to read from disk, loaded what was read. guard is
	// active from before the first read, so that a key which is written
	// meanwhile stays in the overlay.
	missing []kvKey
	loaded  map[kvKey]*entry
	guard   View
}

func (sc *scratch) reset() {
	clear(sc.writes)
	sc.writes = sc.writes[:0]
	clear(sc.index)
	clear(sc.missing)
	sc.missing = sc.missing[:0]
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// errMissing says that keys must be loaded first.
var errMissing = errors.New("keys must be loaded")

// Seal validates what the unit's invocations read, installs their writes and
// takes a place in the sequence; the committer does the rest. The errors are
// *ConflictError, *QuotaError, ErrDuplicate, ErrRolledBack, ErrUnavailable and
// ErrClosed, and those of a disk that cannot be read; after an error nothing was
// changed.
//
// Seal waits while too much is waiting for its commit, and, up to the unit's
// patience, while the disk takes none. It may be called by any goroutine, but not by
// Done. Views stay active: release them.
func (s *Store) Seal(u *Unit) (Ticket, error) {
	sc := scratches.Get().(*scratch)
	changes := u.changes()
	s.mu.Lock()
	t, err := s.trySealLocked(u, sc, changes)
	for errors.Is(err, errMissing) {
		if err = s.loadMissing(sc); err == nil {
			t, err = s.trySealLocked(u, sc, changes)
		}
	}
	if sc.guard.active {
		s.endViewLocked(&sc.guard)
	}
	s.mu.Unlock()
	sc.reset()
	clear(sc.loaded)
	scratches.Put(sc)
	if err == nil && t.Written && fault.On(fault.AckBeforeCommit) && u.Done != nil {
		s.wg.Add(1)
		go func() { defer s.wg.Done(); u.Done(nil) }()
	}
	return t, err
}

func (s *Store) trySealLocked(u *Unit, sc *scratch, changes bool) (Ticket, error) {
	if changes {
		if err := s.waitRoomLocked(u.Patience); err != nil {
			return Ticket{}, err
		}
	}
	if err := s.admitLocked(u); err != nil {
		return Ticket{}, err
	}
	t := Ticket{Gen: s.gen}
	for i := range u.Slots {
		v := u.Slots[i].View
		if v == nil {
			continue
		}
		if err := s.validateLocked(v, i); err != nil {
			s.stats.Conflicts++
			return Ticket{}, err
		}
		t.Seq = max(t.Seq, v.last)
	}
	if !changes {
		return t, nil
	}
	if err := s.withinLocked(u); err != nil {
		s.stats.Conflicts++
		return Ticket{}, err
	}
	sc.reset()
	s.flattenLocked(u, sc)
	if !s.resolveLocked(sc) {
		return Ticket{}, errMissing
	}
	if err := s.quotaLocked(u, sc); err != nil {
		return Ticket{}, err
	}
	s.seq++
	t.Seq, t.Written = s.seq, true
	s.installLocked(u, sc)
	return t, nil
}

// loadMissing reads the keys that resolveLocked missed, with the mutex
// released meanwhile.
func (s *Store) loadMissing(sc *scratch) error {
	if err := s.startViewLocked(&sc.guard); err != nil {
		return err
	}
	if sc.loaded == nil {
		sc.loaded = make(map[kvKey]*entry)
	}
	s.mu.Unlock()
	defer s.mu.Lock()
	for _, k := range sc.missing {
		e, err := s.reader.get(k)
		if err != nil {
			return fmt.Errorf("read key %q before writing it: %w", k.key, err)
		}
		sc.loaded[k] = e
	}
	return nil
}

// admitLocked checks what needs no reading.
func (s *Store) admitLocked(u *Unit) error {
	switch {
	case s.closed:
		return ErrClosed
	case u.Gen != 0 && u.Gen != s.gen:
		return ErrRolledBack
	case u.Dedupe != DedupeKey{}:
		if _, seen := s.dedupe.get(u.Dedupe); seen && !fault.On(fault.NoDuplicateCheck) {
			return ErrDuplicate
		}
	}
	return s.queue.admit(u, s)
}

// withinLocked finds a slot that read what an earlier slot of the unit writes.
func (s *Store) withinLocked(u *Unit) error {
	if len(u.Slots) < 2 {
		return nil
	}
	for i := 1; i < len(u.Slots); i++ {
		v := u.Slots[i].View
		if v == nil || !v.active {
			continue
		}
		for j := range i {
			for k := range u.Slots[j].Writes {
				w := &u.Slots[j].Writes[k]
				if v.sawLocked(s.namespaceLocked(w.Namespace), w.Key) {
					return &ConflictError{Slot: i, Namespace: w.Namespace, Key: w.Key, Within: true}
				}
			}
		}
	}
	return nil
}

func (v *View) sawLocked(n *namespace, key string) bool {
	for _, l := range v.lists {
		if l.ns == n {
			return true
		}
	}
	k := kvKey{n.id, key}
	if len(v.index) > 0 {
		_, ok := v.index[k]
		return ok
	}
	for i := range v.reads {
		if v.reads[i].kvKey == k {
			return true
		}
	}
	return false
}

// flattenLocked lists the last write to each key.
func (s *Store) flattenLocked(u *Unit, sc *scratch) {
	const few = 8
	for i := range u.Slots {
		writes := u.Slots[i].Writes
		for j := range writes {
			w := &writes[j]
			n := s.namespaceLocked(w.Namespace)
			f := flatWrite{kvKey: kvKey{n.id, w.Key}, space: n, write: w, slot: i}
			if at := sc.find(f.kvKey, few); at >= 0 {
				sc.writes[at] = f
				continue
			}
			sc.writes = append(sc.writes, f)
			if len(sc.writes) > few {
				sc.note(few)
			}
		}
	}
}

func (sc *scratch) find(k kvKey, few int) int {
	if len(sc.writes) > few {
		if at, ok := sc.index[k]; ok {
			return at
		}
		return -1
	}
	for i := range sc.writes {
		if sc.writes[i].kvKey == k {
			return i
		}
	}
	return -1
}

// note keeps the index once there are many writes.
func (sc *scratch) note(few int) {
	if sc.index == nil {
		sc.index = make(map[kvKey]int)
	}
	from := len(sc.writes) - 1
	if from == few {
		from = 0
	}
	for i := from; i < len(sc.writes); i++ {
		sc.index[sc.writes[i].kvKey] = i
	}
}

// resolveLocked finds the entry of every write, and reports false when some
// key must be read from disk first: its old size counts for the quota, and
// whether it was there decides what a listing saw.
func (s *Store) resolveLocked(sc *scratch) bool {
	for i := range sc.writes {
		f := &sc.writes[i]
		if f.entry = s.overlay.get(f.kvKey); f.entry != nil {
			continue
		}
		if f.entry = sc.loaded[f.kvKey]; f.entry == nil {
			sc.missing = append(sc.missing, f.kvKey)
			continue
		}
		f.fresh = true
	}
	return len(sc.missing) == 0
}

// quotaLocked checks the namespaces against their bounds. What shrinks is
// always admitted.
func (s *Store) quotaLocked(u *Unit, sc *scratch) error {
	var all int64
	for i := range sc.writes {
		f := &sc.writes[i]
		f.delta = -f.entry.stored()
		if !f.write.Delete {
			f.delta += storedSize(f.key, f.write.Value)
		}
		if isObjects(f.ns) {
			f.delta = objectSize(f.write.Value, !f.write.Delete) - objectSize(f.entry.value, f.entry.found)
			f.space.added += f.adds()
		} else {
			all += f.delta
		}
		f.space.delta += f.delta
	}
	var err error
	if all > 0 && s.space.stopped[Events] && len(u.Delete) == 0 {
		err = s.spaceError(Events)
	}
	for i := range sc.writes {
		f := &sc.writes[i]
		limit := s.quotaOf(f.space)
		switch {
		case err != nil:
		case isObjects(f.ns):
			if over := f.space.overLocked(s, f.slot); over != nil {
				err = over
			}
		case f.space.delta > 0 && f.space.bytes+f.space.delta > limit:
			err = &QuotaError{What: "state", Namespace: f.space.name, Slot: f.slot, Limit: limit, Unit: "bytes"}
		case all > 0 && s.stateBytes+all > s.cfg.TotalStateBytes:
			err = &QuotaError{What: "state", Namespace: "all functions together", Slot: f.slot, Limit: s.cfg.TotalStateBytes, Unit: "bytes"}
		}
	}
	for i := range sc.writes {
		sc.writes[i].space.delta, sc.writes[i].space.added = 0, 0
	}
	if err != nil {
		s.stats.QuotaRefusals++
	}
	return err
}

// adds is by how many the write makes the keys of its namespace more.
func (f *flatWrite) adds() int64 {
	switch {
	case f.entry.found == !f.write.Delete:
		return 0
	case f.entry.found:
		return -1
	}
	return 1
}

// installLocked makes the unit visible and hands it to the committer.
func (s *Store) installLocked(u *Unit, sc *scratch) {
	g := s.pendingLocked()
	now := s.now()
	for i := range sc.writes {
		s.writeLocked(g, &sc.writes[i], now)
	}
	s.trimLocked()
	if u.Inbound != nil {
		s.noteInboundLocked(g, u.Inbound)
	}
	if u.Dedupe != (DedupeKey{}) {
		s.noteDedupeLocked(g, u.Dedupe)
	}
	s.queue.install(g, u, s)
	s.dead.install(g, u.Dead)
	g.timers = append(g.timers, u.Timers...)
	for _, p := range u.Deliveries {
		s.deliverLocked(g, p)
	}
	for i := range u.Usage {
		s.meterLocked(g, &u.Usage[i])
	}
	g.last = s.seq
	g.units++
	done := u.Done
	if done != nil && !fault.On(fault.AckBeforeCommit) {
		g.done = append(g.done, done)
	}
	s.wakeLocked()
}

func (s *Store) writeLocked(g *group, f *flatWrite, now int64) {
	e := f.entry
	if f.fresh {
		s.overlay.add(e)
	}
	was := e.live(now)
	var expires int64
	ttl := max(f.write.TTL, f.space.keep)
	if ttl > 0 && !f.write.Delete {
		expires = now + max(ttl.Milliseconds(), 1)
	}
	value := f.write.Value
	if f.write.Delete {
		value = nil
	}
	if isObjects(f.ns) {
		f.space.count += f.adds()
		if e.found {
			g.freeLocked(e.value, value)
		}
	} else {
		s.stateBytes += f.delta
	}
	s.overlay.set(e, value, !f.write.Delete, expires)
	e.seq = s.seq
	f.space.bytes += f.delta
	if was == f.write.Delete {
		f.space.changed = s.seq
	}
	s.saveNameLocked(g, f.space.id, f.space.name)
	if e.group != g.number {
		e.group, e.place = g.number, len(g.writes)
		g.writes = append(g.writes, kvWrite{kvKey: e.kvKey})
	}
	w := &g.writes[e.place]
	g.bytes += int64(len(value)-len(w.value)) + 32
	w.value, w.found, w.expires = value, e.found, expires
}
