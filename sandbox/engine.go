package sandbox

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/headgate-io/headgate/sandbox/instrument"
)

// Config configures an Engine.
type Config struct {
	// CacheDir keeps instrumented modules and machine code between runs.
	CacheDir string
	// MemoryBudget bounds the memory of all instances and images together,
	// in bytes; 0 is 256 MiB.
	MemoryBudget int64
	// Interpreter forces wazero's interpreter, which is 20 to 60 times slower.
	Interpreter bool
	Logger      *slog.Logger
}

const defaultMemoryBudget = 256 << 20

// Engine compiles and runs functions. It may be used by any number of
// goroutines.
type Engine struct {
	log         *slog.Logger
	cacheDir    string
	interpreter bool
	slice       int64 // fuel between two yields
	initFuel    int64 // of an initialisation
	cache       wazero.CompilationCache
	runtime     wazero.Runtime
	budget      budget
	pages       *pageTable
	warnedCopy  atomic.Bool
	line        chan struct{} // holds the guest that gave way and does not run yet

	// mu guards what follows. Lock order: Module.mu, Engine.mu,
	// Pool.mu; eviction only tries the Module.mu of others.
	mu      sync.Mutex
	pools   []*Pool
	evicted uint64

	// compiling serialises compilation: it is the hungriest thing the
	// gateway does, and never urgent.
	compiling sync.Mutex
	scripts   map[*scriptKind]*scriptEngine // the script engines, once needed
	summed    time.Time                     // the newest change when all machine code had checksums

	scriptBytes atomic.Int64 // of what scripts start from
}

// compiled is a module's machine code and what is known of it. The script
// engine's is shared by every script.
type compiled struct {
	code   wazero.CompiledModule
	report *instrument.Report
	// kind says how a guest that is no script is run, by its export entry.
	kind  guestKind
	entry string
	// kernel is true of a guest that imports Extism's functions.
	kernel bool
}

// guestKind is how a guest that is no script gets its event.
type guestKind int

const (
	native  guestKind = iota // by the ABI
	plugin                   // as an Extism plug-in
	command                  // as a WASI command
)

// New opens an engine. Without a CacheDir nothing is kept between runs.
func New(ctx context.Context, cfg Config) (*Engine, error) {
	e := &Engine{log: cfg.Logger, cacheDir: cfg.CacheDir, interpreter: cfg.Interpreter || !compilerAvailable(), line: make(chan struct{}, 1), scripts: map[*scriptKind]*scriptEngine{}}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	e.budget.total = cfg.MemoryBudget
	if e.budget.total <= 0 {
		e.budget.total = defaultMemoryBudget
	}
	e.budget.evict = e.evictOne
	e.pages = openPageTable()
	if !e.pages.copyOnWrite {
		e.log.Info("large instances are restored by copying: no copy-on-write mappings here")
	}
	rc := wazero.NewRuntimeConfigCompiler()
	e.slice, e.initFuel = 200_000, initFuel
	if e.interpreter {
		rc = wazero.NewRuntimeConfigInterpreter()
		e.slice = 10_000
	}
	rc = rc.WithCoreFeatures(api.CoreFeaturesV2).WithDebugInfoEnabled(false)
	e.openCache()
	rc = rc.WithCompilationCache(e.cache)
	e.runtime = wazero.NewRuntimeWithConfig(ctx, rc)
	if err := e.addHostModules(ctx); err != nil {
		return nil, errors.Join(err, e.Close(ctx))
	}
	return e, nil
}

// compilerAvailable reports whether wazero has a compiler for this platform.
func compilerAvailable() bool {
	return slices.Contains([]string{"amd64", "arm64"}, runtime.GOARCH) &&
		slices.Contains([]string{"linux", "darwin", "freebsd", "netbsd", "windows"}, runtime.GOOS)
}

// openCache opens the on-disk caches. A gateway whose card does not take them
// works without: every start takes longer.
func (e *Engine) openCache() {
	e.cache = wazero.NewCompilationCache()
	if e.cacheDir == "" {
		return
	}
	cache, err := e.openCacheDir()
	if err != nil {
		e.log.Error("functions are compiled at every start: the module cache cannot be used: remove it, or make it writable for this user",
			"dir", e.cacheDir, "error", err)
		e.cacheDir = ""
		return
	}
	e.cache = cache
}

func (e *Engine) openCacheDir() (wazero.CompilationCache, error) {
	for _, dir := range []string{e.instrumentedDir(), e.machineCodeDir()} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
		if err := pruneCache(dir, maxCacheBytes); err != nil {
			e.log.Warn("module cache not pruned", "dir", dir, "error", err)
		}
	}
	if err := e.verifyMachineCode(); err != nil {
		return nil, err
	}
	return wazero.NewCompilationCacheWithDir(e.machineCodeDir())
}

func (e *Engine) instrumentedDir() string { return filepath.Join(e.cacheDir, "instrumented") }
func (e *Engine) machineCodeDir() string  { return filepath.Join(e.cacheDir, "machinecode") }

// Close ends the engine. Pools and modules must be closed before.
func (e *Engine) Close(ctx context.Context) error {
	for _, s := range e.scripts {
		s.base.close()
	}
	err := e.runtime.Close(ctx)
	return errors.Join(err, e.cache.Close(ctx), e.pages.close())
}

// EngineStats are the counters of all pools together.
type EngineStats struct {
	// Instances is how many are in memory, running or idle.
	Instances int
	// MemoryBytes is what instances and images hold of MemoryBudget.
	MemoryBytes  int64
	MemoryBudget int64
	// ScriptEngineBytes is what of MemoryBytes the script engines keep for
	// their functions to start from.
	ScriptEngineBytes int64
	// Evicted counts idle instances that made room for others.
	Evicted uint64
	// Interpreter is true where code is interpreted.
	Interpreter bool
}

// Stats returns the engine's counters.
func (e *Engine) Stats() EngineStats {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := EngineStats{MemoryBytes: e.budget.used.Load(), MemoryBudget: e.budget.total, Evicted: e.evicted, Interpreter: e.interpreter, ScriptEngineBytes: e.scriptBytes.Load()}
	for _, p := range e.pools {
		ps := p.Stats()
		s.Instances += ps.Running + ps.Idle
	}
	return s
}

// Trim frees every idle instance, and the images of functions that have none.
func (e *Engine) Trim() {
	for e.evictOne() {
	}
}

// evictOne frees the instance that has been idle longest, or the image of a
// function that has no instance. It reports false when there is neither.
func (e *Engine) evictOne() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	var oldest *Pool
	var since time.Time
	for _, p := range e.pools {
		if t, ok := p.oldestIdle(); ok && (oldest == nil || t.Before(since)) {
			oldest, since = p, t
		}
	}
	if oldest != nil && oldest.evict() {
		e.evicted++
		return true
	}
	for _, p := range e.pools {
		if p.module.dropImage() {
			return true
		}
	}
	return false
}

// digest names a module in the caches.
func digest(source []byte, o instrument.Options) string {
	return fmt.Sprintf("%x-%s-%t-%d", sha256.Sum256(source), instrument.Version, o.GuardStack, o.MemoryPages)
}
