package host_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sandbox/abi"
	"github.com/headgate-io/headgate/sandbox/host"
)

type store map[string]string

func (s store) Get(ns, key string) ([]byte, bool, error) {
	v, ok := s[ns+":"+key]
	return []byte(v), ok, nil
}

func (s store) List(ns, prefix, after string, limit int) ([]string, bool, error) {
	var keys []string
	for k := range s {
		if rest, ok := strings.CutPrefix(k, ns+":"); ok && strings.HasPrefix(rest, prefix) && rest > after {
			keys = append(keys, rest)
		}
	}
	slices.Sort(keys)
	return keys[:min(limit, len(keys))], len(keys) > limit, nil
}

type denyAlarms struct{}

func (denyAlarms) MayPublish(topic string) error {
	if strings.HasPrefix(topic, "alarm/") {
		return errors.New("no permission in permissions.publish matches")
	}
	return nil
}

func newCalls(in host.Invocation, limits function.Limits) *host.Calls {
	perms := function.Permissions{
		Enqueue: []string{"jobs"}, Invoke: []string{"other"},
		State: function.StatePermissions{Read: []string{"weather"}, Write: []string{"shared"}},
	}
	c := &host.Calls{}
	c.Reset(host.NewGrant("irrigate", perms, limits, nil, denyAlarms{}), in)
	return c
}

func TestReadsSeeOwnWrites(t *testing.T) {
	c := newCalls(host.Invocation{State: store{"irrigate:a": "1", "weather:w": "sun"}}, function.Limits{})
	expect := func(key, value string, errno abi.Errno) {
		t.Helper()
		v, e := c.KVGet([]byte(key))
		if string(v) != value || e != errno {
			t.Errorf("kv_get %s: %q %d, want %q %d", key, v, e, value, errno)
		}
	}
	expect("a", "1", 0)
	expect("irrigate:a", "1", 0)
	expect("weather:w", "sun", 0)
	expect("b", "", abi.NotFound)
	expect("private:x", "", abi.Denied)
	c.KVSet([]byte("a"), []byte("2"), 0)
	c.KVSet([]byte("b"), nil, time.Minute)
	c.KVDel([]byte("a"))
	c.KVSet([]byte("shared:x"), []byte("y"), 0)
	expect("a", "", abi.NotFound)
	expect("b", "", 0)
	expect("shared:x", "y", 0)
	if e := c.KVSet([]byte("weather:w"), []byte("rain"), 0); e != abi.Denied || !strings.Contains(c.Reason(), "permissions.state.write") {
		t.Errorf("write to weather: %d %s", e, c.Reason())
	}
	if n := len(c.Effects().Writes); n != 3 {
		t.Errorf("%d writes, want one per key: %+v", n, c.Effects().Writes)
	}
}

// TestManyWrites compares the index of many writes with a plain map.
func TestManyWrites(t *testing.T) {
	c := newCalls(host.Invocation{State: store{}}, function.Limits{})
	want := map[string]string{}
	for i := range 200 {
		key, value := fmt.Sprint("k", i*7%60), fmt.Sprint(i)
		if i%5 == 4 {
			c.KVDel([]byte(key))
			delete(want, key)
		} else {
			c.KVSet([]byte(key), []byte(value), 0)
			want[key] = value
		}
		for k := range 60 {
			v, e := c.KVGet([]byte(fmt.Sprint("k", k)))
			if w, ok := want[fmt.Sprint("k", k)]; ok != (e == 0) || string(v) != w {
				t.Fatalf("step %d, k%d: %q %d, want %q", i, k, v, e, w)
			}
		}
	}
}

func TestListMergesPages(t *testing.T) {
	stored := store{"weather:k1": ""}
	want := []string{}
	for i := range 400 {
		stored[fmt.Sprintf("irrigate:k%03d", i)] = "x"
	}
	c := newCalls(host.Invocation{State: stored}, function.Limits{})
	for i := 0; i < 400; i += 2 {
		if i%4 == 0 {
			c.KVDel(fmt.Appendf(nil, "k%03d", i))
		} else {
			c.KVSet(fmt.Appendf(nil, "k%03d", i), []byte("y"), 0)
		}
	}
	c.KVSet([]byte("k1000"), []byte("new"), 0)
	c.KVSet([]byte("j"), []byte("other prefix"), 0)
	for i := range 400 {
		if i%4 != 0 {
			want = append(want, fmt.Sprintf("k%03d", i))
		}
	}
	want = append(want, "k1000")
	slices.Sort(want)
	var got []string
	for cursor := uint32(0); ; {
		page, e := c.KVList([]byte("k"), cursor)
		again, _ := c.KVList([]byte("k"), cursor)
		if e != 0 || string(page) != string(again) {
			t.Fatalf("page at %d: %d, asked twice: same %t", cursor, e, string(page) == string(again))
		}
		var keys []string
		cursor, keys = abi.ParsePage(page)
		got = append(got, keys...)
		if cursor == 0 {
			break
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %d keys %v, want %d", len(got), got, len(want))
	}
	if _, e := c.KVList([]byte("k"), 999); e != abi.Invalid {
		t.Errorf("forged cursor: %d", e)
	}
}

func TestEffectPermissionsAndLimits(t *testing.T) {
	c := newCalls(host.Invocation{}, function.Limits{Effects: 4, EffectBytes: 100})
	steps := []struct {
		what string
		do   func() abi.Errno
		want abi.Errno
		says string
	}{
		{"publish", func() abi.Errno { return c.Publish([]byte("farm/1"), []byte("x"), 5, time.Minute) }, 0, ""},
		{"denied topic", func() abi.Errno { return c.Publish([]byte("alarm/1"), nil, 0, 0) }, abi.Denied, "permissions.publish"},
		{"wildcard", func() abi.Errno { return c.Publish([]byte("farm/#"), nil, 0, 0) }, abi.Invalid, "without +, #"},
		{"qos 3", func() abi.Errno { return c.Publish([]byte("farm/1"), nil, 3, 0) }, abi.Invalid, "QoS"},
		{"enqueue", func() abi.Errno { return c.Enqueue([]byte("jobs"), []byte("x"), time.Second) }, 0, ""},
		{"denied queue", func() abi.Errno { return c.Enqueue([]byte("mail"), nil, 0) }, abi.Denied, "permissions.enqueue allows jobs"},
		{"invoke", func() abi.Errno { return c.Invoke([]byte("other"), nil) }, 0, ""},
		{"denied invoke", func() abi.Errno { return c.Invoke([]byte("self"), nil) }, abi.Denied, "permissions.invoke"},
		{"too many bytes", func() abi.Errno { return c.KVSet([]byte("k"), make([]byte, 200), 0) }, abi.Limit, "limits.effect_bytes"},
		{"the fourth", func() abi.Errno { return c.KVSet([]byte("k"), []byte("v"), 0) }, 0, ""},
		{"one too many", func() abi.Errno { return c.KVDel([]byte("k2")) }, abi.Limit, "limits.effects"},
		{"the same key again", func() abi.Errno { return c.KVSet([]byte("k"), []byte("w"), 0) }, 0, ""},
		{"empty key", func() abi.Errno { return c.KVDel(nil) }, abi.Invalid, "empty"},
		{"only a namespace", func() abi.Errno { return c.KVDel([]byte("shared:")) }, abi.Invalid, "behind the colon"},
	}
	for _, s := range steps {
		if e := s.do(); e != s.want || e != 0 && !strings.Contains(c.Reason(), s.says) {
			t.Errorf("%s: %d %q, want %d %q", s.what, e, c.Reason(), s.want, s.says)
		}
	}
	e := c.Effects()
	if p := e.Publishes[0]; p.QoS != 1 || !p.Retain || p.Expiry != time.Minute || len(e.Writes) != 1 || len(e.Enqueues) != 1 || len(e.Invokes) != 1 {
		t.Errorf("effects %+v", e)
	}
}

// TestRewindRepeatsTheWorld: a rerun hears the same time and random, on a
// fresh view, and nothing of the first run is left.
func TestRewindRepeatsTheWorld(t *testing.T) {
	ticks := 0
	c := newCalls(host.Invocation{State: store{"irrigate:a": "1"}, Now: func() time.Time {
		ticks++
		return time.Unix(int64(ticks), 0)
	}}, function.Limits{})
	draw := func() (time.Time, string) {
		b := make([]byte, 40)
		c.ReadRandom(b[:7])
		c.ReadRandom(b[7:])
		return c.Now(), string(b)
	}
	now, random := draw()
	c.Slept(time.Hour)
	c.KVSet([]byte("a"), []byte("2"), 0)
	c.SetOutput([]byte("out"))
	c.Rewind(store{"irrigate:a": "9"})
	if again, same := draw(); !again.Equal(now) || same != random {
		t.Errorf("the rerun hears %v, the first run %v; random equal: %t", again, now, same == random)
	}
	if v, _ := c.KVGet([]byte("a")); string(v) != "9" || !c.Effects().Empty() || len(c.Output()) != 0 {
		t.Errorf("state %q, effects %+v, output %q", v, c.Effects(), c.Output())
	}
	c.Reset(host.NewGrant("irrigate", function.Permissions{}, function.Limits{}, nil, nil), host.Invocation{})
	if _, other := draw(); other == random {
		t.Error("another event hears the same random")
	}
}

func TestLogIsBounded(t *testing.T) {
	c := newCalls(host.Invocation{}, function.Limits{LogBytes: 1000})
	for range 10_000 {
		c.LogBytes(function.Info, []byte("0123456789"))
	}
	c.Write(host.Stdout, []byte("half a li"))
	c.Finish()
	logs := c.Logs()
	if last := logs[len(logs)-1].Text; len(logs) > 40 || !strings.Contains(last, "limits.log_bytes") {
		t.Errorf("%d lines, the last says %q", len(logs), last)
	}
	c = newCalls(host.Invocation{}, function.Limits{})
	c.Write(host.Stdout, []byte("one\ntwo"))
	c.Write(host.Stderr, []byte("bad\xff\n"))
	c.Write(host.Stdout, []byte(" and a half\n\n"+strings.Repeat("é", 3000)))
	c.Finish()
	var got []string
	for _, l := range c.Logs() {
		got = append(got, fmt.Sprintf("%s %.20s", l.Level, l.Text))
	}
	want := []string{"info one", "warn bad\uFFFD", "info two and a half", "info " + strings.Repeat("é", 10), "info " + strings.Repeat("é", 10)}
	if len(got) != len(want) || got[0] != want[0] || got[1] != want[1] || got[2] != want[2] {
		t.Errorf("logged %q", got)
	}
}

type brokenStore struct{ store }

func (brokenStore) Get(string, string) ([]byte, bool, error) {
	return nil, false, errors.New("disk on fire")
}

// TestStateFailureEndsTheInvocation: a guest must not decide on what could
// not be read.
func TestStateFailureEndsTheInvocation(t *testing.T) {
	c := newCalls(host.Invocation{State: brokenStore{}}, function.Limits{})
	c.KVGet([]byte("a"))
	if a := c.Aborted(); a == nil || a.Outcome != function.Failed || !strings.Contains(a.Reason, "disk on fire") {
		t.Errorf("aborted: %+v", a)
	}
}

func FuzzArguments(f *testing.F) {
	f.Add([]byte("key"), []byte("value"), uint32(1))
	f.Add([]byte("ns:key"), []byte{0xff}, uint32(7))
	f.Add([]byte(":"), []byte("+/#"), uint32(1<<31))
	f.Fuzz(func(t *testing.T, a, b []byte, n uint32) {
		c := newCalls(host.Invocation{State: store{"irrigate:a": "1"}}, function.Limits{})
		c.KVSet(a, b, time.Duration(n)*time.Second)
		c.KVGet(a)
		c.KVList(a, 0)
		c.KVList(a, n)
		c.KVDel(b)
		c.Publish(a, b, n, 0)
		c.Enqueue(a, b, 0)
		c.Invoke(a, b)
		c.Metric(a, 1)
		c.LogBytes(function.Info, b)
		c.Write(host.Stdout, b)
		c.SetOutputMeta(a, b)
		c.SetFailure(b)
		c.Lookup(a)
		c.Config(a)
		c.Finish()
		limits := c.Grant().Limits()
		if e := c.Effects(); len(e.Writes)+len(e.Publishes)+len(e.Enqueues)+len(e.Invokes) > limits.Effects {
			t.Errorf("%d effects", len(e.Writes))
		}
	})
}
