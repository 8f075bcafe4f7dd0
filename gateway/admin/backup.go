package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"

	"github.com/headgate-io/headgate/gateway/store"
)

// Keeper copies the gateway's records and puts a copy back.
type Keeper interface {
	// Backup writes a consistent copy to a new file.
	Backup(ctx context.Context, path string) error
	// Restore takes a copy, which it may move, and restarts the gateway on it.
	Restore(ctx context.Context, path string) error
	// TempPath names a file that is not there, where there is room.
	TempPath(purpose string) string
	// FreeBytes is the room that a restore may take.
	FreeBytes() int64
}

func (s *Server) backups() {
	s.mux.HandleFunc("GET /v1/backup", s.backup)
	s.mux.HandleFunc("PUT /v1/backup", s.restore)
}

// backup answers with the copy: a SQLite database.
func (s *Server) backup(w http.ResponseWriter, r *http.Request) {
	path := s.deps.Keeper.TempPath("backup")
	defer func() { _ = os.Remove(path) }()
	if err := s.deps.Keeper.Backup(r.Context(), path); err != nil {
		refuse(w, statusOf(err), err.Error())
		return
	}
	f, err := os.Open(path)
	if err != nil {
		refuse(w, http.StatusInternalServerError, err.Error())
		return
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		refuse(w, http.StatusInternalServerError, err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/vnd.sqlite3")
	w.Header().Set("Content-Length", strconv.FormatInt(info.Size(), 10))
	if _, err := io.Copy(w, f); err != nil {
		s.deps.Logger.Warn("backup was not read to its end", "error", err)
	}
}

func statusOf(err error) int {
	var quota *store.QuotaError
	if errors.As(err, &quota) {
		return http.StatusInsufficientStorage
	}
	return http.StatusUnprocessableEntity
}

// restore takes a copy that backup has made.
func (s *Server) restore(w http.ResponseWriter, r *http.Request) {
	path := s.deps.Keeper.TempPath("restore")
	defer func() { _ = os.Remove(path) }()
	if err := receive(path, r.Body, s.deps.Keeper.FreeBytes()); err != nil {
		refuse(w, statusOf(err), err.Error())
		return
	}
	if err := s.deps.Keeper.Restore(r.Context(), path); err != nil {
		refuse(w, statusOf(err), err.Error())
		return
	}
	w.WriteHeader(http.StatusAccepted)
}

// receive writes a body to a new file.
func receive(path string, body io.Reader, most int64) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	n, err := io.Copy(f, io.LimitReader(body, most+1))
	if err == nil && n > most {
		err = &store.QuotaError{What: "disk", Namespace: "backups larger than that", Slot: -1, Limit: most, Unit: "bytes"}
	}
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("receive backup: %w", err)
	}
	return nil
}
