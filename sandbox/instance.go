package sandbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/internal/fault"
	"github.com/headgate-io/headgate/sandbox/abi"
	"github.com/headgate-io/headgate/sandbox/engine"
	"github.com/headgate-io/headgate/sandbox/extism"
	"github.com/headgate-io/headgate/sandbox/host"
	"github.com/headgate-io/headgate/sandbox/instrument"
)

// instance is one running copy of a module. One goroutine uses it at a time.
type instance struct {
	module *Module
	mod    api.Module
	linear api.Memory
	mem    *memory
	img    *image // nil when the instance serves one event only

	fuel, floor, stack api.MutableGlobal
	globals            []api.MutableGlobal

	handle api.Function   // of a guest that is no script
	script engine.Guest   // of a script
	kernel *extism.Kernel // of a guest that imports Extism's functions

	// of a WASI command
	stdin  int // how much of the input was read
	stdout []byte

	ctx      callContext
	calls    *host.Calls
	deadline time.Time
	starting bool      // it runs what comes before the first event
	slice    int64     // fuel until the next yield
	resumed  time.Time // when the last yield returned; zero before the first
	results  [2]uint64
	lastUsed time.Time
}

// callContext carries the instance to the host calls. wazero hands the
// context of a call through as it is, so a type assertion finds it again.
type callContext struct {
	context.Context
	in *instance
}

// Value answers for nothing: wazero asks at every call for options that are
// not used here.
func (*callContext) Value(any) any { return nil }

func instanceOf(ctx context.Context) *instance { return ctx.(*callContext).in }

// instantiate makes an instance, from img where there is one.
func (m *Module) instantiate(ctx context.Context, img *image) (in *instance, err error) {
	alloc := &allocator{module: m}
	if img != nil {
		alloc.initial = img.size
	}
	in = &instance{module: m, img: img}
	in.ctx = callContext{Context: context.WithoutCancel(ctx), in: in}
	defer func() {
		// wazero panics when the allocator gives no memory.
		if r := recover(); r != nil || err != nil {
			if alloc.made != nil && in.mod == nil {
				alloc.made.Free()
			} else if in.mod != nil {
				in.img = nil
				in.close()
			}
			in, err = nil, errors.Join(err, alloc.err)
			if err == nil {
				err = errNoBudget
			}
		}
	}()
	actx := experimental.WithMemoryAllocator(context.WithoutCancel(ctx), alloc)
	in.mod, err = m.engine.runtime.InstantiateModule(actx, m.code.code, wazero.NewModuleConfig().WithName("").WithStartFunctions())
	if err != nil {
		return nil, fmt.Errorf("instantiate: %w", err)
	}
	in.mem, in.linear = alloc.made, in.mod.Memory()
	if m.code.kernel {
		in.kernel = extism.NewKernel((*kernelLimits)(in))
	}
	if err = in.findGlobals(); err != nil || img == nil {
		return in, err
	}
	if err = img.attach(in.mem); err != nil {
		return nil, err
	}
	in.restoreGlobals()
	return in, nil
}

func (in *instance) findGlobals() error {
	var missing error
	find := func(name string) api.MutableGlobal {
		g, ok := in.mod.ExportedGlobal(name).(api.MutableGlobal)
		if !ok {
			missing = fmt.Errorf("global %s is missing", name)
		}
		return g
	}
	in.fuel, in.floor, in.stack = find(instrument.FuelExport), find(instrument.FloorExport), find(instrument.StackExport)
	for _, name := range in.module.code.report.Globals {
		in.globals = append(in.globals, find(name))
	}
	return missing
}

// values are the guest's mutable globals.
func (in *instance) values() []uint64 {
	values := make([]uint64, len(in.globals))
	for i, g := range in.globals {
		values[i] = g.Get()
	}
	return values
}

// boot makes an instance from scratch and initialises it.
func (m *Module) boot(ctx context.Context) (*instance, error) {
	var base *image
	if m.script != nil {
		if err := m.script.room(m.limits); err != nil {
			return nil, err
		}
		base = m.script.engine.base
	}
	in, err := m.instantiate(ctx, base)
	if err != nil {
		return nil, err
	}
	in.img = nil // it is no clean state yet
	if err := in.initialiseWith(ctx, in.runInit); err != nil {
		in.close()
		return nil, err
	}
	return in, nil
}

// initialiseWith runs what comes before the first event with fuel and a
// deadline.
func (in *instance) initialiseWith(ctx context.Context, run func() error) error {
	var calls host.Calls
	calls.ResetInit(in.module.grant)
	in.starting = true
	in.begin(ctx, &calls, in.module.engine.initFuel, time.Now().Add(initTimeout))
	err := run()
	in.starting, in.calls = false, nil
	if in.kernel != nil {
		in.kernel.Reset() // handles of the initialisation are none of an event
	}
	calls.Finish()
	if in.module.setup.Log != nil {
		for _, line := range calls.Logs() {
			in.module.setup.Log(line)
		}
	}
	return err
}

// runInit makes the instance ready for events: of a script its top level runs,
// of others the start function, _initialize and headgate_init.
func (in *instance) runInit() error {
	if in.module.script != nil {
		return in.loadScript()
	}
	steps := []string{instrument.StartExport, abi.ExportInitialize, abi.ExportInit}
	switch in.module.code.kind {
	case plugin:
		steps = in.pluginSteps()
	case command:
		steps = steps[:1]
	}
	if err := in.runSteps(steps...); err != nil {
		return err
	}
	return in.bind(nil)
}

// runSteps calls those of the exports that are there.
func (in *instance) runSteps(names ...string) error {
	for _, name := range names {
		f := in.mod.ExportedFunction(name)
		if f == nil {
			continue
		}
		in.results = [2]uint64{}
		if err := f.CallWithStack(&in.ctx, in.results[:]); err != nil {
			_, reason, _ := in.explain(err)
			return fmt.Errorf("%s: %s%s", name, reason, in.lastWords())
		}
		if name == abi.ExportInit && int32(in.results[0]) != 0 {
			return fmt.Errorf("%s returned %d: %s", name, int32(in.results[0]), in.calls.Failure())
		}
	}
	return nil
}

// lastWords is what a guest wrote to standard error before it ended.
func (in *instance) lastWords() string {
	in.calls.Finish()
	for _, l := range in.calls.Logs() {
		if l.Level >= function.Warn {
			return ": " + l.Text
		}
	}
	return ""
}

// bind finds the entry points.
func (in *instance) bind(booted engine.State) error {
	if in.module.script != nil {
		in.script = booted.Bind(in.mod)
		return nil
	}
	if in.handle = in.mod.ExportedFunction(in.module.code.entry); in.handle == nil {
		return fmt.Errorf("export %s is missing", in.module.code.entry)
	}
	return nil
}

// begin arms the instance for a call.
func (in *instance) begin(ctx context.Context, calls *host.Calls, fuel int64, deadline time.Time) {
	in.ctx.Context, in.calls, in.deadline = ctx, calls, deadline
	in.fuel.Set(uint64(fuel))
	in.slice, in.resumed = in.module.engine.slice, time.Time{}
	in.floor.Set(uint64(max(fuel-in.slice, 0)))
	in.stack.Set(uint64(in.module.stackWeight()))
	in.stdin, in.stdout = 0, in.stdout[:0]
	if in.kernel != nil {
		in.kernel.Begin(ctx, calls)
	}
}

// run handles one event. It reports whether the instance is fit for another.
func (in *instance) run(ctx context.Context, calls *host.Calls) (r function.Result, fit bool) {
	limits := &in.module.limits
	fuel := int64(min(uint64(limits.Fuel), 1<<62))
	start := time.Now()
	deadline := start.Add(time.Duration(limits.Timeout))
	if d := calls.Deadline(); !d.IsZero() && d.Before(deadline) {
		deadline = d
	}
	calls.Arm(deadline)
	in.begin(ctx, calls, fuel, deadline)
	var err error
	failed := false
	if in.script != nil {
		err = in.script.Handle(&in.ctx, calls.Failure)
	} else {
		in.results[0] = 0
		err = in.handle.CallWithStack(&in.ctx, in.results[:])
		failed = err == nil && int32(in.results[0]) != 0
	}
	in.lastUsed = time.Now()
	r.Duration = in.lastUsed.Sub(start)
	r.Fuel = uint64(fuel - int64(in.fuel.Get()))
	r.MemoryBytes = in.mem.size + in.mem.outside
	fit = true
	switch {
	case in.module.code.kind == command:
		r.Outcome, r.Error, fit = in.ended(err)
	case in.module.code.kind == plugin:
		r.Outcome, r.Error, fit = in.pluginEnded(err)
	case err != nil:
		r.Outcome, r.Error, fit = in.explain(err)
	case failed:
		r.Outcome, r.Error = in.failure()
	}
	r.Error = calls.Redact(r.Error)
	calls.Finish()
	if r.Outcome == function.OK {
		r.Output = calls.Output()
	}
	if cap(in.stdout) > maxKeptOutput {
		in.stdout = nil
	}
	in.calls, in.ctx.Context = nil, context.Background()
	return r, fit
}

// failure explains a non-zero return.
func (in *instance) failure() (function.Outcome, string) {
	text := in.calls.Failure()
	if text == "" {
		text = fmt.Sprintf("%s returned %d without an error text", in.module.code.entry, int32(in.results[0]))
	}
	return in.orMemory(function.Failed), in.orMemoryText(text)
}

// orMemory tells a guest that gave up because it got no memory from one that
// failed for its own reasons.
func (in *instance) orMemory(o function.Outcome) function.Outcome {
	if in.mem.denied {
		return function.OutOfMemory
	}
	return o
}

func (in *instance) orMemoryText(text string) string {
	if in.mem.denied {
		return fmt.Sprintf("out of memory (limits.memory is %s): %s", in.module.limits.Memory, text)
	}
	return text
}

// explain turns the error of a call into an outcome and words, and says
// whether restoring the memory makes the instance good as new.
func (in *instance) explain(err error) (o function.Outcome, text string, fit bool) {
	if s, ok := asStop(err); ok {
		if s.exit {
			return in.orMemory(s.outcome), in.orMemoryText(s.reason), false
		}
		return s.outcome, s.reason, true
	}
	var thrown *engine.Exception
	if errors.As(err, &thrown) {
		return in.orMemory(function.Failed), in.orMemoryText(thrown.Error()), true
	}
	if in.script != nil && in.script.Overflowed() {
		return function.OutOfStack, fmt.Sprintf("out of stack: calls nest deeper than %d KiB of stack allow", in.module.script.kind.stackBytes>>10), false
	}
	if int32(uint32(in.stack.Get())) < 0 {
		return function.OutOfStack, fmt.Sprintf("out of stack: calls nest deeper than %d KiB of stack allow: %s", in.module.stackWeight()>>10, trapText(err)), false
	}
	return in.orMemory(function.Trapped), in.orMemoryText(trapText(err) + in.lastWords()), true
}

// restore gives the instance its clean state back, or reports false.
func (in *instance) restore() bool {
	if fault.On(fault.SkipRestore) {
		return true
	}
	if in.kernel != nil && !in.kernel.Reset() {
		return false
	}
	if in.img == nil || in.mem.size != in.img.size || in.img.restore(in.mem) != nil {
		return false
	}
	in.restoreGlobals()
	return true
}

func (in *instance) restoreGlobals() {
	for i, v := range in.img.globals {
		in.globals[i].Set(v)
	}
}

// close releases the instance and its share of the image.
func (in *instance) close() {
	_ = in.mod.Close(context.Background()) // there is nothing in it that could fail
	if in.img != nil {
		in.module.instances.Add(-1)
		in.img = nil
	}
}
