package quickjs

import (
	"context"

	"github.com/tetratelabs/wazero/api"

	"github.com/headgate-io/headgate/sandbox/engine"
)

// Results of the glue's run and finish.
const (
	runDone    = 0
	runFailed  = 1
	runWaiting = 2
)

// Handle runs the handler on the current event and drives its promises until
// they settle. An error that the handler threw is an *engine.Exception.
func (g *Guest) Handle(ctx context.Context, failure func() string) error {
	status, err := g.enter(ctx, g.state.run)
	if err != nil {
		return err
	}
	// Jobs run even when the handler is done: what it did not wait for still
	// belongs to this event.
	if err := g.runJobs(ctx); err != nil {
		return err
	}
	if status == runWaiting {
		if status, err = g.enter(ctx, g.state.finish); err != nil {
			return err
		}
	}
	if status != runDone {
		return &engine.Exception{Text: failure()}
	}
	return nil
}

// enter calls a function of the glue without arguments.
func (g *Guest) enter(ctx context.Context, f uint64) (int32, error) {
	g.stack = [8]uint64{uint64(g.state.context), f, undefined, 0, 0}
	if err := g.outer.call.CallWithStack(ctx, g.stack[:]); err != nil {
		return 0, err
	}
	v := g.stack[0]
	if tag(v) == tagException {
		return 0, &engine.Exception{Text: "the engine failed while it handled the error of the script (out of memory or stack)"}
	}
	return int32(uint32(v)), nil
}

// runJobs runs promise jobs until none is left. A guest that makes jobs
// forever runs out of fuel.
func (g *Guest) runJobs(ctx context.Context) error {
	for {
		g.stack = [8]uint64{uint64(g.state.runtime), uint64(g.state.scratch)}
		if err := g.outer.pending.CallWithStack(ctx, g.stack[:]); err != nil {
			return err
		}
		if int32(uint32(g.stack[0])) <= 0 {
			return nil
		}
	}
}

// nestedCall calls an export from inside a host call. Its error ends the
// outer call too.
func (g *Guest) nestedCall(ctx context.Context, f api.Function, params ...uint64) uint64 {
	var stack [8]uint64
	copy(stack[:], params)
	if err := f.CallWithStack(ctx, stack[:]); err != nil {
		panic(err)
	}
	return stack[0]
}
