package sandbox_test

import (
	"strings"
	"testing"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/internal/slow"
	"github.com/headgate-io/headgate/sandbox"
	"github.com/headgate-io/headgate/sandbox/host"
	. "github.com/headgate-io/headgate/sandbox/wasmtest"
)

// TestCommand runs a program that reads standard input and writes standard
// output, anew for every event.
func TestCommand(t *testing.T) {
	slow.Both(t, slow.LargeGuests)
	e := testEngine(t, sandbox.Config{})
	u := load(t, e, "command.wasm", goCommandGuest(t), testOptions{config: map[string][]byte{"MODE": []byte(`"on"`), "n": []byte("7")}, limits: function.Limits{Memory: 32 << 20}})
	for _, c := range []struct {
		in, out string
		outcome function.Outcome
		says    string
	}{
		{in: "hello\nworld\n", out: "1 1 HELLO\n1 1 WORLD\n"},
		{in: "env MODE\nenv n\nenv HEADGATE_SUBJECT\nenv HEADGATE_PARAMS", out: "on\n7\nfarm/3\n{\"field\":\"3\"}\n"},
		{in: "x\nfail", outcome: function.Failed, says: "the command exited with code 3: asked to fail"},
		{in: "panic", outcome: function.Failed, says: "the command exited with code 2: panic: asked to panic"},
		{in: "flood", outcome: function.Failed, says: "limits.output"},
		{in: "", out: ""},
		{in: "hello\nworld\n", out: "1 1 HELLO\n1 1 WORLD\n"},
	} {
		r := u.invoke(host.Invocation{Input: []byte(c.in), Meta: metaMap{"subject": "farm/3", "params": `{"field":"3"}`}})
		if r.Outcome != c.outcome || string(r.Output) != c.out || !strings.Contains(r.Error, c.says) {
			t.Errorf("%q: %s %q %s %v", c.in, r.Outcome, r.Output, r.Error, u.calls.Logs())
		}
		// Go's own random decides what it takes: a rerun draws the same.
		u.calls.Rewind(nil)
		if again := u.pool.Invoke(t.Context(), &u.calls); again.Fuel != r.Fuel || again.Outcome != r.Outcome {
			t.Errorf("%q again: fuel %d, the first time %d", c.in, again.Fuel, r.Fuel)
		}
	}
}

// TestCommandReturns: a command need not call exit, and nothing of one event
// is left in the next.
func TestCommandReturns(t *testing.T) {
	m := New(1)
	read := m.Import("wasi_snapshot_preview1", "fd_read", "iiii", "i")
	write := m.Import("wasi_snapshot_preview1", "fd_write", "iiii", "i")
	m.Data(0, "\x40\x00\x00\x00\x10\x00\x00\x00") // 16 bytes at 64
	m.Data(16, "\x40\x00\x00\x00\x10\x00\x00\x00")
	m.Export("_start", m.Func("", "", "",
		I32(0), I32(0), I32(1), I32(8), Call(read), Drop,
		I32(1), I32(16), I32(1), I32(24), Call(write), Drop))
	e := testEngine(t, sandbox.Config{})
	u := load(t, e, "command.wasm", m.Bytes(), testOptions{})
	for in, want := range map[string]string{"0123456789abcdefgh": "0123456789abcdef", "short": "short" + strings.Repeat("\x00", 11)} {
		if r := u.invoke(host.Invocation{Input: []byte(in)}); r.Outcome != function.OK || string(r.Output) != want {
			t.Errorf("%s %s %q", r.Outcome, r.Error, r.Output)
		}
	}
}
