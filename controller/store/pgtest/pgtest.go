// Package pgtest runs a PostgreSQL of its own for the tests of a package:
//
//	var postgres pgtest.Server
//
//	func TestMain(m *testing.M) {
//		code := m.Run()
//		postgres.Stop()
//		os.Exit(code)
//	}
//
//	… postgres.Database(t) …
package pgtest

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the database/sql driver

	"github.com/headgate-io/headgate/internal/toolchain"
)

// Server is a PostgreSQL that starts when it is first asked for a database. The
// zero value is ready.
type Server struct {
	once     sync.Once
	err      error
	dir      string
	stop     context.CancelFunc
	ended    chan struct{}
	log      bytes.Buffer
	database atomic.Int64
}

// startTimeout bounds how long a server may take until it answers.
const startTimeout = 60 * time.Second

// errMissing is a machine without PostgreSQL.
var errMissing = errors.New("PostgreSQL is not installed")

// Database makes an empty database and returns its address. Without PostgreSQL
// the test is skipped, or fails where everything is demanded.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	address, err := s.Create(t.Context())
	if errors.Is(err, errMissing) {
		toolchain.Skip(t, err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// Create makes an empty database and returns its address, for programs that are
// no test.
func (s *Server) Create(ctx context.Context) (address string, err error) {
	s.once.Do(func() { s.err = s.start() })
	if s.err != nil {
		return "", s.err
	}
	name := fmt.Sprintf("test%d", s.database.Add(1))
	db, err := sql.Open("pgx", s.address("postgres"))
	if err != nil {
		return "", err
	}
	defer db.Close()
	if _, err := db.ExecContext(ctx, "CREATE DATABASE "+name); err != nil {
		return "", err
	}
	return s.address(name), nil
}

func (s *Server) address(database string) string {
	return "postgres:///" + database + "?user=postgres&host=" + s.dir
}

// binaries is where the newest server is installed.
func binaries() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb") // Debian's place
	if err != nil {
		return "", err
	}
	if len(found) > 0 {
		return filepath.Dir(slices.Max(found)), nil
	}
	path, err := exec.LookPath("initdb")
	if err != nil {
		return "", errMissing
	}
	return filepath.Dir(path), nil
}

// credential is whom the server runs as: it refuses to be root.
func credential() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

func (s *Server) start() error {
	bin, err := binaries()
	if err != nil {
		return err
	}
	as, err := credential()
	if err != nil {
		return err
	}
	if s.dir, err = os.MkdirTemp("", "pgtest"); err != nil { // short: it holds a socket
		return err
	}
	if as != nil {
		if err := os.Chown(s.dir, int(as.Uid), int(as.Gid)); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	data := filepath.Join(s.dir, "data")
	initdb := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
	initdb.Dir, initdb.SysProcAttr = s.dir, &syscall.SysProcAttr{Credential: as}
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	server := exec.CommandContext(ctx, filepath.Join(bin, "postgres"), "-D", data, "-k", s.dir, "-h", "",
		"-c", "fsync=off", "-c", "full_page_writes=off", "-c", "max_connections=200", "-c", "shared_buffers=16MB")
	server.Dir, server.Stdout, server.Stderr = s.dir, &s.log, &s.log
	server.SysProcAttr = &syscall.SysProcAttr{Credential: as, Pdeathsig: syscall.SIGQUIT}
	server.Cancel = func() error { return server.Process.Signal(syscall.SIGQUIT) }
	return s.serve(ctx, server)
}

// serve starts the server and waits until it answers.
func (s *Server) serve(ctx context.Context, server *exec.Cmd) error {
	s.ended = make(chan struct{})
	started := make(chan error, 1)
	go func() {
		defer close(s.ended)
		runtime.LockOSThread() // the server ends with the thread that started it
		defer runtime.UnlockOSThread()
		err := server.Start()
		started <- err
		if err == nil {
			_ = server.Wait() // it is stopped by a signal
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	db, err := sql.Open("pgx", s.address("postgres"))
	if err != nil {
		return err
	}
	defer db.Close()
	wait, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		err := db.PingContext(wait)
		if err == nil {
			return nil
		}
		select {
		case <-s.ended:
			return fmt.Errorf("PostgreSQL ended by itself:\n%s", s.log.String())
		case <-wait.Done():
			return fmt.Errorf("PostgreSQL does not answer: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Stop ends the server, where it was started, and removes what it wrote.
func (s *Server) Stop() {
	if s.stop != nil {
		s.stop()
	}
	if s.ended != nil {
		<-s.ended
	}
	if s.dir != "" {
		_ = os.RemoveAll(s.dir) // a folder for temporary files is cleaned anyway
	}
}
