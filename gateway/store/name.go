package store

import (
	"time"

	"github.com/headgate-io/headgate/function"
)

// namespace is what is known of one function's state. It is guarded by the
// store's mutex and lives as long as the store.
type namespace struct {
	id   uint32
	name string
	// bytes is the size of its stored keys and values.
	bytes int64
	// quota bounds bytes; 0 is the default.
	quota int64
	// changed is the sequence that last added or removed a key.
	changed uint64
	// delta and added are used within quotaLocked.
	delta, added int64

	// Of a bucket: count is how many objects there are, bytes what they stand
	// for, most bounds count, and keep is how long each lives. reserved are the
	// bytes of uploads.
	count, most, reserved int64
	keep                  time.Duration
}

// names gives functions and namespaces their numbers.
type names struct {
	ids   map[string]uint32
	text  map[uint32]string
	saved map[uint32]bool
	next  uint32
}

func (s *Store) nameIDLocked(name string) uint32 {
	if id, ok := s.names.ids[name]; ok {
		return id
	}
	s.names.next++
	id := s.names.next
	if _, objects := function.ObjectSpaceBucket(name); objects {
		id |= objectBit
	}
	s.names.ids[name], s.names.text[id] = id, name
	return id
}

func (s *Store) nameLocked(id uint32) string { return s.names.text[id] }

// saveNameLocked puts the number into the group when no earlier one has it.
func (s *Store) saveNameLocked(g *group, id uint32, name string) {
	if s.names.saved[id] {
		return
	}
	s.names.saved[id] = true
	g.names = append(g.names, nameRow{id, name})
}

func (s *Store) namespaceLocked(name string) *namespace {
	if n, ok := s.spaces[name]; ok {
		return n
	}
	n := &namespace{id: s.nameIDLocked(name), name: name}
	s.spaces[name] = n
	return n
}

func (s *Store) quotaOf(n *namespace) int64 {
	if n.quota > 0 {
		return n.quota
	}
	return s.cfg.StateBytes
}

// SetStateQuota bounds the keys and values of a namespace; 0 is the default.
// What is stored already stays.
func (s *Store) SetStateQuota(namespace string, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.namespaceLocked(namespace).quota = bytes
}

// FunctionRef gives a function's queue rows their numbers.
type FunctionRef struct {
	id   uint32
	name string
	next int64 // guarded by the store's mutex
	s    *Store
}

// Function returns the reference of the function called name, making it if
// need be. It is cheap to keep and safe for concurrent use.
func (s *Store) Function(name string) *FunctionRef {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.functionLocked(name)
}

func (s *Store) functionLocked(name string) *FunctionRef {
	if f, ok := s.functions[name]; ok {
		return f
	}
	f := &FunctionRef{id: s.nameIDLocked(name), name: name, s: s}
	s.functions[name] = f
	return f
}

// Name is the function's name.
func (f *FunctionRef) Name() string { return f.name }

// NextID returns the number of a row that does not exist yet. Numbers grow,
// and rows of one key run in the order of their numbers: take it when the
// event arrives, whether or not it will need a row.
func (f *FunctionRef) NextID() RowID {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	f.next++
	return RowID(int64(f.id)<<rowBits | f.next)
}

// rowBits is how many bits of a RowID count the function's rows.
const rowBits = 40
