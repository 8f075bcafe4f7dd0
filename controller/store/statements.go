package store

import (
	"context"
	"database/sql"
	"sync"
)

// maxStatements bounds how many statements are kept prepared: more than there
// are in this package.
const maxStatements = 512

// statements are those of SQLite that are kept prepared for one pool: without
// it the parser takes more time than the work. A statement is prepared after the
// transaction that used it first, which holds the pool's only connection. A nil
// one keeps none: pgx does by itself.
type statements struct {
	mu     sync.Mutex
	ready  map[string]*sql.Stmt
	wanted map[string]bool
}

func newStatements() *statements {
	return &statements{ready: map[string]*sql.Stmt{}, wanted: map[string]bool{}}
}

// of is a statement in a transaction; nil is one that is not prepared.
func (s *statements) of(ctx context.Context, tx *sql.Tx, query string) *sql.Stmt {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if stmt := s.ready[query]; stmt != nil {
		return tx.StmtContext(ctx, stmt)
	}
	if len(s.ready)+len(s.wanted) < maxStatements {
		s.wanted[query] = true
	}
	return nil
}

// prepare prepares what was used for the first time. What cannot be prepared is
// run as it is.
func (s *statements) prepare(ctx context.Context, db *sql.DB) {
	if s == nil {
		return
	}
	s.mu.Lock()
	wanted := s.wanted
	s.wanted = map[string]bool{}
	s.mu.Unlock()
	// Without the lock: this waits for a connection, whose transaction may wait
	// for the lock.
	for query := range wanted {
		stmt, err := db.PrepareContext(ctx, query) //nolint:sqlclosecheck // with its database
		if err != nil {
			continue
		}
		s.mu.Lock()
		if s.ready[query] == nil {
			s.ready[query], stmt = stmt, nil
		}
		s.mu.Unlock()
		if stmt != nil {
			_ = stmt.Close() // another was faster
		}
	}
}
