package sandbox

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sandbox/host"
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

// Engine compiles and runs functions.
type Engine struct{}

// New opens an engine.
func New(ctx context.Context, cfg Config) (*Engine, error) { return &Engine{}, nil }

// Close ends the engine. Pools must be closed before.
func (e *Engine) Close(ctx context.Context) error { return nil }

// Code is what a function is made of.
type Code struct {
	// Name is the function's name, for messages.
	Name string
	// Main is the file's name; its extension (.wasm, .js) decides the kind.
	Main   string
	Source []byte
}

// Setup is what a function's headgate_init may see.
type Setup struct {
	// Config holds the function's config values as JSON.
	Config map[string][]byte
	// Log receives what headgate_init logs; nil drops it.
	Log func(function.LogLine)
}

// Module is a compiled function with its clean state.
type Module struct{}

// Compile makes a Module of code: it is validated, instrumented, compiled
// into the cache and initialised once.
func (e *Engine) Compile(ctx context.Context, code Code, limits function.Limits, setup Setup) (*Module, error) {
	return nil, errors.ErrUnsupported
}

// Close releases the module. Its pools must be closed before.
func (m *Module) Close(ctx context.Context) error { return nil }

// PoolConfig bounds a Pool.
type PoolConfig struct {
	// Concurrency caps the invocations that run at once; 0 takes the limits'.
	Concurrency int
	// Idle is how long an unused instance stays; 0 takes the limits'.
	Idle time.Duration
}

// Pool holds the instances of one module.
type Pool struct{}

// NewPool makes a pool for m.
func (e *Engine) NewPool(m *Module, cfg PoolConfig) *Pool { return &Pool{} }

// Invoke runs one invocation in a clean instance. It never returns an error
// apart from the result's: when no instance may be made the outcome is Refused.
func (p *Pool) Invoke(ctx context.Context, calls *host.Calls) function.Result {
	return function.Result{Outcome: function.Refused, Error: "not available"}
}

// Close waits for running calls and releases the instances.
func (p *Pool) Close(ctx context.Context) error { return nil }

// PoolStats are the counters of one pool.
type PoolStats struct {
	Running, Idle       int
	Invocations         uint64
	ColdStarts, Retired uint64
	Refused, Evicted    uint64
	MemoryBytes         int64
}

// Stats returns the pool's counters.
func (p *Pool) Stats() PoolStats { return PoolStats{} }

// EngineStats are the counters of all pools together.
type EngineStats struct {
	Instances    int
	MemoryBytes  int64
	MemoryBudget int64
	Evicted      uint64
	Interpreter  bool
}

// Stats returns the engine's counters.
func (e *Engine) Stats() EngineStats { return EngineStats{} }
