package sandbox

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/headgate-io/headgate/sandbox/instrument"
)

// maxCacheBytes bounds each of the two caches; the oldest files go first.
const maxCacheBytes = 256 << 20

// A file of the instrumented cache is a checksum of the rest, the length of
// the report, the report as JSON and the rewritten module.
const cacheHeader = sha256.Size + 4

// loadInstrumented returns a rewritten module from the cache. A damaged file
// counts as missing: power may fail while it is written.
func (e *Engine) loadInstrumented(name string) ([]byte, *instrument.Report, bool) {
	if e.cacheDir == "" {
		return nil, nil, false
	}
	b, err := os.ReadFile(filepath.Join(e.instrumentedDir(), name))
	if err != nil || len(b) < cacheHeader {
		return nil, nil, false
	}
	if sum := sha256.Sum256(b[sha256.Size:]); string(sum[:]) != string(b[:sha256.Size]) {
		return nil, nil, false
	}
	n := binary.LittleEndian.Uint32(b[sha256.Size:])
	rest := b[cacheHeader:]
	if uint64(n) > uint64(len(rest)) {
		return nil, nil, false
	}
	report := &instrument.Report{}
	if json.Unmarshal(rest[:n], report) != nil {
		return nil, nil, false
	}
	return rest[n:], report, true
}

// storeInstrumented keeps a rewritten module. A failure costs time at the
// next start and nothing else.
func (e *Engine) storeInstrumented(name string, wasm []byte, report *instrument.Report) {
	if e.cacheDir == "" {
		return
	}
	if err := e.writeInstrumented(name, wasm, report); err != nil {
		e.log.Warn("instrumented module not cached", "error", err)
	}
}

func (e *Engine) writeInstrumented(name string, wasm []byte, report *instrument.Report) error {
	r, err := json.Marshal(report)
	if err != nil {
		return err
	}
	b := make([]byte, sha256.Size, cacheHeader+len(r)+len(wasm))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(r)))
	b = append(append(b, r...), wasm...)
	sum := sha256.Sum256(b[sha256.Size:])
	copy(b, sum[:])
	f, err := os.CreateTemp(e.instrumentedDir(), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), filepath.Join(e.instrumentedDir(), name))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// pruneCache removes the oldest files below dir until limit bytes are left.
func pruneCache(dir string, limit int64) error {
	type file struct {
		path string
		size int64
		time time.Time
	}
	var files []file
	total := int64(0)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		files = append(files, file{path, info.Size(), info.ModTime()})
		total += info.Size()
		return nil
	})
	if err != nil {
		return fmt.Errorf("walk: %w", err)
	}
	slices.SortFunc(files, func(a, b file) int { return a.time.Compare(b.time) })
	for _, f := range files {
		if total <= limit {
			break
		}
		if err := os.Remove(f.path); err != nil {
			return err
		}
		total -= f.size
	}
	return nil
}
