package store

// kvKey names a stored key; ns is the number of its namespace.
type kvKey struct {
	ns  uint32
	key string
}

// entry is what is known of one key. Entries written by units that have not
// committed are the overlay; the others are a cache of what is on disk, kept
// in order of use and evicted from the far end.
type entry struct {
	kvKey
	value   []byte
	found   bool
	expires int64 // milliseconds since the Unix epoch, 0 for never
	// seq is the sequence that last wrote the key, 0 when it was only read.
	seq uint64
	// group and place say where in the pending group the write stands.
	group uint64
	place int

	newer, older *entry
}

const entryOverhead = 160

func (e *entry) size() int64 { return int64(len(e.key)+len(e.value)) + entryOverhead }

func (e *entry) live(now int64) bool { return e.found && (e.expires == 0 || e.expires > now) }

// stored is what the key occupies of its namespace's quota, dead or alive.
func (e *entry) stored() int64 {
	if !e.found {
		return 0
	}
	return storedSize(e.key, e.value)
}

func storedSize(key string, value []byte) int64 { return int64(len(key) + len(value)) }

// overlay holds the entries. The Store's mutex guards it.
//
// An entry that was written after the oldest active view began is never
// evicted. Hence, for a view, a key without an entry has not been written
// since the view began, and validation needs no disk.
type overlay struct {
	entries map[kvKey]*entry
	newest  *entry
	oldest  *entry
	bytes   int64
	evicted uint64
}

func newOverlay() overlay { return overlay{entries: make(map[kvKey]*entry)} }

func (o *overlay) get(k kvKey) *entry {
	e := o.entries[k]
	if e != nil && e != o.newest {
		o.unlink(e)
		o.link(e)
	}
	return e
}

func (o *overlay) add(e *entry) {
	o.entries[e.kvKey] = e
	o.bytes += e.size()
	o.link(e)
}

// set replaces what e holds.
func (o *overlay) set(e *entry, value []byte, found bool, expires int64) {
	o.bytes -= e.size()
	e.value, e.found, e.expires = value, found, expires
	o.bytes += e.size()
}

func (o *overlay) link(e *entry) {
	e.older, e.newer = o.newest, nil
	if o.newest != nil {
		o.newest.newer = e
	} else {
		o.oldest = e
	}
	o.newest = e
}

func (o *overlay) unlink(e *entry) {
	if e.newer != nil {
		e.newer.older = e.older
	} else {
		o.newest = e.older
	}
	if e.older != nil {
		e.older.newer = e.newer
	} else {
		o.oldest = e.newer
	}
	e.newer, e.older = nil, nil
}

// trim evicts entries beyond limit that no sequence after keep has written.
// It looks at a few at a time, so that no caller pays for all.
func (o *overlay) trim(limit int64, keep uint64) {
	for range 8 {
		e := o.oldest
		if o.bytes <= limit || e == nil {
			return
		}
		o.unlink(e)
		if e.seq > keep {
			o.link(e)
			continue
		}
		delete(o.entries, e.kvKey)
		o.bytes -= e.size()
		o.evicted++
	}
}
