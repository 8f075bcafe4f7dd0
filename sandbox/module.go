package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sandbox/abi"
	"github.com/headgate-io/headgate/sandbox/engine"
	"github.com/headgate-io/headgate/sandbox/extism"
	"github.com/headgate-io/headgate/sandbox/host"
	"github.com/headgate-io/headgate/sandbox/instrument"
)

// Code is what a function is made of.
type Code struct {
	// Name is the function's name, for messages.
	Name string
	// Main is the file's name; its extension (.wasm, .js, .mjs, .py) decides
	// the kind.
	Main string
	// Files are the function's files by their name, Main among them.
	Files map[string][]byte
	// Export names the function of an Extism plug-in that handles events; empty
	// finds the one there is.
	Export string
}

// Setup is what a function's headgate_init may see.
type Setup struct {
	// Config holds the function's config values as JSON.
	Config map[string][]byte
	// Log receives what headgate_init logs; nil drops it. It is called again
	// whenever the clean state is rebuilt after the function was idle.
	Log func(function.LogLine)
}

// Module is a compiled function with its clean state.
type Module struct {
	engine *Engine
	name   string
	limits function.Limits
	setup  Setup
	grant  *host.Grant // of headgate_init
	code   *compiled
	owned  bool    // code is this module's alone
	script *script // nil of a native guest

	// mu guards the clean state. It is held while an image is made, so that
	// callers who need one at once make it once.
	mu     sync.Mutex
	img    *image
	booted engine.State // where the script engine left things in img
	// instances counts the users of img; it rises under mu only.
	instances atomic.Int64
	// memory is what the linear memories of all instances take.
	memory atomic.Int64
}

// Compile makes a Module of code: it is validated, instrumented, compiled
// into the cache and initialised once. Its errors name the import, export,
// section or line to blame and say what to do.
func (e *Engine) Compile(ctx context.Context, code Code, limits function.Limits, setup Setup) (*Module, error) {
	limits = limits.WithDefaults()
	m := &Module{
		engine: e, name: code.Name, limits: limits, setup: setup,
		grant: host.NewGrant(code.Name, function.Permissions{}, limits, setup.Config, nil),
	}
	e.compiling.Lock()
	err := m.compile(ctx, code)
	e.compiling.Unlock()
	if err != nil {
		return nil, fmt.Errorf("function %s: %s: %w", code.Name, code.Main, err)
	}
	in, _, err := m.newInstance(ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("function %s: %s: %w", code.Name, code.Main, err), m.Close(ctx))
	}
	in.close()
	return m, nil
}

// stackWeight is how deep the module's calls may nest. A script engine
// nests several of its own for one of a script's, and has a guarded stack of
// its own besides.
func (m *Module) stackWeight() uint32 {
	if m.script != nil {
		return 4 * instrument.StackWeight
	}
	return instrument.StackWeight
}

func (m *Module) compile(ctx context.Context, code Code) (err error) {
	source, ok := code.Files[code.Main]
	if !ok {
		return errors.New("it is not among the function's files")
	}
	ext := strings.ToLower(path.Ext(code.Main))
	switch kind := scriptKinds[ext]; {
	case kind != nil && code.Export != "":
		return fmt.Errorf("export %s: a script's handler is what it exports: export is for Extism plug-ins", code.Export)
	case kind != nil:
		m.script, err = newScript(kind, code, m.limits)
		if err != nil {
			return err
		}
		if m.script.engine, err = m.engine.scriptEngine(ctx, kind); err != nil {
			return err
		}
		m.code = m.script.engine.compiled
		return nil
	case ext == ".wasm" || bytes.HasPrefix(source, []byte("\x00asm")):
		m.owned = true
		m.code, err = m.engine.compileNative(ctx, source, m.limits, code.Export)
		return err
	default:
		return fmt.Errorf("cannot tell what %q is: a function is a .wasm module, or a .js or .py script (sources of other languages are built to .wasm first)", ext)
	}
}

// compileNative compiles a module that is no script.
func (e *Engine) compileNative(ctx context.Context, source []byte, limits function.Limits, export string) (*compiled, error) {
	c, err := e.compileWasm(ctx, source, instrument.Options{})
	if err != nil {
		return nil, err
	}
	if err = checkNative(c, limits, export); err != nil {
		return nil, errors.Join(err, c.code.Close(ctx))
	}
	return c, nil
}

// compileWasm validates, instruments and compiles a module.
func (e *Engine) compileWasm(ctx context.Context, source []byte, o instrument.Options) (*compiled, error) {
	name := digest(source, o)
	wasm, report, ok := e.loadInstrumented(name)
	if !ok {
		var err error
		wasm, report, err = instrument.Instrument(source, o, func(b []byte) error { return validate(ctx, b) })
		if err != nil {
			return nil, err
		}
		e.storeInstrumented(name, wasm, report)
	}
	code, err := e.compileModule(ctx, wasm)
	if err != nil {
		return nil, err
	}
	return &compiled{code: code, report: report}, nil
}

// validate asks wazero for its verdict on the original. The interpreter's
// front end is the same as the compiler's and makes no machine code.
func validate(ctx context.Context, wasm []byte) error {
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter().
		WithCoreFeatures(api.CoreFeaturesV2).WithDebugInfoEnabled(false))
	_, err := r.CompileModule(ctx, wasm)
	return errors.Join(err, r.Close(ctx))
}

// checkNative finds out what a module is, and refuses one that could not be
// run, before it is.
func checkNative(c *compiled, limits function.Limits, export string) error {
	native := c.code.ExportedFunctions()[abi.ExportMarker] != nil
	c.kernel = importsFrom(c.report, extism.Module) || importsFrom(c.report, extism.UserModule)
	var err error
	switch {
	case export != "" && (native || !c.kernel):
		err = &instrument.Error{Where: "export " + export, Problem: "the manifest's export is for Extism plug-ins: this is none, and there is one way into it"}
	case native:
		c.entry = abi.ExportHandle
		err = checkExports(c)
	case c.kernel:
		if err = checkImports(c); err == nil {
			err = checkPlugin(c, export)
		}
	case isCommand(c):
		c.kind, c.entry = command, commandStart
		err = checkCommand(c)
	default:
		err = &instrument.Error{Where: "export " + abi.ExportMarker, Problem: markerHint(c.report)}
	}
	if err != nil {
		return err
	}
	return errors.Join(checkMemory(c, limits), checkImports(c))
}

// checkExports wants of a native guest what the ABI does.
func checkExports(c *compiled) error {
	exports := c.code.ExportedFunctions()
	checks := []struct {
		name    string
		results []api.ValueType
		must    bool
	}{
		{abi.ExportMarker, nil, true},
		{abi.ExportHandle, []api.ValueType{api.ValueTypeI32}, true},
		{abi.ExportInit, []api.ValueType{api.ValueTypeI32}, false},
		{abi.ExportInitialize, nil, false},
	}
	for _, x := range checks {
		f := exports[x.name]
		if f == nil && !x.must {
			continue
		}
		if f == nil {
			return &instrument.Error{Where: "export " + x.name, Problem: "missing: the function that handles events must be exported under this name"}
		}
		if len(f.ParamTypes()) != 0 || !slices.Equal(f.ResultTypes(), x.results) {
			return &instrument.Error{Where: "export " + x.name, Problem: fmt.Sprintf("has the wrong type: it takes nothing and returns %d values of type i32", len(x.results))}
		}
	}
	return nil
}

func importsFrom(r *instrument.Report, module string) bool {
	return slices.ContainsFunc(r.Imports, func(i instrument.Import) bool { return i.Module == module })
}

func checkMemory(c *compiled, limits function.Limits) error {
	if !c.report.HasMemory {
		return &instrument.Error{Where: "export memory", Problem: "missing: host calls read and write the guest's memory"}
	}
	if need := uint64(c.report.MemoryPages) * pageSize; need > uint64(limits.Memory) {
		return &instrument.Error{Where: "memory section", Problem: fmt.Sprintf("the module starts with %s of memory, limits.memory allows %s: raise it",
			function.ByteSize(need), limits.Memory)}
	}
	return nil
}

func markerHint(r *instrument.Report) string {
	const missing = "missing: this is not a Headgate function; build it with the Headgate SDK of its language (its headgate_abi_v1 export says which ABI it speaks)"
	for _, imp := range r.Imports {
		switch {
		case imp.Module == "env" && strings.HasPrefix(imp.Name, "extism_"):
			return "missing: this Extism plug-in was built with a PDK older than 1.0; build it with a newer one"
		case imp.Module == "env":
			return missing + fmt.Sprintf("; it imports env.%s, so a library it was linked with is missing", imp.Name)
		}
	}
	return missing
}

// checkImports compares every import with the host calls there are.
func checkImports(c *compiled) error {
	signatures := hostSignatures()
	for _, f := range c.code.ImportedFunctions() {
		module, name, _ := f.Import()
		where := fmt.Sprintf("import %s.%s", module, name)
		known := signatures[module]
		switch sig, ok := known[name]; {
		case module == instrument.HostModule:
		case module == extism.UserModule:
			return &instrument.Error{Where: where, Problem: userHint}
		case known == nil:
			return &instrument.Error{Where: where, Problem: fmt.Sprintf("there is no host module %q: a function may import from %s, %s and %s", module, abi.Module, extism.Module, wasiModule)}
		case !ok:
			return &instrument.Error{Where: where, Problem: "this gateway has no such host call: update the gateway, or build with an older SDK"}
		case !slices.Equal(sig.params, f.ParamTypes()) || !slices.Equal(sig.results, f.ResultTypes()):
			return &instrument.Error{Where: where, Problem: fmt.Sprintf("declared with the wrong type: it is %s", sig)}
		}
	}
	return nil
}

type signature struct{ params, results []api.ValueType }

// String writes the signature as (i32, i32) -> (i32).
func (s signature) String() string {
	list := func(types []api.ValueType) string {
		names := make([]string, len(types))
		for i, t := range types {
			names[i] = api.ValueTypeName(t)
		}
		return "(" + strings.Join(names, ", ") + ")"
	}
	return list(s.params) + " -> " + list(s.results)
}

// hostSignatures is every host call by module and name.
func hostSignatures() map[string]map[string]signature {
	all := map[string]map[string]signature{abi.Module: {}, extism.Module: {}, wasiModule: {}}
	for _, c := range abi.Calls {
		all[abi.Module][c.Name] = signature{valueTypes(c.Params), valueTypes(c.Results)}
	}
	for _, c := range wasiCalls {
		all[wasiModule][c.name] = signature{c.params, []api.ValueType{api.ValueTypeI32}}
	}
	for i := range extism.Functions {
		f := &extism.Functions[i]
		all[extism.Module][f.Name] = signature{types(f.Params), types(f.Results)}
	}
	all[wasiModule]["proc_exit"] = signature{params: []api.ValueType{api.ValueTypeI32}}
	return all
}

func valueTypes(types []abi.Type) []api.ValueType {
	var out []api.ValueType
	for _, t := range types {
		out = append(out, api.ValueType(t))
	}
	return out
}

// Init of a fresh instance has a budget of its own: it may do more than one
// event does, and it runs rarely.
const (
	initFuel    = 2_000_000_000
	initTimeout = 10 * time.Second
)

// newInstance returns a clean instance and how it was made: fresh is true
// when its initialisation ran.
func (m *Module) newInstance(ctx context.Context) (in *instance, fresh bool, err error) {
	if m.code.report.MutatesTables {
		// A restore would miss what was written to tables and which segments
		// were dropped, so every event gets an instance from scratch.
		in, err = m.boot(ctx)
		return in, true, err
	}
	m.mu.Lock()
	if m.img == nil {
		in, err = m.boot(ctx)
		if err == nil {
			err = m.snapshot(in)
		}
		m.mu.Unlock()
		return in, true, err
	}
	m.instances.Add(1)
	img, booted := m.img, m.booted
	m.mu.Unlock()
	in, err = m.instantiate(ctx, img)
	if err != nil {
		m.instances.Add(-1)
		return nil, false, err
	}
	if err = in.bind(booted); err != nil {
		in.close()
		return nil, false, err
	}
	return in, false, nil
}

// snapshot takes the image of a booted instance and hands it the image. The
// caller holds mu.
func (m *Module) snapshot(in *instance) error {
	img, err := newImage(m.engine, in.mem, in.values())
	if err != nil {
		in.close()
		return err
	}
	if err := img.attach(in.mem); err != nil {
		img.close()
		in.close()
		return err
	}
	m.img, in.img = img, img
	m.instances.Add(1)
	if in.script != nil {
		m.booted = in.script.State()
	}
	return nil
}

// dropImage frees the clean state when nobody uses it or makes it.
func (m *Module) dropImage() bool {
	if !m.mu.TryLock() {
		return false
	}
	defer m.mu.Unlock()
	if m.img == nil || m.instances.Load() > 0 {
		return false
	}
	m.img.close()
	m.img, m.booted = nil, nil
	return true
}

// Close releases the module. Its pools must be closed before.
func (m *Module) Close(ctx context.Context) error {
	m.dropImage()
	if m.owned && m.code != nil {
		return m.code.code.Close(ctx)
	}
	return nil
}
