package sandbox_test

import (
	"bytes"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/internal/slow"
	"github.com/headgate-io/headgate/sandbox"
	"github.com/headgate-io/headgate/sandbox/host"
	. "github.com/headgate-io/headgate/sandbox/wasmtest"
)

// hostile is a function that means harm and how it must end.
type hostile struct {
	name    string
	module  func() []byte
	limits  function.Limits
	outcome function.Outcome
	says    string // part of the error, or of the log
	check   func(t *testing.T, u *unit, r function.Result)
}

func withHandler(locals string, body ...Code) func() []byte {
	return func() []byte { return New(1).Handler(locals, body...).Bytes() }
}

// importing makes a module whose handler calls one import again and again.
func importing(module, name, params, results string, forever bool, args ...Code) func() []byte {
	return func() []byte {
		m := New(2)
		f := m.Import(module, name, params, results)
		m.Data(0, "farm/1/valve")
		body := Join(Join(args...), Call(f))
		if results != "" {
			body = Join(body, Drop)
		}
		if forever {
			body = Forever(body)
		}
		return m.Handler("", body, I32(0)).Bytes()
	}
}

func hostiles() []hostile {
	long := function.Limits{Fuel: 1 << 60, Timeout: function.Duration(30 * time.Millisecond)}
	return []hostile{
		{name: "endless loop", module: withHandler("", Forever(), I32(0)), limits: long, outcome: function.TimedOut, says: "limits.timeout"},
		{
			name: "endless loop without much fuel", module: withHandler("", Forever(), I32(0)),
			limits: function.Limits{Fuel: 1_000_000}, outcome: function.OutOfFuel, says: "limits.fuel",
		},
		{
			name: "endless loop through a branch table", module: withHandler("", Loop(I32(0), Op(0x0e, 1, 0, 0)), I32(0)),
			limits: long, outcome: function.TimedOut, says: "limits.timeout",
		},
		{
			name: "endless loop that carries an operand", limits: long, outcome: function.TimedOut, says: "limits.timeout",
			module: func() []byte {
				m := New(1)
				t := m.Type("i", "i")
				return m.Handler("", I32(1), Op(0x03, byte(t)), Br(0), Op(0x0b)).Bytes()
			},
		},
		{
			name: "memory bomb", outcome: function.OutOfMemory, says: "limits.memory is 16MiB",
			module: withHandler("", Forever(I32(16), MemoryGrow, I32(-1), Op(0x46), If(Unreachable)), I32(0)),
		},
		{
			name: "bulk fill", limits: function.Limits{Fuel: 1 << 60, Memory: 16 << 20, Timeout: function.Duration(30 * time.Millisecond)},
			outcome: function.TimedOut, says: "limits.timeout",
			module: withHandler("", I32(200), MemoryGrow, Drop, Forever(I32(0), I32(7), I32(200*65536), MemoryFill), I32(0)),
		},
		{
			name: "bulk fill costs fuel", outcome: function.OutOfFuel, says: "limits.fuel", limits: function.Limits{Fuel: 10_000_000},
			module: withHandler("", I32(200), MemoryGrow, Drop, Forever(I32(0), I32(7), I32(200*65536), MemoryFill), I32(0)),
		},
		{name: "deep recursion", outcome: function.OutOfStack, says: "out of stack", module: func() []byte {
			m := New(1)
			return m.Handler("", Call(2), I32(0)).Export("rec", m.Func("", "", "", Call(2))).Bytes()
		}},
		{name: "exponential recursion", limits: long, outcome: function.TimedOut, says: "limits.timeout", module: func() []byte {
			m := New(1)
			m.Handler("", I32(60), Call(2), I32(0))
			m.Func("i", "", "", LocalGet(0), If(LocalGet(0), I32(1), Sub, Call(2), LocalGet(0), I32(1), Sub, Call(2)))
			return m.Bytes()
		}},
		{
			name: "log flood", module: importing("headgate_v1", "log", "iii", "", true, I32(1), I32(0), I32(4096)),
			limits: long, outcome: function.TimedOut, says: "dropped", check: logsBounded,
		},
		{name: "stdout flood", module: func() []byte {
			m := New(2)
			write := m.Import("wasi_snapshot_preview1", "fd_write", "iiii", "i")
			m.Data(0, "\x10\x00\x00\x00\x00\x80\x00\x00") // 32 KiB at 16
			return m.Handler("", Forever(I32(1), I32(0), I32(1), I32(8), Call(write), Drop), I32(0)).Bytes()
		}, limits: long, outcome: function.TimedOut, says: "dropped", check: logsBounded},
		{
			name: "publish storm", module: importing("headgate_v1", "publish", "iiiiii", "i", true, I32(0), I32(12), I32(0), I32(8), I32(0), I32(0)),
			limits: long, outcome: function.TimedOut, says: "limits.effects", check: effectsBounded,
		},
		{name: "state flood", module: func() []byte {
			m := New(2)
			set := m.Import("headgate_v1", "kv_set", "iiiii", "i")
			return m.Handler("i", Forever(LocalGet(0), I32(1), Add, LocalSet(0),
				I32(100), LocalGet(0), I32(0x0f0f0f0f), Op(0x71), I32(0x40404040), Op(0x72), Store32(0),
				I32(100), I32(4), I32(0), I32(65536), I32(0), Call(set), Drop), I32(0)).Bytes()
		}, limits: long, outcome: function.TimedOut, says: "limits.effect_bytes", check: effectsBounded},
		{
			name: "huge output", module: importing("headgate_v1", "output", "ii", "", false, I32(0), I32(131072)),
			limits: function.Limits{Output: 65536}, outcome: function.Failed, says: "limits.output",
		},
		{
			name: "pointer outside memory", module: importing("headgate_v1", "output", "ii", "", false, I32(-8), I32(64)),
			outcome: function.Trapped, says: "outside the guest's memory",
		},
		{name: "never-returning host call", limits: long, outcome: function.TimedOut, says: "limits.timeout", module: func() []byte {
			m := New(1) // sleep for 2^62 ns
			poll := m.Import("wasi_snapshot_preview1", "poll_oneoff", "iiii", "i")
			m.Data(24, "\x00\x00\x00\x00\x00\x00\x00\x40")
			return m.Handler("", I32(0), I32(100), I32(1), I32(200), Call(poll), Drop, I32(0)).Bytes()
		}},
		{
			name: "random flood", module: importing("headgate_v1", "random", "ii", "", true, I32(0), I32(131072)),
			limits: long, outcome: function.TimedOut, says: "limits.timeout",
		},
		{
			name: "exit", module: importing("wasi_snapshot_preview1", "proc_exit", "i", "", false, I32(3)),
			outcome: function.Trapped, says: "exited with code 3",
		},
		{name: "table writes", outcome: function.OK, module: func() []byte {
			// Table entry 0 is an answer of 1; every call puts 2 there.
			m := New(1)
			output := m.Import("headgate_v1", "output", "ii", "")
			one := m.Func("", "i", "", I32('1'))
			two := m.Func("", "i", "", I32('2'))
			m.Table(2, one, two)
			return m.Handler("", I32(0), I32(0), Op(0x11, byte(m.Type("", "i")), 0), Store32(0),
				I32(0), I32(1), Op(0x25, 0), Op(0x26, 0), I32(0), I32(1), Call(output), I32(0)).Bytes()
		}, check: func(t *testing.T, u *unit, r function.Result) {
			for range 3 {
				if string(r.Output) != "1" {
					t.Fatalf("output %q: a write to a table outlived its event", r.Output)
				}
				r = u.invoke(host.Invocation{})
			}
		}},
		{name: "table bomb", outcome: function.OK, module: func() []byte {
			m := New(1)
			m.Table(1)
			return m.Handler("", Op(0xd0, 0x70), I32(1<<30), Op(0xfc, 15, 0), I32(-1), Op(0x47), If(Unreachable), I32(0)).Bytes()
		}, limits: function.Limits{Fuel: 1 << 60}},
	}
}

func logsBounded(t *testing.T, u *unit, _ function.Result) {
	n := 0
	for _, l := range u.calls.Logs() {
		n += len(l.Text)
	}
	if limit := int(u.grant.Limits().LogBytes); n > limit+512 {
		t.Errorf("%d bytes logged, the limit is %d", n, limit)
	}
}

func effectsBounded(t *testing.T, u *unit, _ function.Result) {
	e := u.calls.Effects()
	n := 0
	for _, p := range e.Publishes {
		n += len(p.Topic) + len(p.Payload)
	}
	for _, w := range e.Writes {
		n += len(w.Key) + len(w.Value)
	}
	l := u.grant.Limits()
	if n == 0 || n > int(l.EffectBytes) || len(e.Publishes)+len(e.Writes) > l.Effects {
		t.Errorf("%d publishes and %d writes with %d bytes collected", len(e.Publishes), len(e.Writes), n)
	}
}

// TestHostileFunctions runs each attack while a neighbour works, and wants
// each to end with its own clear error.
func TestHostileFunctions(t *testing.T) {
	e := testEngine(t, sandbox.Config{})
	neighbour := load(t, e, "counter.wasm", counterModule(), testOptions{})
	var served atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if r := neighbour.invoke(host.Invocation{}); r.Outcome != function.OK || string(r.Output) != "\x02\x00\x00\x00" {
				t.Errorf("the neighbour failed: %s %s %q", r.Outcome, r.Error, r.Output)
				return
			}
			served.Add(1)
		}
	})
	for _, h := range hostiles() {
		t.Run(h.name, func(t *testing.T) {
			u := load(t, e, "hostile.wasm", h.module(), testOptions{limits: h.limits})
			before := served.Load()
			r := u.invoke(host.Invocation{State: mapState{}})
			text := r.Error
			for _, l := range u.calls.Logs() {
				text += "\n" + l.Text
			}
			if r.Outcome != h.outcome || !strings.Contains(text, h.says) {
				t.Fatalf("ended %s: %.300s; want %s: %s", r.Outcome, text, h.outcome, h.says)
			}
			if h.check != nil {
				h.check(t, u, r)
			}
			if r.Duration > 200*time.Millisecond && // less than that a busy machine may keep it waiting
				served.Load() == before {
				t.Error("the neighbour did not get on")
			}
			// The function itself is as good as new.
			if again := u.invoke(host.Invocation{State: mapState{}}); again.Outcome != h.outcome {
				t.Errorf("the second time it ended %s: %s", again.Outcome, again.Error)
			}
		})
	}
	close(stop)
	wg.Wait()
}

// mapState is a state view over a map, keys as "ns:key".
type mapState map[string]string

func (m mapState) Get(ns, key string) ([]byte, bool, error) {
	v, ok := m[ns+":"+key]
	return []byte(v), ok, nil
}

func (m mapState) List(string, string, string, int) ([]string, bool, error) { return nil, false, nil }

// startFuel is enough for a script engine, and soon used up.
const startFuel = 300_000_000

// TestRefusedModules shows what is refused before it runs, and that the
// reason names the place.
func TestRefusedModules(t *testing.T) {
	slow.Emulated(t, slow.LargeGuests)
	slow.UnderRace(t, slow.OneGoroutine)
	e := testEngine(t, sandbox.Config{})
	e.SetInitFuel(startFuel) // on a slow machine the usual one takes longer than the deadline
	cases := []struct {
		name   string
		main   string
		source []byte
		says   string
	}{
		{"forged fuel index", "f.wasm", New(1).Handler("", I64(1<<40), GlobalSet(0), I32(0)).Bytes(), "not a valid module"},
		{"forged yield index", "f.wasm", New(1).Handler("", Call(99), I32(0)).Bytes(), "not a valid module"},
		{"imported memory", "f.wasm", rawImport("env", "memory", 2, 0, 1), "import env.memory"},
		{"imported global", "f.wasm", rawImport("env", "g", 3, 0x7f, 1), "import env.g"},
		{"imported table", "f.wasm", rawImport("env", "t", 1, 0x70, 0, 1), "import env.t"},
		{"reserved import", "f.wasm", rawImport("headgate.internal", "yield", 0, 0), "belongs to the gateway"},
		{"reserved export", "f.wasm", func() []byte {
			m := New(1)
			m.Export("headgate.internal.fuel", m.Func("", "", ""))
			return m.Handler("", I32(0)).Bytes()
		}(), "belong to the gateway"},
		{"too many blocks", "f.wasm", New(1).Handler("", append(bytes.Repeat(Code{0x02, 0x40}, 30_000), bytes.Repeat(Code{0x0b}, 30_000)...), I32(0)).Bytes(), "takes too long to compile"},
		{"unknown import", "f.wasm", importing("env", "foo", "", "", false)(), `there is no host module "env"`},
		{"unknown host call", "f.wasm", importing("headgate_v1", "nope", "", "", false)(), "no such host call"},
		{"wrong signature", "f.wasm", importing("headgate_v1", "log", "i", "", false, I32(1))(), "(i32, i32, i32) -> ()"},
		{"no marker", "f.wasm", New(1).Bytes(), "not a Headgate function"},
		{"too much memory", "f.wasm", New(1000).Handler("", I32(0)).Bytes(), "limits.memory allows 16MiB"},
		{"reference global", "f.wasm", func() []byte {
			m := New(1)
			m.Global('r', Op(0xd0, 0x70))
			return m.Handler("", I32(0)).Bytes()
		}(), "global 0"},
		{"endless start function", "f.wasm", func() []byte {
			m := New(1)
			m.Handler("", I32(0))
			m.Start(m.Func("", "", "", Forever()))
			return m.Bytes()
		}(), "out of fuel: what runs before the first event needs more than 300000000 units"},
		{"start function that traps", "f.wasm", func() []byte {
			m := New(1)
			m.Handler("", I32(0))
			m.Start(m.Func("", "", "", Unreachable))
			return m.Bytes()
		}(), "unreachable"},
		{"state in headgate_init", "f.wasm", func() []byte {
			m := New(1)
			del := m.Import("headgate_v1", "kv_del", "ii", "i")
			m.Handler("", I32(0))
			m.Export("headgate_init", m.Func("", "i", "", I32(0), I32(1), Call(del)))
			return m.Bytes()
		}(), "kv_del cannot be called in headgate_init"},
		{"not wasm", "f.wasm", []byte("hello"), "not a WebAssembly module"},
		{"not anything", "f.lua", []byte("hello"), "cannot tell what"},
		{"script syntax", "f.js", []byte("export default (\n"), "SyntaxError"},
		{"script without handler", "f.js", []byte("export const a = 1"), "export default"},
		{"endless script", "f.js", []byte("for (;;);"), "out of fuel"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m, err := e.Compile(t.Context(), sandbox.Code{Name: "f", Main: c.main, Files: map[string][]byte{c.main: c.source}}, function.Limits{}, sandbox.Setup{})
			if err == nil {
				_ = m.Close(t.Context())
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("refused with %q, want %q", err, c.says)
			}
		})
	}
}

func rawImport(module, name string, desc ...byte) []byte {
	m := New(1)
	m.Type("", "")
	m.RawImport(module, name, desc...)
	return m.Handler("", I32(0)).Bytes()
}
