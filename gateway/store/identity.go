package store

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/headgate-io/headgate/internal/durable"
)

// Identity names a gateway, and one unbroken run of its records.
type Identity struct {
	// ID is made once and never changes.
	ID string `json:"id"`
	// Epoch grows whenever records may have been lost or put back: after a
	// quarantine, a restore, or when the database is not the one that was
	// left. Whoever counts usage starts anew with it.
	Epoch uint64 `json:"epoch"`
}

const (
	metaIdentity = "identity"
	metaRecovery = "recovery"
)

// Identity returns who this gateway is.
func (s *Store) Identity() Identity { return s.identity }

// identify compares the database with the file beside it, which survives it.
// Where they disagree records were lost or came back, and a new epoch begins.
func (s *Store) identify(ctx context.Context) error {
	inFile, err := readIdentity(s.identityPath())
	if err != nil {
		return err
	}
	inDatabase, err := s.storedIdentity(ctx)
	if err != nil {
		return err
	}
	id := inDatabase
	switch {
	case inDatabase == Identity{} && inFile == Identity{}:
		id = Identity{ID: rand.Text(), Epoch: 1}
	case inDatabase == Identity{}:
		id = Identity{ID: inFile.ID, Epoch: inFile.Epoch + 1}
		s.lost("the database is new, and this gateway had one before")
	case inFile == Identity{}:
	case inDatabase != inFile:
		id.Epoch = max(inDatabase.Epoch, inFile.Epoch) + 1
		s.lost("the database is not the one that was left here: a copy was put in its place")
	}
	if s.recovery != nil && id == inDatabase {
		id.Epoch++ // what was salvaged or restored need not be all
	}
	s.identity = id
	if err := s.inject(StepIdentify); err != nil {
		return err
	}
	if id != inFile {
		if err := writeFile(s.identityPath(), id); err != nil {
			return fmt.Errorf("write identity: %w", err)
		}
	}
	if id == inDatabase {
		return nil
	}
	text, err := json.Marshal(id)
	if err != nil {
		return err
	}
	return s.putMeta(ctx, metaIdentity, text)
}

func (s *Store) identityPath() string {
	return filepath.Join(filepath.Dir(s.cfg.Path), "identity.json")
}

func (s *Store) storedIdentity(ctx context.Context) (id Identity, err error) {
	text, err := s.Meta(ctx, metaIdentity)
	if errors.Is(err, ErrNotFound) {
		return id, nil
	}
	if err != nil {
		return id, err
	}
	if err := json.Unmarshal(text, &id); err != nil || id.ID == "" {
		s.log.Error("the identity in the database is damaged", "error", err)
		id = Identity{}
	}
	return id, nil
}

// putMeta writes without the committer, which does not run yet.
func (s *Store) putMeta(ctx context.Context, key string, value []byte) error {
	_, err := s.writer.conn.ExecContext(ctx, `INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)`, key, value)
	return err
}

// readIdentity reads the file. One that is damaged counts as missing.
func readIdentity(path string) (id Identity, err error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return id, nil
	}
	if err != nil {
		return id, err
	}
	if err := json.Unmarshal(text, &id); err != nil || id.ID == "" {
		id = Identity{}
	}
	return id, nil
}

// writeFile replaces a small file by one that is on the disk.
func writeFile(path string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return durable.Replace(path, append(text, '\n'))
}

// lost notes that records are missing or came back.
func (s *Store) lost(reason string) {
	if s.recovery == nil {
		s.recovery = &Recovery{At: s.cfg.Now(), Reason: reason}
	}
	s.log.Error("records were lost or put back: a new usage epoch begins", "reason", reason, "path", s.cfg.Path)
}

// EventPrefix distinguishes the ids of events of different epochs and starts.
func (id Identity) EventPrefix(start uint64) string {
	p := strconv.FormatUint(start, 36) + "-"
	if id.Epoch > 1 {
		p = strconv.FormatUint(id.Epoch, 36) + "." + p
	}
	return p
}
