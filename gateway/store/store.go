package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/headgate-io/headgate/internal/fault"
	"github.com/headgate-io/headgate/internal/sole"
	"modernc.org/sqlite" // also the database/sql driver
	sqlite3 "modernc.org/sqlite/lib"
)

// Store is the database of one gateway. Its methods are safe for concurrent
// use.
type Store struct {
	cfg    Config
	log    *slog.Logger
	lock   *sole.Lock
	reader *reader
	writer *writer // the committer's; replaced by it after an error
	views  sync.Pool

	// mu guards everything below. It comes after all locks of package
	// dispatch; with it held nothing is called that locks, waits for a disk or
	// runs a caller's code.
	mu   sync.Mutex
	work sync.Cond // the committer waits for a group
	room sync.Cond // sealers wait for room or for recovery

	seq       uint64 // last one given out
	committed uint64 // last one on disk
	released  uint64 // last one whose Done functions have returned
	gen       uint64 // grows with every rollback, from 1

	overlay                overlay
	oldestView, newestView *View
	names                  names
	spaces                 map[string]*namespace
	functions              map[string]*FunctionRef
	stateBytes             int64
	queue                  queueState
	dead                   deadState
	journal                journal
	dedupe                 dedupeWindow
	sessions               map[string]*session
	sessionIDs             map[uint64]*session
	nextSession            uint64
	messages               messageState
	retained               retainedState
	metering               metering

	pending     *group   // being filled; nil when nothing waits
	groups      []*group // all that are not released, oldest first, pending included
	spare       []*group
	groupNumber uint64
	recovering  bool
	// failing is since when the disk takes no commit; zero while it does.
	failing  time.Time
	deferred []*looseOp // changes of the broker that came meanwhile
	cause    error      // of the newest rollback
	closed   bool
	stats    Stats
	// lettersDropped hears of dead letters that bounds push out.
	lettersDropped func([]LetterKey)
	// objectsFreed hears of digests that keys stand for no more.
	objectsFreed func([]string)

	space      spaceState
	identity   Identity
	recovery   *Recovery
	damaged    chan struct{}
	damageOnce sync.Once

	failures int // the committer's: errors in a row
	settled  chan *group
	closing  chan struct{}
	wg       sync.WaitGroup
}

// Open opens the database, creating or migrating it as need be. The file is
// locked: a second gateway on it is refused.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Store{cfg: cfg, log: cfg.Logger, settled: make(chan *group, 2), closing: make(chan struct{}), damaged: make(chan struct{}), gen: 1}
	s.work.L, s.room.L = &s.mu, &s.mu
	s.views.New = func() any { return &View{s: s} }
	s.overlay = newOverlay()
	s.functions, s.spaces = make(map[string]*FunctionRef), make(map[string]*namespace)
	s.names = names{ids: make(map[string]uint32), text: make(map[uint32]string)}
	if err := s.open(ctx); err != nil {
		s.release()
		return nil, fmt.Errorf("open store %s: %w%s", cfg.Path, err, advice(err))
	}
	s.wg.Add(3)
	go func() { defer s.wg.Done(); s.commitLoop() }()
	go func() { defer s.wg.Done(); s.releaseLoop() }()
	go func() { defer s.wg.Done(); s.sweepLoop() }()
	return s, nil
}

// advice says what to do about a database that cannot be used.
func advice(err error) string {
	var fault *sqlite.Error
	if !errors.As(err, &fault) {
		return ""
	}
	switch fault.Code() & 0xff { // without the extension of the code
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return ": the file is damaged: put a copy back, or move it away together with its -wal and -shm to start empty"
	case sqlite3.SQLITE_FULL:
		return ": the disk is full: make room"
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN:
		return ": make the folder writable for this user, or choose another state_dir"
	}
	return ""
}

func (s *Store) open(ctx context.Context) (err error) {
	if err := os.MkdirAll(filepath.Dir(s.cfg.Path), 0o700); err != nil {
		return err
	}
	if s.lock, err = sole.Take(s.cfg.Path+".lock", "gateway"); err != nil {
		return err
	}
	s.checkDisk()
	if err := s.finishReplacement(); err != nil {
		return err
	}
	if err = s.begin(ctx); isDamage(err) {
		if err := s.quarantine(ctx, err); err != nil {
			return fmt.Errorf("put a damaged database aside: %w", err)
		}
		err = s.begin(ctx)
	}
	if err != nil {
		return err
	}
	return removeIfThere(s.recoveryPath())
}

// begin opens what is on disk, and finds out whose and of which epoch it is.
func (s *Store) begin(ctx context.Context) error {
	if err := s.load(ctx); err != nil {
		return err
	}
	return errors.Join(s.identify(ctx), s.rememberRecovery(ctx), s.resumeMetering(ctx))
}

// load opens the connections and takes what is on disk.
func (s *Store) load(ctx context.Context) (err error) {
	if err := migrate(ctx, s.dsn(false)); err != nil {
		return err
	}
	if s.writer, err = s.openWriter(); err != nil {
		return err
	}
	if s.reader, err = s.openReader(); err != nil {
		return err
	}
	if err := s.suspect(ctx); err != nil {
		return err
	}
	if err := s.writer.tidyMessages(ctx); err != nil {
		return err
	}
	disk, err := s.loadDisk(ctx)
	if err != nil {
		return err
	}
	s.adoptLocked(disk)
	s.seq, s.committed, s.released = disk.committed, disk.committed, disk.committed
	return nil
}

// Close commits what was sealed, calls the last Done functions and closes the
// file. Whatever is sealed afterwards gets ErrClosed.
func (s *Store) Close(ctx context.Context) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	close(s.closing)
	s.work.Broadcast()
	s.room.Broadcast()
	s.mu.Unlock()
	done := make(chan struct{})
	go func() { s.wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
		return fmt.Errorf("close store: %w", ctx.Err())
	}
	s.release()
	return nil
}

// release closes files, in an order that leaves no write-ahead log behind.
func (s *Store) release() {
	s.closeFiles()
	_ = s.lock.Release()
}

func (s *Store) closeFiles() {
	if s.reader != nil {
		_ = s.reader.db.Close()
	}
	if s.writer != nil {
		s.writer.close()
	}
}

// dsn is the data source name of a connection.
func (s *Store) dsn(readOnly bool) string { return s.dsnOf(s.cfg.Path, readOnly) }

func (s *Store) dsnOf(path string, readOnly bool) string {
	q := url.Values{}
	q.Add("_pragma", "busy_timeout(5000)")
	q.Add("_pragma", "page_size(4096)")
	q.Add("_pragma", "journal_mode(WAL)")
	switch {
	case fault.On(fault.NoFsync):
		q.Add("_pragma", "synchronous(OFF)")
	case s.cfg.Durability == Relaxed:
		q.Add("_pragma", "synchronous(NORMAL)")
	default:
		q.Add("_pragma", "synchronous(FULL)")
	}
	q.Add("_pragma", "foreign_keys(1)")
	if readOnly {
		q.Add("_pragma", "query_only(1)")
		q.Add("_pragma", "cache_size(-256)")
	} else {
		// Checkpoints write each changed page once, however often it is in the
		// log: a longer log spares the flash.
		q.Add("_pragma", "wal_autocheckpoint(1000)")
		q.Add("_pragma", "journal_size_limit(8388608)")
		q.Add("_pragma", "cache_size(-1024)")
	}
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + q.Encode()
}

// now is the present on the scale of durations, in milliseconds.
func (s *Store) now() int64 { return s.cfg.Steady().UnixMilli() }

// diskState is what the memory keeps of the disk.
type diskState struct {
	committed  uint64
	names      map[uint32]string
	spaces     map[uint32]int64
	buckets    map[uint32]BucketUse
	queue      queueState
	nextRow    map[uint32]int64
	dead       deadState
	sessions   map[string]*session
	messages   messageState
	retained   retainedState
	outbox     struct{ batches, bytes int64 }
	rows       []journalRow
	journalLen int64
	emptyTail  uint64
}

// reopen replaces the writer and reads back what is on disk.
func (s *Store) reopen() (*diskState, error) {
	if err := s.replaceWriter(); err != nil {
		return nil, err
	}
	return s.loadDisk(context.Background())
}

func (s *Store) replaceWriter() error {
	opened := s.writer.file
	s.writer.close()
	if err := s.inject(StepReopen); err != nil {
		return err
	}
	// Another file in its place may be another gateway's: never that one, and
	// never a new one.
	if err := s.checkPlace(opened); err != nil {
		return err
	}
	w, err := s.openWriter()
	if err != nil {
		return err
	}
	if err := s.checkPlace(opened); err != nil {
		w.close()
		return err
	}
	s.writer = w
	return nil
}

func (s *Store) loadDisk(ctx context.Context) (*diskState, error) {
	d := &diskState{
		names: make(map[uint32]string), spaces: make(map[uint32]int64), buckets: make(map[uint32]BucketUse),
		nextRow: make(map[uint32]int64), sessions: make(map[string]*session),
		messages: newMessageState(), retained: retainedState{byTopic: make(map[string]retainedEntry)},
	}
	q := func(query string, each func(*sql.Rows) error) error {
		rows, err := s.writer.conn.QueryContext(ctx, query)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			if err := each(rows); err != nil {
				return err
			}
		}
		return rows.Err()
	}
	err := errors.Join(
		q(`SELECT id, name FROM name`, func(r *sql.Rows) error {
			var id uint32
			var name string
			err := r.Scan(&id, &name)
			d.names[id] = name
			return err
		}),
		q(`SELECT ns, sum(length(CAST(key AS BLOB)) + length(value)) FROM kv GROUP BY ns`, func(r *sql.Rows) error {
			var ns uint32
			var n int64
			err := r.Scan(&ns, &n)
			d.spaces[ns] = n
			return err
		}),
		q(`SELECT ns, count(*), sum(size) FROM object GROUP BY ns`, func(r *sql.Rows) error {
			var ns uint32
			var use BucketUse
			err := r.Scan(&ns, &use.Objects, &use.Bytes)
			d.buckets[ns] = use
			return err
		}),
		q(`SELECT id >> 40, count(*), max(id) & ((1 << 40) - 1), sum(length(event) + length(CAST(key AS BLOB))) FROM queue GROUP BY 1`, func(r *sql.Rows) error {
			var fn uint32
			var rows, last, bytes int64
			err := r.Scan(&fn, &rows, &last, &bytes)
			d.nextRow[fn] = last
			d.queue.count(fn, rows, bytes+rows*rowOverhead)
			return err
		}),
		q(`SELECT count(*), coalesce(sum(length(event)), 0) FROM dead_letter`, func(r *sql.Rows) error {
			return r.Scan(&d.dead.rows, &d.dead.bytes)
		}),
		q(`SELECT count(*), coalesce(sum(length(data)), 0) FROM usage_batch`, func(r *sql.Rows) error {
			return r.Scan(&d.outbox.batches, &d.outbox.bytes)
		}),
		q(`SELECT id, client, epoch FROM session`, func(r *sql.Rows) error {
			var id, epoch int64
			var client string
			err := r.Scan(&id, &client, &epoch)
			d.sessions[client] = &session{id: uint64(id), epoch: uint64(epoch)}
			return err
		}),
		q(`SELECT id, length(body) FROM message`, func(r *sql.Rows) error {
			var id uint64
			m := &message{}
			err := r.Scan(&id, &m.bytes)
			d.messages.byID[id] = m
			d.messages.bytes += m.bytes
			d.messages.next = max(d.messages.next, id)
			return err
		}),
		q(`SELECT client, seq, message FROM outgoing JOIN session ON session.id = outgoing.session`, func(r *sql.Rows) error {
			var client string
			var seq, id uint64
			err := r.Scan(&client, &seq, &id)
			d.outgoing(client, seq, id)
			return err
		}),
		q(`SELECT topic, length(body) FROM retained`, func(r *sql.Rows) error {
			var topic string
			var e retainedEntry
			err := r.Scan(&topic, &e.bytes)
			d.retained.byTopic[topic] = e
			d.retained.bytes += e.bytes
			return err
		}),
		q(`SELECT seq, records FROM journal ORDER BY seq`, func(r *sql.Rows) error {
			var row journalRow
			err := r.Scan(&row.seq, &row.records)
			d.rows = append(d.rows, row)
			return err
		}),
	)
	if err != nil {
		return nil, fmt.Errorf("read back: %w", err)
	}
	for _, row := range d.rows {
		d.committed, d.emptyTail = row.seq, 0
		d.journalLen += int64(len(row.records))
		if len(row.records) == 0 {
			d.emptyTail = row.seq
		}
	}
	return d, nil
}

// outgoing takes a row of a session.
func (d *diskState) outgoing(client string, seq, message uint64) {
	ses := d.sessions[client]
	if ses == nil || d.messages.byID[message] == nil {
		return // see tidyMessages
	}
	if ses.out == nil {
		ses.out = make(map[uint64]uint64)
	}
	ses.out[seq] = message
	d.messages.refer(message)
}

// adoptLocked makes the memory what the disk says. Numbers already given to
// names stay.
func (s *Store) adoptLocked(d *diskState) {
	s.overlay = newOverlay()
	s.names.saved = make(map[uint32]bool)
	for id, name := range d.names {
		s.names.ids[name], s.names.text[id], s.names.saved[id] = id, name, true
		s.names.next = max(s.names.next, id&^objectBit)
	}
	s.stateBytes = 0
	for _, n := range s.spaces {
		n.bytes, n.count, n.changed = 0, 0, 0
	}
	for id, bytes := range d.spaces {
		s.namespaceLocked(s.names.text[id]).bytes = bytes
		s.stateBytes += bytes
	}
	for id, use := range d.buckets {
		n := s.namespaceLocked(s.names.text[id])
		n.bytes, n.count = use.Bytes, use.Objects
	}
	for id, last := range d.nextRow {
		if name, ok := s.names.text[id]; ok {
			f := s.functionLocked(name)
			f.next = max(f.next, last)
		}
	}
	d.queue.lowDisk = s.space.stopped[Events]
	s.queue, s.dead = d.queue, d.dead
	d.messages.next = max(d.messages.next, s.messages.next)
	s.messages, s.retained = d.messages, d.retained
	m := &s.metering
	m.first, m.closings, m.batches, m.bytes = anyMinute, true, d.outbox.batches, d.outbox.bytes
	s.sessions, s.sessionIDs = d.sessions, make(map[uint64]*session)
	for _, ses := range d.sessions {
		s.sessionIDs[ses.id] = ses
		s.nextSession = max(s.nextSession, ses.id)
	}
	s.journal = journal{bytes: d.journalLen, emptyTail: d.emptyTail}
	s.dedupe = newDedupeWindow(s.cfg.DedupeWindow)
	for _, row := range d.rows {
		if err := decodeRecords(row.records, s.replayLocked); err != nil {
			s.log.Error("journal row is damaged, its duplicate records are lost", "seq", row.seq, "error", err)
			s.stats.DamagedRows++
		}
	}
}

func (s *Store) replayLocked(r *record) {
	if r.kind == recordDedupe {
		s.dedupe.add(r.dedupe, r.seq)
		return
	}
	if ses := s.sessionIDs[r.session]; ses != nil {
		s.journal.live += ses.note(r)
	}
}

// sweepLoop deletes expired keys and old rows, and watches the free space.
func (s *Store) sweepLoop() {
	t := time.NewTicker(s.cfg.SweepEvery)
	defer t.Stop()
	lazy := time.NewTicker(s.cfg.LazyEvery)
	defer lazy.Stop()
	disk := time.NewTicker(s.cfg.DiskEvery)
	defer disk.Stop()
	for {
		select {
		case <-t.C:
		case <-lazy.C:
			s.flushLazy()
			continue
		case <-disk.C:
			s.checkDisk()
			continue
		case <-s.closing:
			return
		}
		if err := s.Sweep(context.Background()); err != nil && !errors.Is(err, ErrClosed) && !errors.Is(err, ErrRolledBack) {
			s.log.Warn("sweep expired keys", "error", err)
		}
	}
}
