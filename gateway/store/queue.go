package store

import (
	"context"
	"fmt"
	"time"

	"github.com/headgate-io/headgate/event"
)

// RowID names a row of the queue. The rows of one function, in the order of
// their ids, are in the order in which their events arrived.
type RowID int64

// QueueRow is a durable event that waits for its function. Seal copies what it
// needs: the caller may go on using the row.
type QueueRow struct {
	ID       RowID
	Function *FunctionRef
	// Key is the ordering key; empty is none.
	Key string
	// Arrived is when the event came; MaxAge counts from it. It and Due are on
	// the steady scale (Config.Steady).
	Arrived time.Time
	// Due is when the next attempt may start; zero is at once.
	Due time.Time
	// Attempt is how many attempts were made.
	Attempt int
	// Error is what the last attempt ended with.
	Error string
	Event *event.Event
	// Params are the captures of the trigger.
	Params []Param

	// bytes is what the row counts for, once it was inserted or loaded.
	bytes int64
}

// Bytes is what the row counts for in the quota, 0 before it was inserted.
func (r *QueueRow) Bytes() int64 { return r.bytes }

const rowOverhead = 64

type queueChange uint8

const (
	queueNothing queueChange = iota
	queueInsert
	queueUpdate
	queueDelete
)

// queueOp is the change of one row within a group.
type queueOp struct {
	change  queueChange
	id      RowID
	key     string
	arrived int64
	due     int64
	attempt int
	err     string
	event   *event.Event
	params  []Param
}

// queueState counts the queue; rows that wait for their commit are included.
type queueState struct {
	rows, bytes int64
	// byFunction is rows by the number of the function.
	byFunction map[uint32]int64
	lowDisk    bool
}

// count adds rows of one function; both numbers may be negative.
func (q *queueState) count(function uint32, rows, bytes int64) {
	if q.byFunction == nil {
		q.byFunction = make(map[uint32]int64)
	}
	q.rows += rows
	q.bytes += bytes
	q.byFunction[function] += rows
}

// admit refuses rows beyond the bounds.
func (q *queueState) admit(u *Unit, s *Store) error {
	if len(u.Deliveries) > 0 && q.lowDisk && len(u.Delete) == 0 {
		s.stats.QuotaRefusals++
		return s.spaceError(Events)
	}
	if len(u.Insert) == 0 {
		return nil
	}
	var bytes int64
	for _, r := range u.Insert {
		bytes += eventSize(r.Event, r.Params) + int64(len(r.Key)) + rowOverhead
	}
	for _, r := range u.Delete {
		bytes -= r.bytes
	}
	rows := int64(len(u.Insert) - len(u.Delete))
	var err *QuotaError
	switch {
	case rows <= 0 && bytes <= 0:
		return nil
	case q.lowDisk:
		err = s.spaceError(Events)
	case q.rows+rows > s.cfg.MaxQueueRows:
		err = &QuotaError{What: "queue", Slot: -1, Limit: s.cfg.MaxQueueRows, Unit: "events"}
	case q.bytes+bytes > s.cfg.MaxQueueBytes:
		err = &QuotaError{What: "queue", Slot: -1, Limit: s.cfg.MaxQueueBytes, Unit: "bytes"}
	default:
		if err = q.overShare(u, s); err == nil {
			return nil
		}
	}
	s.stats.QuotaRefusals++
	return err
}

// overShare keeps one function from filling the queue of all: three quarters
// of its rows are the most that one may have.
func (q *queueState) overShare(u *Unit, s *Store) *QuotaError {
	share := (3*s.cfg.MaxQueueRows + 3) / 4
	if q.rows+int64(len(u.Insert)) <= share {
		return nil
	}
	added := make(map[uint32]int64, 1)
	for _, r := range u.Delete {
		added[uint32(int64(r.ID)>>rowBits)]--
	}
	for _, r := range u.Insert {
		added[r.Function.id]++
	}
	for _, r := range u.Insert {
		if q.byFunction[r.Function.id]+added[r.Function.id] > share {
			return &QuotaError{What: "share", Namespace: r.Function.name, Slot: -1, Limit: share, Unit: "events"}
		}
	}
	return nil
}

// install puts the unit's queue changes into the group. What is inserted and
// deleted within one group leaves no trace.
func (q *queueState) install(g *group, u *Unit, s *Store) {
	for _, r := range u.Insert {
		r.bytes = eventSize(r.Event, r.Params) + int64(len(r.Key)) + rowOverhead
		q.count(r.Function.id, 1, r.bytes)
		s.saveNameLocked(g, r.Function.id, r.Function.name)
		o := g.queueOp(r.ID)
		o.change = queueInsert
		o.set(r)
		g.bytes += r.bytes
	}
	for _, r := range u.Update {
		o := g.queueOp(r.ID)
		if o.change != queueInsert {
			o.change = queueUpdate
		}
		o.set(r)
		g.bytes += rowOverhead
	}
	for _, r := range u.Delete {
		q.count(uint32(int64(r.ID)>>rowBits), -1, -r.bytes)
		o := g.queueOp(r.ID)
		if o.change == queueInsert {
			g.bytes -= r.bytes
			*o = queueOp{id: r.ID}
			continue
		}
		*o = queueOp{id: r.ID, change: queueDelete}
	}
}

func (o *queueOp) set(r *QueueRow) {
	o.id, o.key, o.attempt, o.err, o.event, o.params = r.ID, r.Key, r.Attempt, r.Error, r.Event, r.Params
	o.arrived, o.due = unixMillis(r.Arrived), unixMillis(r.Due)
}

func (g *group) queueOp(id RowID) *queueOp {
	if g.queue == nil {
		g.queue = make(map[RowID]*queueOp)
	}
	o := g.queue[id]
	if o == nil {
		o = &queueOp{id: id}
		g.queue[id] = o
		g.queueOrder = append(g.queueOrder, id)
	}
	return o
}

// unixMillis is t in milliseconds since the Unix epoch, 0 for the zero time.
func unixMillis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// QueuedRows calls fn for every committed row of the queue, by function and in
// order, without its event: LoadEvent reads it when its turn comes.
func (s *Store) QueuedRows(ctx context.Context, fn func(*QueueRow) error) error {
	rows, err := s.reader.db.QueryContext(ctx, `SELECT id, key, arrived, due, attempt, coalesce(error, ''), length(event) FROM queue ORDER BY id`)
	if err != nil {
		return fmt.Errorf("read queue: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var r QueueRow
		var arrived, due, size int64
		if err := rows.Scan(&r.ID, &r.Key, &arrived, &due, &r.Attempt, &r.Error, &size); err != nil {
			return fmt.Errorf("read queue: %w", err)
		}
		r.Arrived, r.Due = fromMillis(arrived), fromMillis(due)
		r.bytes = size + int64(len(r.Key)) + rowOverhead
		s.mu.Lock()
		name, known := s.names.text[uint32(int64(r.ID)>>rowBits)]
		if known {
			r.Function = s.functionLocked(name)
		}
		s.mu.Unlock()
		if !known {
			s.log.Error("queue row of no function", "row", int64(r.ID))
			continue
		}
		if err := fn(&r); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read queue: %w", err)
	}
	return nil
}

// LoadEvent reads the event of a committed row, and its parameters.
func (s *Store) LoadEvent(ctx context.Context, id RowID) (*event.Event, []Param, error) {
	var blob []byte
	if err := s.reader.event.QueryRowContext(ctx, int64(id)).Scan(&blob); err != nil {
		return nil, nil, fmt.Errorf("read queued event %d: %w", id, notFound(err))
	}
	e, params, err := decodeEvent(blob)
	if err != nil {
		return nil, nil, fmt.Errorf("read queued event %d: %w", id, err)
	}
	return e, params, nil
}

// QueuedOf returns how many rows wait for a function.
func (s *Store) QueuedOf(function string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.functions[function]
	if f == nil {
		return 0
	}
	return s.queue.byFunction[f.id]
}

// QueueLen returns how many rows wait, and their bytes.
func (s *Store) QueueLen() (rows, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queue.rows, s.queue.bytes
}
