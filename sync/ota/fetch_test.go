package ota_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/headgate-io/headgate/sync/ota"
)

const block = 64 << 10

// content is some that no part of which is like another.
func content(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b) // it never fails
	return b
}

// served is an owner's repository behind a server, of which answer takes the
// requests for targets; nil leaves them to the file server.
func served(t *testing.T, answer func(w http.ResponseWriter, r *http.Request, whole []byte) bool) (*gateway, ota.Target, []byte) {
	t.Helper()
	o, whole := newOwner(t), content(10*block+77)
	target := o.publish(string(whole))
	files := http.FileServer(http.Dir(o.dir))
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/content/targets/") && answer != nil && answer(w, r, whole) {
			return
		}
		http.StripPrefix("/content", files).ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	source, err := ota.NewSource(s.URL+"/content", s.Client())
	if err != nil {
		t.Fatal(err)
	}
	g := o.gateway()
	g.reads(source)
	if _, err := g.refresh(); err != nil {
		t.Fatal(err)
	}
	return g, target, whole
}

// fetched shows that a fetch brings the whole target, and that nothing else
// ever had its name.
func fetched(t *testing.T, g *gateway, target ota.Target, whole []byte) {
	t.Helper()
	file, err := g.client.Fetch(context.Background(), target)
	if err != nil {
		t.Fatal(err)
	}
	if raw := read(t, file); !bytes.Equal(raw, whole) {
		t.Errorf("%d bytes, other than the %d that were signed", len(raw), len(whole))
	}
}

func notInstalled(t *testing.T, g *gateway, target ota.Target) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(g.cfg.Dir, "incoming", target.SHA256)); err == nil {
		t.Error("a part has the name of the whole")
	}
}

// cut sends n bytes of an answer that promises more, and ends the connection.
func cut(w http.ResponseWriter, r *http.Request, whole []byte, n int) {
	first := 0
	if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &first); err == nil {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, len(whole)-1, len(whole)))
		w.Header().Set("Content-Length", fmt.Sprint(len(whole)-first))
		w.WriteHeader(http.StatusPartialContent)
	} else {
		w.Header().Set("Content-Length", fmt.Sprint(len(whole)))
	}
	_, _ = w.Write(whole[first:min(first+n, len(whole))]) // the client may have gone
	_ = http.NewResponseController(w).Flush()
	if first+n < len(whole) {
		panic(http.ErrAbortHandler)
	}
}

// TestInterruptedAtEveryBlock cuts the connection after every 64 KiB, and
// restarts the gateway at each cut.
func TestInterruptedAtEveryBlock(t *testing.T) {
	requests := 0
	g, target, whole := served(t, func(w http.ResponseWriter, r *http.Request, whole []byte) bool {
		requests++
		cut(w, r, whole, block)
		return true
	})
	for n := 1; ; n++ {
		// A deadline in the past is a gateway that ends: one answer at a time.
		ctx, cancel := context.WithCancel(context.Background())
		g.reads(&lastOf{Source: g.cfg.Source, end: cancel})
		_, err := g.client.Fetch(ctx, target)
		cancel()
		if err == nil {
			break
		}
		notInstalled(t, g, target)
		part := read(t, filepath.Join(g.cfg.Dir, "incoming", target.SHA256+".part"))
		if len(part) != n*block || !bytes.Equal(part, whole[:len(part)]) {
			t.Fatalf("after %d cuts %d bytes are here: %v", n, len(part), err)
		}
		g.cfg.Source = g.cfg.Source.(*lastOf).Source
		g.open()
	}
	fetched(t, g, target, whole)
	if requests != 11 {
		t.Errorf("%d requests for 11 blocks", requests)
	}
	// Without restarts it goes on by itself.
	if err := g.client.Drop(target); err != nil {
		t.Fatal(err)
	}
	before := g.client.Stats().FetchedBytes
	fetched(t, g, target, whole)
	if n := g.client.Stats().FetchedBytes - before; n != uint64(len(whole)) {
		t.Errorf("%d bytes came for %d", n, len(whole))
	}
}

// lastOf ends a fetch after one answer.
type lastOf struct {
	ota.Source
	end context.CancelFunc
}

func (l *lastOf) Open(ctx context.Context, path string, offset int64) (ota.Content, error) {
	c, err := l.Source.Open(context.WithoutCancel(ctx), path, offset)
	l.end()
	return c, err
}

// TestServersThatLie never has a part, or other bytes, taken for the target.
func TestServersThatLie(t *testing.T) {
	other := bytes.Repeat([]byte("evil"), block)
	for name, x := range map[string]struct {
		lie func(w http.ResponseWriter, r *http.Request, whole []byte) bool
		// heals is true where the target comes all the same.
		heals bool
		want  error
	}{
		"200 to a range": {heals: true, lie: func(w http.ResponseWriter, r *http.Request, whole []byte) bool {
			if r.Header.Get("Range") == "" {
				cut(w, r, whole, 2*block)
			}
			_, _ = w.Write(whole)
			return true
		}},
		"another range": {heals: true, lie: func(w http.ResponseWriter, r *http.Request, whole []byte) bool {
			if r.Header.Get("Range") == "" {
				return false
			}
			w.Header().Set("Content-Range", fmt.Sprintf("bytes 5-%d/%d", len(whole)-1, len(whole)))
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(whole[5:])
			return true
		}},
		"416": {heals: true, lie: func(w http.ResponseWriter, r *http.Request, _ []byte) bool {
			if r.Header.Get("Range") == "" {
				return false
			}
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			return true
		}},
		"other bytes for the range": {heals: true, lie: func(w http.ResponseWriter, r *http.Request, whole []byte) bool {
			if r.Header.Get("Range") == "" {
				return false
			}
			cut(w, r, make([]byte, len(whole)), len(whole))
			return true
		}},
		"a range that was not asked for": {want: ota.ErrRange, lie: func(w http.ResponseWriter, _ *http.Request, whole []byte) bool {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-%d/%d", len(whole)-1, len(whole)))
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(whole)
			return true
		}},
		"changed content": {want: ota.ErrMixed, lie: func(w http.ResponseWriter, r *http.Request, whole []byte) bool {
			changed := bytes.Clone(whole)
			changed[len(changed)-1] ^= 1
			cut(w, r, changed, len(changed))
			return true
		}},
		"more": {want: ota.ErrTooLarge, lie: func(w http.ResponseWriter, _ *http.Request, whole []byte) bool {
			_, _ = w.Write(whole)
			_, _ = w.Write(other)
			return true
		}},
		"less": {want: ota.ErrUnreachable, lie: func(w http.ResponseWriter, _ *http.Request, whole []byte) bool {
			_, _ = w.Write(nil)
			return true
		}},
		"nothing": {want: ota.ErrNotFound, lie: func(w http.ResponseWriter, r *http.Request, _ []byte) bool {
			http.NotFound(w, r)
			return true
		}},
	} {
		t.Run(name, func(t *testing.T) {
			g, target, whole := served(t, x.lie)
			ota.PauseFor(g.client, time.Millisecond)
			if x.heals { // a part of an earlier time
				part := filepath.Join(g.cfg.Dir, "incoming", target.SHA256+".part")
				if err := os.WriteFile(part, whole[:2*block], 0o600); err != nil {
					t.Fatal(err)
				}
				fetched(t, g, target, whole)
				return
			}
			if _, err := g.client.Fetch(context.Background(), target); !errors.Is(err, x.want) {
				t.Errorf("fetch: %v, want %v", err, x.want)
			}
			notInstalled(t, g, target)
		})
	}
}

// TestPartOfAnotherTime is a part that the disk damaged.
func TestPartOfAnotherTime(t *testing.T) {
	g, target, whole := served(t, nil)
	part := filepath.Join(g.cfg.Dir, "incoming", target.SHA256+".part")
	for _, wrong := range [][]byte{make([]byte, 3*block), make([]byte, len(whole)), make([]byte, len(whole)+1)} {
		if err := errors.Join(g.client.Drop(target), os.WriteFile(part, wrong, 0o600)); err != nil {
			t.Fatal(err)
		}
		fetched(t, g, target, whole)
	}
}

// full is a file on a disk that takes so much and no more.
type full struct {
	ota.Sink
	left *int
}

func (f full) Write(p []byte) (int, error) {
	if len(p) > *f.left {
		n, _ := f.Sink.Write(p[:*f.left])
		return n, unix.ENOSPC
	}
	*f.left -= len(p)
	return f.Sink.Write(p)
}

// TestDiskFullDuringFetch gives the room back that a part had.
func TestDiskFullDuringFetch(t *testing.T) {
	g, target, whole := served(t, nil)
	left := 3*block + 100
	ota.CreateWith(g.client, func(file string) (ota.Sink, error) {
		f, err := ota.OpenSink(file)
		return full{f, &left}, err
	})
	if _, err := g.client.Fetch(context.Background(), target); !errors.Is(err, ota.ErrNoRoom) {
		t.Fatalf("a full disk: %v", err)
	}
	files, err := os.ReadDir(filepath.Join(g.cfg.Dir, "incoming"))
	if err != nil || len(files) != 0 {
		t.Errorf("it left %v, %v", files, err)
	}
	if g.client.Stats().NoRoom != 1 {
		t.Error("it was not counted")
	}
	g.open()
	fetched(t, g, target, whole)
	// What would leave too little is not even begun.
	if err := g.client.Drop(target); err != nil {
		t.Fatal(err)
	}
	g.cfg.ReserveBytes = 1 << 60
	g.open()
	if _, err := g.client.Fetch(context.Background(), target); !errors.Is(err, ota.ErrNoRoom) {
		t.Errorf("below the reserve: %v", err)
	}
}

// synced counts which of a file's bytes are on the disk.
type synced struct {
	ota.Sink
	written, onDisk *int
}

func (s synced) Write(p []byte) (int, error) {
	n, err := s.Sink.Write(p)
	*s.written += n
	return n, err
}

func (s synced) Sync() error {
	*s.onDisk = *s.written
	return s.Sink.Sync()
}

// TestWholeIsOnTheDisk has a power cut after a fetch: what has the whole one's
// name was on the disk before it had it.
func TestWholeIsOnTheDisk(t *testing.T) {
	written, onDisk := 0, 0
	g, target, whole := served(t, nil)
	ota.CreateWith(g.client, func(file string) (ota.Sink, error) {
		f, err := ota.OpenSink(file)
		return synced{f, &written, &onDisk}, err
	})
	fetched(t, g, target, whole)
	if written != len(whole) || onDisk != written {
		t.Errorf("%d of %d bytes are on the disk", onDisk, len(whole))
	}
}

// TestSources are the URLs of repositories.
func TestSources(t *testing.T) {
	for raw, ok := range map[string]bool{
		"https://example.org/content": true, "http://127.0.0.1:8080/": true, "http://localhost/x": true, "file:///srv/repo": true,
		"http://example.org/": false, "https://u:p@example.org/": false, "https://example.org/?a=b": false, "file://host/x": false, "ftp://x/": false, "": false,
	} {
		if _, err := ota.NewSource(raw, nil); (err == nil) != ok {
			t.Errorf("%q: %v", raw, err)
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "secret"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	sub := filepath.Join(dir, "sub")
	if err := errors.Join(os.Mkdir(sub, 0o700), os.Symlink("../secret", filepath.Join(sub, "link"))); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"../secret", "link", "/etc/passwd"} {
		if c, err := ota.Folder(sub).Open(t.Context(), path, 0); err == nil {
			raw, _ := io.ReadAll(c.Body)
			t.Errorf("%s was opened: %q", path, raw)
		}
	}
}
