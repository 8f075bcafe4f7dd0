package sandbox

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/tetratelabs/wazero/api"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sandbox/abi"
	"github.com/headgate-io/headgate/sandbox/instrument"
)

// Fuel that a host call costs: as much as the instructions it stands for.
const (
	hostCallFuel  = 200
	hostStateFuel = 2000
)

// addHostModules defines what guests import.
func (e *Engine) addHostModules(ctx context.Context) error {
	b := e.runtime.NewHostModuleBuilder(abi.Module)
	for i := range abi.Calls {
		call := &abi.Calls[i]
		b.NewFunctionBuilder().WithGoFunction(hostFunction(call), valueTypes(call.Params), valueTypes(call.Results)).Export(call.Name)
	}
	if _, err := b.Instantiate(ctx); err != nil {
		return fmt.Errorf("define %s: %w", abi.Module, err)
	}
	yield := api.GoFunc(func(ctx context.Context, _ []uint64) { instanceOf(ctx).yield() })
	fill := api.GoFunc(func(ctx context.Context, s []uint64) { instanceOf(ctx).fill(s[0], byte(s[1]), s[2]) })
	move := api.GoFunc(func(ctx context.Context, s []uint64) { instanceOf(ctx).move(s[0], s[1], s[2]) })
	three := types("iii")
	if _, err := e.runtime.NewHostModuleBuilder(instrument.HostModule).
		NewFunctionBuilder().WithGoFunction(yield, nil, nil).Export(instrument.YieldName).
		NewFunctionBuilder().WithGoFunction(fill, three, nil).Export(instrument.FillName).
		NewFunctionBuilder().WithGoFunction(move, three, nil).Export(instrument.MoveName).Instantiate(ctx); err != nil {
		return fmt.Errorf("define %s: %w", instrument.HostModule, err)
	}
	if err := e.addExtism(ctx); err != nil {
		return err
	}
	return e.addWASI(ctx)
}

// hostFunction wraps a call with what holds for all of them.
func hostFunction(call *abi.Call) api.GoFunc {
	body := hostBodies[call.Name]
	if body == nil {
		body = blobCalls[call.Name]
	}
	return func(ctx context.Context, s []uint64) {
		in := instanceOf(ctx)
		in.burn(hostCallFuel)
		in.calls.Enter(call)
		in.abortIfAsked()
		body(hostCall{in, call}, s)
		in.abortIfAsked()
	}
}

func (in *instance) abortIfAsked() {
	if a := in.calls.Aborted(); a != nil {
		panic(&stop{outcome: a.Outcome, reason: a.Reason})
	}
}

// hostCall is one host call in progress.
type hostCall struct {
	in   *instance
	call *abi.Call
}

// bytes is the guest's memory at ptr, or the end of the call.
func (h hostCall) bytes(ptr, n uint64) []byte {
	b, ok := h.in.linear.Read(uint32(ptr), uint32(n))
	if !ok {
		panic(&stop{outcome: function.Trapped, reason: fmt.Sprintf("%s: pointer %d with length %d is outside the guest's memory of %d bytes",
			h.call.Name, uint32(ptr), uint32(n), h.in.linear.Size())})
	}
	h.in.burn(int64(len(b) >> 3))
	return b
}

// give writes a result to (dst, cap) and returns its full length.
func (h hostCall) give(s []uint64, dst, room uint64, value []byte, e abi.Errno) {
	if e != 0 {
		s[0] = errno(e)
		return
	}
	copy(h.bytes(dst, min(uint64(uint32(room)), uint64(len(value)))), value)
	s[0] = uint64(uint32(len(value)))
}

func errno(e abi.Errno) uint64 { return uint64(uint32(int32(e))) }

func seconds(v uint64) time.Duration { return time.Duration(uint32(v)) * time.Second }
func float(v uint64) float64         { return math.Float64frombits(v) }
func level(v uint64) function.Level  { return function.Level(min(uint32(v), uint32(function.Error))) }

// state charges what touches stored keys and checks the clock, since the
// store may have made the guest wait.
func (h hostCall) state() {
	h.in.burn(hostStateFuel)
	h.in.checkTime()
}

// hostBodies is the gateway's side of every call in abi.Calls.
var hostBodies = map[string]func(h hostCall, s []uint64){
	"input_len": func(h hostCall, s []uint64) { s[0] = uint64(uint32(len(h.in.calls.Input()))) },
	"input_read": func(h hostCall, s []uint64) {
		h.give(s, s[0], s[1], h.in.calls.Input(), 0)
	},
	"output": func(h hostCall, s []uint64) { h.in.calls.SetOutput(h.bytes(s[0], s[1])) },
	"output_meta": func(h hostCall, s []uint64) {
		s[0] = errno(h.in.calls.SetOutputMeta(h.bytes(s[0], s[1]), h.bytes(s[2], s[3])))
	},
	"error": func(h hostCall, s []uint64) { h.in.calls.SetFailure(h.bytes(s[0], s[1])) },
	"meta": func(h hostCall, s []uint64) {
		v, e := h.in.calls.Lookup(h.bytes(s[0], s[1]))
		h.giveString(s, s[2], s[3], v, e)
	},
	"log":    func(h hostCall, s []uint64) { h.in.calls.LogBytes(level(s[0]), h.bytes(s[1], s[2])) },
	"now_ms": func(h hostCall, s []uint64) { s[0] = uint64(h.in.calls.Now().UnixMilli()) },
	"random": func(h hostCall, s []uint64) { h.in.calls.ReadRandom(h.bytes(s[0], s[1])) },
	"config": func(h hostCall, s []uint64) {
		v, e := h.in.calls.Config(h.bytes(s[0], s[1]))
		h.give(s, s[2], s[3], v, e)
	},
	"kv_get": func(h hostCall, s []uint64) {
		v, e := h.in.calls.KVGet(h.bytes(s[0], s[1]))
		h.state()
		h.give(s, s[2], s[3], v, e)
	},
	"kv_set": func(h hostCall, s []uint64) {
		s[0] = errno(h.in.calls.KVSet(h.bytes(s[0], s[1]), h.bytes(s[2], s[3]), seconds(s[4])))
	},
	"kv_del": func(h hostCall, s []uint64) { s[0] = errno(h.in.calls.KVDel(h.bytes(s[0], s[1]))) },
	"kv_list": func(h hostCall, s []uint64) {
		v, e := h.in.calls.KVList(h.bytes(s[0], s[1]), uint32(s[2]))
		h.state()
		h.in.burn(int64(len(v)))
		h.give(s, s[3], s[4], v, e)
	},
	"publish": func(h hostCall, s []uint64) {
		s[0] = errno(h.in.calls.Publish(h.bytes(s[0], s[1]), h.bytes(s[2], s[3]), uint32(s[4]), seconds(s[5])))
	},
	"enqueue": func(h hostCall, s []uint64) {
		s[0] = errno(h.in.calls.Enqueue(h.bytes(s[0], s[1]), h.bytes(s[2], s[3]), seconds(s[4])))
	},
	"invoke": func(h hostCall, s []uint64) {
		s[0] = errno(h.in.calls.Invoke(h.bytes(s[0], s[1]), h.bytes(s[2], s[3])))
	},
	"metric": func(h hostCall, s []uint64) { h.in.calls.Metric(h.bytes(s[0], s[1]), float(s[2])) },
	"secret": func(h hostCall, s []uint64) {
		v, e := h.in.calls.Secret(h.bytes(s[0], s[1]))
		h.give(s, s[2], s[3], v, e)
	},
	"sensor_read": func(h hostCall, s []uint64) {
		v, e := h.in.calls.Sensor(h.bytes(s[0], s[1]))
		h.give(s, s[2], s[3], v, e)
	},
	"actuate": func(h hostCall, s []uint64) {
		granted, e := h.in.calls.Actuate(h.bytes(s[0], s[1]), h.bytes(s[2], s[3]), time.Duration(uint32(s[4]))*time.Millisecond)
		if s[0] = uint64(uint32(granted)); e != 0 {
			s[0] = errno(e)
		}
	},
	"http_fetch": func(h hostCall, s []uint64) {
		v, e := h.in.calls.Fetch(h.in.ctx.Context, h.bytes(s[0], s[1]), int(uint32(s[3])))
		h.in.abortIfAsked()
		h.in.checkTime()
		h.give(s, s[2], s[3], v, e)
	},
}

func (h hostCall) giveString(s []uint64, dst, room uint64, value string, e abi.Errno) {
	if e != 0 {
		s[0] = errno(e)
		return
	}
	copy(h.bytes(dst, min(uint64(uint32(room)), uint64(len(value)))), value)
	s[0] = uint64(uint32(len(value)))
}
