//go:build !wasip1

package headgate

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"testing"
	"time"
)

// The golden vectors of the ABI; both sides of the border run them.
func TestVectors(t *testing.T) {
	raw, err := os.ReadFile("../../sandbox/abi/testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		Pages []struct {
			Hex  string
			Next uint32
			Keys []string
		} `json:"kv_list_pages"`
		Flags []struct {
			QoS    byte
			Retain bool
			Flags  uint32
		} `json:"publish_flags"`
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	for _, p := range v.Pages {
		page, _ := hex.DecodeString(p.Hex)
		if next, keys := parsePage(page, []string{}); next != p.Next || !reflect.DeepEqual(keys, p.Keys) {
			t.Errorf("page %s: %d %q, want %d %q", p.Hex, next, keys, p.Next, p.Keys)
		}
	}
	for _, f := range v.Flags {
		var o publishOptions
		QoS(f.QoS)(&o)
		if f.Retain {
			Retain()(&o)
		}
		if o.flags != f.Flags {
			t.Errorf("qos %d retain %t: flags %d, want %d", f.QoS, f.Retain, o.flags, f.Flags)
		}
	}
}

func TestRun(t *testing.T) {
	out := Run(func(ctx *Context) error {
		var in struct{ Moisture float64 }
		if err := ctx.JSON(&in); err != nil {
			return err
		}
		var target float64
		if ok, err := ctx.Config("target", &target); err != nil || !ok {
			t.Errorf("config: %t %v", ok, err)
		}
		runs := 0
		if _, err := ctx.GetJSON("runs", &runs); err != nil {
			return err
		}
		ctx.Log(Info, "run %d", runs+1)
		ctx.Metric("moisture", in.Moisture)
		if _, err := ctx.Get("missing"); !errors.Is(err, ErrNotFound) {
			t.Errorf("missing key: %v", err)
		}
		if keys, err := ctx.List("r"); err != nil || !reflect.DeepEqual(keys, []string{"runs"}) {
			t.Errorf("list: %q %v", keys, err)
		}
		if err := ctx.Set("runs", runs+1); err != nil {
			return err
		}
		return ctx.Publish("farm/"+ctx.Param("field")+"/valve", "open", QoS(1), Expiry(90*time.Second))
	}, Test{
		Data: []byte(`{"moisture":20}`), Meta: map[string]string{"params.field": "3"},
		Config: map[string]string{"target": "30"}, State: map[string][]byte{"runs": []byte("41")},
	})
	if out.Err != nil || string(out.State["runs"]) != "42" || out.Metrics["moisture"] != 20 || len(out.Logs) != 1 {
		t.Errorf("%+v", out)
	}
	want := []Message{{Name: "farm/3/valve", Payload: []byte("open"), QoS: 1, Expiry: 90 * time.Second}}
	if !reflect.DeepEqual(out.Published, want) {
		t.Errorf("published %+v", out.Published)
	}
	if out := Run(func(ctx *Context) error { return ctx.JSON(new(int)) }, Test{Data: []byte("{")}); out.Err == nil {
		t.Error("bad JSON is no error")
	}
}

func TestHandleJSON(t *testing.T) {
	defer func() { handler, warmUps = nil, nil }()
	type reading struct{ V int }
	HandleJSON(func(ctx *Context, r reading) error { return ctx.Output(r.V + 1) })
	for _, f := range warmUps {
		f()
	}
	if out := Run(handler, Test{Data: []byte(`{"v":41}`)}); out.Err != nil || string(out.Output) != "42" {
		t.Errorf("%+v", out)
	}
}
