package sandbox_test

import (
	"context"
	"testing"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/internal/testcache"
	"github.com/headgate-io/headgate/sandbox"
	"github.com/headgate-io/headgate/sandbox/host"
	. "github.com/headgate-io/headgate/sandbox/wasmtest"
)

// testEngine opens an engine whose cache is shared by the tests of one run, as one gateway's is.
func testEngine(t testing.TB, cfg sandbox.Config) *sandbox.Engine {
	t.Helper()
	if cfg.CacheDir == "" {
		cfg.CacheDir = testcache.Dir(t)
	}
	e, err := sandbox.New(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if used := e.Stats().MemoryBytes; used != 0 {
			t.Errorf("%d bytes of the budget are still taken at the end", used)
		}
	})
	return e
}

// unit is a function under test.
type unit struct {
	t     testing.TB
	pool  *sandbox.Pool
	grant *host.Grant
	calls host.Calls
}

type anyTopic struct{}

func (anyTopic) MayPublish(string) error { return nil }

type testOptions struct {
	limits function.Limits
	perms  function.Permissions
	config map[string][]byte
	export string
}

func load(t testing.TB, e *sandbox.Engine, main string, source []byte, o testOptions) *unit {
	t.Helper()
	return loadFiles(t, e, main, map[string][]byte{main: source}, o)
}

func loadFiles(t testing.TB, e *sandbox.Engine, main string, files map[string][]byte, o testOptions) *unit {
	t.Helper()
	ctx := context.Background()
	m, err := e.Compile(ctx, sandbox.Code{Name: "test", Main: main, Files: files, Export: o.export}, o.limits, sandbox.Setup{Config: o.config})
	if err != nil {
		t.Fatal(err)
	}
	p := e.NewPool(m, sandbox.PoolConfig{})
	t.Cleanup(func() {
		if err := p.Close(ctx); err != nil {
			t.Error(err)
		}
		if err := m.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return &unit{t: t, pool: p, grant: host.NewGrant("test", o.perms, o.limits, o.config, anyTopic{})}
}

func (u *unit) invoke(in host.Invocation) function.Result {
	u.calls.Reset(u.grant, in)
	return u.pool.Invoke(context.Background(), &u.calls)
}

// counterModule keeps a counter in memory and one in a global, and answers
// with the sum of both.
func counterModule() []byte {
	m := New(1)
	output := m.Import("headgate_v1", "output", "ii", "")
	g := m.Global('i', I32(0))
	return m.Handler("",
		GlobalGet(g), I32(1), Add, GlobalSet(g),
		I32(64), I32(64), Load32(0), I32(1), Add, Store32(0),
		I32(128), I32(64), Load32(0), GlobalGet(g), Add, Store32(0),
		I32(128), I32(4), Call(output), I32(0)).Bytes()
}

func TestCounterIsCleanOnEveryCall(t *testing.T) {
	e := testEngine(t, sandbox.Config{})
	u := load(t, e, "counter.wasm", counterModule(), testOptions{})
	fuel := uint64(0)
	for i := range 1000 {
		r := u.invoke(host.Invocation{})
		if r.Outcome != function.OK || string(r.Output) != "\x02\x00\x00\x00" {
			t.Fatalf("call %d: %+v %q", i, r, r.Output)
		}
		if i > 0 && r.Fuel != fuel {
			t.Fatalf("call %d: fuel %d, was %d", i, r.Fuel, fuel)
		}
		fuel = r.Fuel
	}
}
