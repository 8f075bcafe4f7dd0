package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/tetratelabs/wazero"
)

// wazero runs the machine code that it finds in its cache, and checks only a
// part of it: where a card has damaged the rest, calls would go anywhere; where
// it sees the damage it refuses the module, at every start. So each file gets a
// checksum beside it once it is written, and what does not agree with its own
// is removed before wazero sees it, to be compiled again.

const (
	sumSuffix  = ".sum"
	tempSuffix = ".tmp" // of a file that wazero has not finished
)

// verifyMachineCode removes what is damaged, unfinished or without a checksum.
func (e *Engine) verifyMachineCode() error {
	removed := 0
	err := eachFile(e.machineCodeDir(), func(path string) error {
		if code, ok := strings.CutSuffix(path, sumSuffix); ok {
			if _, err := os.Lstat(code); !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			return os.Remove(path)
		}
		sum, err := sumOf(path)
		if err == nil && !strings.HasSuffix(path, tempSuffix) {
			if kept, err := os.ReadFile(path + sumSuffix); err == nil && string(kept) == sum {
				return nil
			}
		}
		removed++
		return os.Remove(path)
	})
	if removed > 0 {
		e.log.Warn("machine code in the cache was damaged or unfinished: it is compiled again", "dir", e.machineCodeDir(), "files", removed)
	}
	return err
}

// sumMachineCode writes the checksums of new files. One that fails costs time
// at the next start and nothing else. The caller holds compiling.
func (e *Engine) sumMachineCode() {
	changed, err := newestChange(e.machineCodeDir())
	if err != nil || changed.Equal(e.summed) {
		return
	}
	err = eachFile(e.machineCodeDir(), func(path string) error {
		if strings.HasSuffix(path, sumSuffix) || strings.HasSuffix(path, tempSuffix) {
			return nil
		}
		if _, err := os.Lstat(path + sumSuffix); err == nil {
			return nil
		}
		sum, err := sumOf(path)
		if err != nil {
			return err
		}
		return os.WriteFile(path+sumSuffix, []byte(sum), 0o600)
	})
	if err != nil {
		e.log.Warn("machine code has no checksum: it is compiled again at the next start", "error", err)
		return
	}
	e.summed, _ = newestChange(e.machineCodeDir())
}

// newestChange is when something was last added to dir or a folder in it.
func newestChange(dir string) (newest time.Time, err error) {
	folders, err := os.ReadDir(dir)
	if err != nil {
		return newest, err
	}
	for _, folder := range folders {
		info, err := folder.Info()
		if err != nil {
			return newest, err
		}
		if info.ModTime().After(newest) {
			newest = info.ModTime()
		}
	}
	return newest, nil
}

// compileModule has wazero compile a module. What it can compile but not keep,
// or kept and cannot read any more, is no reason to go without the function:
// the second time it is in memory, or compiled anew.
func (e *Engine) compileModule(ctx context.Context, wasm []byte) (wazero.CompiledModule, error) {
	code, err := e.runtime.CompileModule(ctx, wasm)
	if err != nil && e.cacheDir != "" {
		e.log.Warn("machine code not cached", "error", err)
		if err := e.verifyMachineCode(); err != nil {
			e.log.Warn("machine code not verified", "error", err)
		}
		code, err = e.runtime.CompileModule(ctx, wasm)
	}
	if err != nil {
		return nil, fmt.Errorf("compile: %w", err)
	}
	if e.cacheDir != "" {
		e.sumMachineCode()
	}
	return code, nil
}

func eachFile(dir string, fn func(path string) error) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		return fn(path)
	})
}

func sumOf(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := xxhash.New()
	n, err := io.Copy(h, f)
	return fmt.Sprintf("%d %016x\n", n, h.Sum64()), err
}
