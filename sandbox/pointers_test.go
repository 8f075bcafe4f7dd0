package sandbox_test

import (
	"strings"
	"testing"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sandbox"
	"github.com/headgate-io/headgate/sandbox/abi"
	"github.com/headgate-io/headgate/sandbox/host"
	. "github.com/headgate-io/headgate/sandbox/wasmtest"
)

// TestWildPointers hands every host call pointers and lengths that lie outside
// the guest's memory, one after the other: each ends the event and names the
// call, or is an error of it, and a neighbour goes on.
func TestWildPointers(t *testing.T) {
	e := testEngine(t, sandbox.Config{})
	neighbour := load(t, e, "counter.wasm", counterModule(), testOptions{})
	letters := map[abi.Type]string{abi.I32: "i", abi.I64: "l", abi.F64: "d"}
	spell := func(types []abi.Type) (s string) {
		for _, x := range types {
			s += letters[x]
		}
		return s
	}
	for i := range abi.Calls {
		call := &abi.Calls[i]
		params, results := spell(call.Params), spell(call.Results)
		if params == "" {
			continue
		}
		trapped := false
		for at := range params {
			for _, wild := range [][2]int32{{-8, 64}, {65530, 8}, {16, -1}, {-1, -1}, {0x7fffffff, 1}} {
				u := load(t, e, "wild.wasm", wildModule(call.Name, params, results, at, wild), testOptions{
					perms: function.Permissions{Enqueue: []string{"kkkk"}, Invoke: []string{"kkkk"}},
				})
				r := u.invoke(host.Invocation{Input: []byte("input that is there"), State: mapState{}})
				switch {
				case r.Outcome == function.Trapped && strings.HasPrefix(r.Error, call.Name+": pointer "):
					trapped = true
				case r.Outcome != function.OK && !strings.Contains(r.Error, "limits."):
					t.Errorf("%s, parameter %d, %v: %s %s", call.Name, at, wild, r.Outcome, r.Error)
				}
			}
		}
		if !trapped {
			t.Errorf("%s takes pointers that lie nowhere", call.Name)
		}
		if r := neighbour.invoke(host.Invocation{}); r.Outcome != function.OK || string(r.Output) != "\x02\x00\x00\x00" {
			t.Fatalf("after %s the neighbour is %s %s", call.Name, r.Outcome, r.Error)
		}
	}
}

// wildModule calls with sensible arguments, but for two.
func wildModule(name, params, results string, at int, wild [2]int32) []byte {
	m := New(1)
	f := m.Import("headgate_v1", name, params, results)
	m.Data(0, "kkkkkkkkkkkkkkkk")
	var body []Code
	for i, p := range params {
		switch {
		case p == 'l':
			body = append(body, Op(0x42, 0))
		case p == 'd':
			body = append(body, Op(0x44, 0, 0, 0, 0, 0, 0, 0, 0))
		case i == at:
			body = append(body, I32(wild[0]))
		case i == at+1:
			body = append(body, I32(wild[1]))
		case i == 0 && name == "log":
			body = append(body, I32(1))
		default: // a pointer is 0, a length 4; further ones are small numbers
			body = append(body, I32(int32(i%2*4)))
		}
	}
	body = append(body, Call(f))
	if results != "" {
		body = append(body, Drop)
	}
	return m.Handler("", append(body, I32(0))...).Bytes()
}
