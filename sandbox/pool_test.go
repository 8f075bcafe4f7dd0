package sandbox_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/internal/fault"
	"github.com/headgate-io/headgate/internal/testcache"
	"github.com/headgate-io/headgate/sandbox"
	"github.com/headgate-io/headgate/sandbox/host"
	. "github.com/headgate-io/headgate/sandbox/wasmtest"
)

// sleeper sleeps in the host for 50 ms.
func sleeper(pages uint32) []byte {
	m := New(pages)
	poll := m.Import("wasi_snapshot_preview1", "poll_oneoff", "iiii", "i")
	m.Data(24, "\x80\xf0\xfa\x02\x00\x00\x00\x00")
	return m.Handler("", I32(0), I32(100), I32(1), I32(200), Call(poll), Drop, I32(0)).Bytes()
}

func TestConcurrencyIsCapped(t *testing.T) {
	e := testEngine(t, sandbox.Config{})
	u := load(t, e, "sleeper.wasm", sleeper(1), testOptions{limits: function.Limits{Concurrency: 2}})
	var wg sync.WaitGroup
	results := make([]function.Result, 6)
	for i := range results {
		wg.Go(func() {
			var c host.Calls
			c.Reset(u.grant, host.Invocation{})
			results[i] = u.pool.Invoke(context.Background(), &c)
		})
	}
	wg.Wait()
	ok, refused := 0, 0
	for _, r := range results {
		switch {
		case r.Outcome == function.OK:
			ok++
		case r.Outcome == function.Refused && strings.Contains(r.Error, "limits.concurrency"):
			refused++
		default:
			t.Errorf("%+v", r)
		}
	}
	s := u.pool.Stats()
	if ok < 2 || ok+refused != 6 || s.Idle > 2 || int(s.Refused) != refused {
		t.Errorf("%d ran, %d refused, %+v", ok, refused, s)
	}
}

// TestMemoryBudget: idle instances of one function make room for another,
// running ones do not, and a growth over the budget fails in the guest.
func TestMemoryBudget(t *testing.T) {
	const mib = 1 << 20
	e := testEngine(t, sandbox.Config{MemoryBudget: 6 * mib})
	big := load(t, e, "a.wasm", sleeper(2*mib/65536), testOptions{}) // image 2 MiB, instance 2 MiB
	if r := big.invoke(host.Invocation{}); r.Outcome != function.OK {
		t.Fatalf("%+v", r)
	}
	other := load(t, e, "b.wasm", New(mib/65536).Handler("", I32(0)).Bytes(), testOptions{})
	if r := other.invoke(host.Invocation{}); r.Outcome != function.OK {
		t.Fatalf("%+v", r)
	}
	third := load(t, e, "c.wasm", New(mib/65536).Handler("", I32(0)).Bytes(), testOptions{})
	if r := third.invoke(host.Invocation{}); r.Outcome != function.OK {
		t.Fatalf("%+v", r)
	}
	if s := e.Stats(); s.Evicted == 0 || s.MemoryBytes > s.MemoryBudget {
		t.Errorf("nothing was evicted: %+v", s)
	}
	grower := load(t, e, "d.wasm", New(1).Handler("", I32(7*mib/65536), MemoryGrow, I32(-1), Op(0x46), If(Unreachable), I32(0)).Bytes(), testOptions{})
	if r := grower.invoke(host.Invocation{}); r.Outcome != function.OutOfMemory {
		t.Errorf("%+v", r)
	}
	if s := e.Stats(); s.MemoryBytes > s.MemoryBudget {
		t.Errorf("over the budget: %+v", s)
	}
}

// TestScalesToZero: after its idle time a function holds no memory, and its
// next call starts cold and clean.
func TestScalesToZero(t *testing.T) {
	for _, main := range []string{"counter.wasm", "counter.js"} {
		source := counterModule()
		if main == "counter.js" {
			source = []byte(`let n = 0; export default () => ++n`)
		}
		synctest.Test(t, func(t *testing.T) {
			e, err := sandbox.New(t.Context(), sandbox.Config{CacheDir: testcache.Dir(t)})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = e.Close(context.Background()) }()
			u := load(t, e, main, source, testOptions{limits: function.Limits{Idle: function.Duration(time.Minute)}})
			first := u.invoke(host.Invocation{})
			warm := u.invoke(host.Invocation{})
			output := string(first.Output)
			if !first.ColdStart || warm.ColdStart || string(warm.Output) != output {
				t.Fatalf("%+v, then %+v", first, warm)
			}
			time.Sleep(30 * time.Second)
			synctest.Wait()
			if s := u.pool.Stats(); s.Idle != 1 || s.MemoryBytes < 65536 {
				t.Errorf("swept too early: %+v", s)
			}
			time.Sleep(2 * time.Minute)
			synctest.Wait()
			if s := e.Stats(); s.Instances != 0 || s.MemoryBytes != s.ScriptEngineBytes || u.pool.Stats().MemoryBytes != 0 {
				t.Errorf("not at zero: %+v, %+v", s, u.pool.Stats())
			}
			if again := u.invoke(host.Invocation{}); again.Outcome != function.OK || !again.ColdStart || string(again.Output) != output {
				t.Errorf("after zero: %+v %q, want %q", again, again.Output, output)
			}
		})
	}
}

// TestCloseWaits: Close refuses new calls and waits for the running one.
func TestCloseWaits(t *testing.T) {
	e := testEngine(t, sandbox.Config{})
	m, err := e.Compile(t.Context(), sandbox.Code{Name: "f", Main: "f.wasm", Files: map[string][]byte{"f.wasm": sleeper(1)}}, function.Limits{}, sandbox.Setup{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = m.Close(context.Background()) }()
	p := e.NewPool(m, sandbox.PoolConfig{})
	grant := host.NewGrant("f", function.Permissions{}, function.Limits{}, nil, nil)
	started, done := make(chan struct{}), make(chan function.Result, 1)
	go func() {
		var c host.Calls
		c.Reset(grant, host.Invocation{Now: func() time.Time { return time.Now() }})
		close(started)
		done <- p.Invoke(context.Background(), &c)
	}()
	<-started
	for p.Stats().Running == 0 && p.Stats().Invocations == 0 {
		time.Sleep(time.Millisecond)
	}
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	select {
	case r := <-done:
		if r.Outcome != function.OK {
			t.Errorf("%+v", r)
		}
	case <-time.After(time.Minute):
		t.Error("Close returned before the call did")
	}
	var c host.Calls
	c.Reset(grant, host.Invocation{})
	if r := p.Invoke(t.Context(), &c); r.Outcome != function.Refused {
		t.Errorf("after Close: %+v", r)
	}
}

// TestInterpreter runs the same on the engine that small boards use.
func TestInterpreter(t *testing.T) {
	e := testEngine(t, sandbox.Config{Interpreter: true})
	u := load(t, e, "counter.wasm", counterModule(), testOptions{})
	for range 3 {
		if r := u.invoke(host.Invocation{}); r.Outcome != function.OK || string(r.Output) != "\x02\x00\x00\x00" {
			t.Fatalf("%+v %q", r, r.Output)
		}
	}
	loop := load(t, e, "loop.wasm", New(1).Handler("", Forever(), I32(0)).Bytes(),
		testOptions{limits: function.Limits{Fuel: 1 << 60, Timeout: function.Duration(20 * time.Millisecond)}})
	if r := loop.invoke(host.Invocation{}); r.Outcome != function.TimedOut {
		t.Errorf("%+v", r)
	}
}

// TestDamagedCacheIsRebuilt: power may fail while the cache is written.
func TestDamagedCacheIsRebuilt(t *testing.T) {
	dir := t.TempDir()
	for range 2 {
		e := testEngine(t, sandbox.Config{CacheDir: dir})
		u := load(t, e, "counter.wasm", counterModule(), testOptions{})
		if r := u.invoke(host.Invocation{}); r.Outcome != function.OK {
			t.Fatalf("%+v", r)
		}
		files, err := os.ReadDir(dir + "/instrumented")
		if err != nil || len(files) == 0 {
			t.Fatalf("%v %v", files, err)
		}
		for _, f := range files {
			if err := os.Truncate(dir+"/instrumented/"+f.Name(), 100); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestDamagedMachineCodeIsRebuilt: nothing that a card does to the machine code
// takes a function away, or is run.
func TestDamagedMachineCodeIsRebuilt(t *testing.T) {
	dir := t.TempDir()
	damages := []func(b []byte) []byte{
		func(b []byte) []byte { return nil },
		func(b []byte) []byte { return b[:10] },
		func(b []byte) []byte { return b[:len(b)/2] },
		func(b []byte) []byte { clear(b); return b },
		// In front of the machine code are the places of the functions in it,
		// which wazero takes as they are.
		func(b []byte) []byte { b[len("WAZEVO")+1+len("v1.12.0")+4+9]++; return b },
		func(b []byte) []byte { b[len(b)-10]++; return b },
		func(b []byte) []byte { return b }, // and what is good is kept
	}
	for i, damage := range damages {
		e := testEngine(t, sandbox.Config{CacheDir: dir})
		u := load(t, e, "counter.wasm", counterModule(), testOptions{})
		if r := u.invoke(host.Invocation{}); r.Outcome != function.OK {
			t.Fatalf("after damage %d: %+v", i, r)
		}
		file, good := machineCode(t, dir)
		if err := os.WriteFile(file, damage(bytes.Clone(good)), 0o600); err != nil {
			t.Fatal(err)
		}
		e = testEngine(t, sandbox.Config{CacheDir: dir})
		if b, err := os.ReadFile(file); err == nil && !bytes.Equal(b, good) {
			t.Errorf("damage %d is still there", i)
		} else if i == len(damages)-1 && err != nil {
			t.Errorf("what was good is gone: %v", err)
		}
		if r := load(t, e, "counter.wasm", counterModule(), testOptions{}).invoke(host.Invocation{}); r.Outcome != function.OK {
			t.Fatalf("damage %d: %+v", i, r)
		}
	}
}

// machineCode returns the one file that is no checksum.
func machineCode(t *testing.T, dir string) (file string, content []byte) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "machinecode", "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	files = slices.DeleteFunc(files, func(f string) bool { return strings.HasSuffix(f, ".sum") })
	if len(files) != 1 {
		t.Fatalf("machine code in %q", files)
	}
	if content, err = os.ReadFile(files[0]); err != nil {
		t.Fatal(err)
	}
	return files[0], content
}

// TestUnusableCache: without its cache, or without room in it, the gateway
// has its functions all the same.
func TestUnusableCache(t *testing.T) {
	blocked := t.TempDir()
	if err := os.WriteFile(filepath.Join(blocked, "instrumented"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	e := testEngine(t, sandbox.Config{CacheDir: blocked})
	if r := load(t, e, "counter.wasm", counterModule(), testOptions{}).invoke(host.Invocation{}); r.Outcome != function.OK {
		t.Errorf("%+v", r)
	}
	gone := t.TempDir()
	e = testEngine(t, sandbox.Config{CacheDir: gone})
	if err := os.RemoveAll(gone); err != nil {
		t.Fatal(err)
	}
	if r := load(t, e, "counter.wasm", counterModule(), testOptions{}).invoke(host.Invocation{}); r.Outcome != function.OK {
		t.Errorf("%+v", r)
	}
}

// TestSeededFaultIsCaught: with the restore skipped, the clean-state test
// would fail. It runs in builds with the tag seededfaults.
func TestSeededFaultIsCaught(t *testing.T) {
	if !fault.On(fault.SkipRestore) {
		return
	}
	e := testEngine(t, sandbox.Config{})
	u := load(t, e, "counter.wasm", counterModule(), testOptions{})
	u.invoke(host.Invocation{})
	if r := u.invoke(host.Invocation{}); string(r.Output) == "\x02\x00\x00\x00" {
		t.Error("the restore is skipped and nobody notices")
	} else {
		t.Log("caught: skip-restore")
	}
}

// TestRandomDiffers: two events in clones of one clean state hear different
// random, in the languages that have a generator of their own too.
func TestRandomDiffers(t *testing.T) {
	e := testEngine(t, sandbox.Config{})
	m := New(1)
	random := m.Import("headgate_v1", "random", "ii", "")
	output := m.Import("headgate_v1", "output", "ii", "")
	native := m.Handler("", I32(0), I32(16), Call(random), I32(0), I32(16), Call(output), I32(0)).Bytes()
	for main, source := range map[string][]byte{"r.wasm": native, "r.js": []byte(`Math.random(); export default () => [Math.random(), crypto.randomUUID()]`)} {
		u := load(t, e, main, source, testOptions{})
		seen := map[string]bool{}
		for range 20 {
			r := u.invoke(host.Invocation{})
			if r.Outcome != function.OK || seen[string(r.Output)] {
				t.Fatalf("%s: %+v, output %q seen before: %t", main, r, r.Output, seen[string(r.Output)])
			}
			seen[string(r.Output)] = true
		}
	}
}

// TestMinInstances: as many instances as were asked for are there from the
// start, outlive their idle time, and come back when memory took them.
func TestMinInstances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, err := sandbox.New(t.Context(), sandbox.Config{CacheDir: testcache.Dir(t)})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = e.Close(context.Background()) }()
		u := load(t, e, "counter.wasm", counterModule(), testOptions{limits: function.Limits{Idle: function.Duration(time.Minute), Concurrency: 4, MinInstances: 2}})
		synctest.Wait()
		if s := u.pool.Stats(); s.Idle != 2 {
			t.Fatalf("at the start: %+v", s)
		}
		if r := u.invoke(host.Invocation{}); r.ColdStart {
			t.Errorf("the first call started cold: %+v", r)
		}
		for range 3 {
			time.Sleep(10 * time.Minute)
			synctest.Wait()
			if s := u.pool.Stats(); s.Idle != 2 {
				t.Errorf("after its idle time: %+v", s)
			}
		}
		e.Trim()
		if s := u.pool.Stats(); s.Idle != 0 {
			t.Errorf("memory ran short, and still: %+v", s)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if s := u.pool.Stats(); s.Idle != 2 {
			t.Errorf("after the memory was short: %+v", s)
		}
	})
}
