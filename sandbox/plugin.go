package sandbox

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tetratelabs/wazero/api"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sandbox/abi"
	"github.com/headgate-io/headgate/sandbox/extism"
	"github.com/headgate-io/headgate/sandbox/host"
	"github.com/headgate-io/headgate/sandbox/instrument"
)

// An Extism plug-in imports extism:host/env: the event's data is its input, its
// output is the result, its variables are the function's state. It may import
// headgate_v1 besides, for what Extism does not have. Other guests may import
// extism:host/env too.

const userHint = "this plug-in wants functions of its host's own, which a gateway has none of: what it offers besides Extism's are the imports of " + abi.Module

// addExtism defines what plug-ins import.
func (e *Engine) addExtism(ctx context.Context) error {
	b := e.runtime.NewHostModuleBuilder(extism.Module)
	for i := range extism.Functions {
		f := &extism.Functions[i]
		b.NewFunctionBuilder().WithGoFunction(extismFunction(f), types(f.Params), types(f.Results)).Export(f.Name)
	}
	if _, err := b.Instantiate(ctx); err != nil {
		return fmt.Errorf("define %s: %w", extism.Module, err)
	}
	return nil
}

// extismFunction wraps a function of Extism's with the rules of all host calls.
func extismFunction(f *extism.Function) api.GoFunc {
	call, _ := abi.Find(f.Like)
	return func(ctx context.Context, s []uint64) {
		in := instanceOf(ctx)
		in.burn(f.Fuel)
		if call != nil {
			in.calls.Enter(call)
			in.abortIfAsked()
		}
		err := f.Call(in.kernel, s)
		if call != nil {
			in.abortIfAsked()
		}
		if err != nil {
			var a *host.Abort
			if !errors.As(err, &a) {
				a = &host.Abort{Outcome: function.Failed, Reason: err.Error()}
			}
			panic(&stop{outcome: a.Outcome, reason: a.Reason})
		}
		if f.Waits {
			in.burn(hostStateFuel)
			in.checkTime()
		}
	}
}

// kernelLimits is an instance as its Extism kernel sees it.
type kernelLimits instance

var _ extism.Limits = (*kernelLimits)(nil)

// Charge takes fuel.
func (l *kernelLimits) Charge(fuel int64) { (*instance)(l).burn(fuel) }

// Reserve admits shared memory within the function's limit and the gateway's
// budget.
func (l *kernelLimits) Reserve(bytes uint64) bool { return l.mem.reserveOutside(bytes) }

// checkPlugin finds the export of a plug-in that handles events.
func checkPlugin(c *compiled, export string) error {
	c.kind = plugin
	fits := pluginExports(c)
	switch {
	case export != "":
		if !slices.Contains(fits, export) && (export != commandStart || !isStart(c)) {
			return &instrument.Error{Where: "export " + export, Problem: "the plug-in has no such function that takes nothing and returns nothing or an i32; it has " + listOf(fits)}
		}
		c.entry = export
	case slices.Contains(fits, abi.ExportPluginHandle):
		c.entry = abi.ExportPluginHandle
	case len(fits) == 1:
		c.entry = fits[0]
	case len(fits) > 1:
		return &instrument.Error{Where: "exports", Problem: fmt.Sprintf("this Extism plug-in has several functions: say in the manifest which one handles events (export: %s), of %s", fits[0], listOf(fits))}
	case isStart(c):
		c.entry = commandStart
	default:
		return &instrument.Error{Where: "exports", Problem: "this Extism plug-in exports no function that takes nothing and returns nothing or an i32"}
	}
	return nil
}

func listOf(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// isStart reports whether a plug-in has a main.
func isStart(c *compiled) bool {
	f := c.code.ExportedFunctions()[commandStart]
	return f != nil && len(f.ParamTypes()) == 0 && len(f.ResultTypes()) == 0
}

// pluginExports are the exports that could handle an event, by name; those that
// toolchains add are none.
func pluginExports(c *compiled) []string {
	exports := c.code.ExportedFunctions()
	return slices.DeleteFunc(slices.Sorted(maps.Keys(exports)), func(name string) bool {
		f := exports[name]
		results := f.ResultTypes()
		return len(f.ParamTypes()) != 0 || len(results) > 1 || len(results) == 1 && results[0] != api.ValueTypeI32 ||
			!slices.Contains(c.report.Exports, name) ||
			strings.HasPrefix(name, "_") || strings.HasPrefix(name, "hs_") || strings.HasPrefix(name, "asyncify_")
	})
}

// pluginSteps is how a plug-in is initialised: as Extism does it. One with a
// main starts anew for every event.
func (in *instance) pluginSteps() []string {
	steps := []string{instrument.StartExport}
	if in.module.code.entry == commandStart {
		return steps
	}
	if in.mod.ExportedFunction(abi.ExportInitialize) != nil {
		steps = append(steps, abi.ExportInitialize)
	} else {
		steps = append(steps, "__wasm_call_ctors")
	}
	return append(steps, "hs_init") // of Haskell's runtime: (argc, argv), both 0
}

// pluginEnded turns the end of a plug-in into the outcome of its event.
func (in *instance) pluginEnded(err error) (function.Outcome, string, bool) {
	s, exited := asStop(err)
	exited = exited && s.exit
	switch {
	case s != nil && !exited && s.outcome == function.Trapped:
		// Few plug-ins look whether they were given the memory they asked for.
		return in.orMemory(s.outcome), in.orMemoryText(s.reason), true
	case err != nil && !exited:
		return in.explain(err)
	case exited && s.code != 0:
		text := in.calls.Failure()
		if text == "" {
			text = fmt.Sprintf("the plug-in exited with code %d%s", s.code, in.lastWords())
		}
		return in.orMemory(function.Failed), in.orMemoryText(text), true
	case in.kernel.Failed() || !exited && int32(in.results[0]) != 0:
		o, text := in.failure()
		return o, text, true
	}
	in.calls.SetOutput(in.kernel.Output())
	if a := in.calls.Aborted(); a != nil {
		return a.Outcome, a.Reason, true
	}
	return function.OK, "", true
}
