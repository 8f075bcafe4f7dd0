package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/headgate-io/headgate/controller/api"
	"github.com/headgate-io/headgate/controller/store"
	"github.com/headgate-io/headgate/sync/ota"
	"github.com/headgate-io/headgate/sync/wire"
)

func (r *rig) sign(tenant string, targets ...ota.Target) {
	r.t.Helper()
	for i := range targets {
		targets[i].SHA256, targets[i].Published = fmt.Sprintf("%064x", i+1), time.Now()
	}
	r.signed[r.tenant(tenant)] = targets
}

func fn(name, function string) ota.Target {
	return ota.Target{Name: name, Release: ota.Release{Kind: ota.Function, Function: function, Digest: strings.Repeat("d", 64)}}
}

func system(name, arch string) ota.Target {
	return ota.Target{Name: name, Release: ota.Release{Kind: ota.System, Arch: arch}}
}

// What is not signed for it is not deployed, and the answer says why.
func TestDeploymentsRefused(t *testing.T) {
	r := newRig(t)
	r.sign("acme", fn("a-1", "a"), fn("b-1", "b"), system("hg-arm64", "arm64"), system("hg-arm64-2", "arm64"))
	cases := []struct {
		name string
		d    api.NewDeployment
		want string
	}{
		{"a function without a name", api.NewDeployment{Function: "../x"}, "neither a function's name"},
		{"what is not signed", api.NewDeployment{Function: "a", Targets: []string{"a-2"}}, "not signed"},
		{"another function's", api.NewDeployment{Function: "a", Targets: []string{"b-1"}}, "signed as the function b"},
		{"two of a function", api.NewDeployment{Function: "a", Targets: []string{"a-1", "a-1"}}, "has one"},
		{"a binary as a function", api.NewDeployment{Function: "a", Targets: []string{"hg-arm64"}}, "gateway's binary"},
		{"a function as the system", api.NewDeployment{Function: "system", Targets: []string{"a-1"}}, "not a gateway's binary"},
		{"two binaries for one architecture", api.NewDeployment{Function: "system", Targets: []string{"hg-arm64", "hg-arm64-2"}}, "two are for arm64"},
		{"no system", api.NewDeployment{Function: "system"}, "cannot be removed"},
		{"a selector that is none", api.NewDeployment{Function: "a", Targets: []string{"a-1"}, Selector: "a b"}, "selector"},
		{"waves that shrink", api.NewDeployment{Function: "a", Targets: []string{"a-1"}, Strategy: api.NewStrategy{Waves: []float64{10, 5}}}, "strategy.waves"},
	}
	for _, c := range cases {
		status, _, body := r.call(r.tokens["acme"], "POST", "/v1/deployments", c.d)
		if status != 422 || !strings.Contains(body, c.want) {
			t.Errorf("%s: %d: %s", c.name, status, body)
		}
	}
	if list := must[api.Page[api.Deployment]](r, 200, r.tokens["acme"], "GET", "/v1/deployments", nil).Items; len(list) != 0 {
		t.Errorf("%+v", list)
	}
}

// A deployment is made, held, let go on, taken back; a newer one for the same
// gateways stops an older one that runs.
func TestDeploymentLife(t *testing.T) {
	r := newRig(t)
	admin := r.tokens["acme"]
	r.sign("acme", fn("a-1", "a"), fn("a-2", "a"))
	r.gateway("acme", "gw-1", map[string]string{"site": "north"})
	zero := int64(0)
	made := must[api.Deployment](r, 201, admin, "POST", "/v1/deployments",
		api.NewDeployment{Function: "a", Targets: []string{"a-1"}, Selector: "site=north , site=north", Strategy: api.NewStrategy{Soak: &zero}})
	if made.State != "running" || made.Selector != "site=north" || made.Strategy.Soak != 0 || made.Strategy.Gate.Sample != 20 || made.Waves != 4 || made.CreatedBy != "acme-admin" || made.Progress.Chosen != 1 {
		t.Errorf("%+v", made)
	}
	path := "/v1/deployments/" + made.ID
	steer := func(verb string, status int, state string) {
		t.Helper()
		d := must[api.Deployment](r, status, admin, "POST", path+"/"+verb, nil)
		if status == 200 && d.State != state {
			t.Errorf("%s: %+v", verb, d)
		}
	}
	steer("resume", 200, "running")
	steer("pause", 200, "paused")
	steer("pause", 200, "paused")
	steer("resume", 200, "running")
	newer := must[api.Deployment](r, 201, admin, "POST", "/v1/deployments", api.NewDeployment{Function: "a", Targets: []string{"a-2"}, Selector: "site=north"})
	must[api.Deployment](r, 201, admin, "POST", "/v1/deployments", api.NewDeployment{Function: "a", Targets: []string{"a-2"}, Selector: "site=south"})
	if d := must[api.Deployment](r, 200, admin, "GET", path, nil); d.State != "superseded" || !strings.Contains(d.Reason, newer.ID) || d.Ended.IsZero() {
		t.Errorf("%+v", d)
	}
	steer("abort", 409, "")
	path = "/v1/deployments/" + newer.ID
	steer("abort", 200, "aborted")
	steer("resume", 409, "")
	steps := must[api.Page[api.DeploymentStep]](r, 200, admin, "GET", path+"/steps", nil).Items
	if len(steps) != 2 || steps[1].Note != "aborted by acme-admin" {
		t.Errorf("%+v", steps)
	}
	gateways := must[api.Page[api.DeploymentGateway]](r, 200, admin, "GET", path+"/gateways", nil).Items
	if len(gateways) != 1 || gateways[0].Name != "gw-1" || gateways[0].State != "waiting" {
		t.Errorf("%+v", gateways)
	}
	if list := must[api.Page[api.Deployment]](r, 200, admin, "GET", "/v1/deployments?function=a&limit=2", nil); len(list.Items) != 2 || list.Next == "" {
		t.Errorf("%+v", list)
	}
}

// A gateway that takes no binary from the controller is not for a deployment of
// one, which is refused where that goes for all.
func TestBinaryFromElsewhere(t *testing.T) {
	r := newRig(t)
	admin := r.tokens["acme"]
	r.sign("acme", system("hg", "arm64"))
	for _, name := range []string{"gw-1", "gw-2"} {
		id := r.gateway("acme", name, map[string]string{"site": name})
		r.update(func(ctx context.Context, tx *store.Tx) error {
			g, err := tx.Gateway(ctx, id)
			if g.Arch = "arm64"; err != nil {
				return err
			}
			_, err = tx.SetHello(ctx, &store.Status{Gateway: id, Hello: time.Now(), Session: 1})
			if name == "gw-1" {
				err = errors.Join(err, tx.SetFixed(ctx, id, "a package brings it"))
			}
			return errors.Join(err, tx.SetGateway(ctx, g))
		})
	}
	if _, _, body := r.call(admin, "POST", "/v1/deployments", api.NewDeployment{Function: "system", Targets: []string{"hg"}, Selector: "site=gw-1"}); !strings.Contains(body, "1 with such labels take no binary") {
		t.Errorf("%s", body)
	}
	made := must[api.Deployment](r, 201, admin, "POST", "/v1/deployments", api.NewDeployment{Function: "system", Targets: []string{"hg"}})
	if made.Progress.Chosen != 1 || made.Progress.Exempt != 1 {
		t.Errorf("%+v", made.Progress)
	}
	gateways := must[api.Page[api.DeploymentGateway]](r, 200, admin, "GET", "/v1/deployments/"+made.ID+"/gateways", nil).Items
	if len(gateways) != 2 || gateways[0].State != "exempt" || gateways[0].Note != "a package brings it" || gateways[1].State != "waiting" {
		t.Errorf("%+v", gateways)
	}
	if g := must[api.Gateway](r, 200, admin, "GET", "/v1/gateways/gw-1", nil); g.Status == nil || g.Status.FixedBinary != "a package brings it" {
		t.Errorf("%+v", g)
	}
}

// Configuration is laid over itself by place, the later over the earlier; each
// change is kept and can be taken back.
func TestConfigLayers(t *testing.T) {
	r := newRig(t)
	admin := r.tokens["acme"]
	r.gateway("acme", "gw-1", map[string]string{"site": "north", "batch": "7"})
	set := func(c api.ConfigChange) api.ConfigLayer {
		t.Helper()
		c.Function = "a"
		return must[api.ConfigLayer](r, 200, admin, "POST", "/v1/config", c)
	}
	config := func() string {
		t.Helper()
		state := must[api.GatewayState](r, 200, admin, "GET", "/v1/gateways/gw-1/state", nil)
		if len(state.Functions) != 1 || state.Functions[0].Drift == "" || !state.Drift {
			t.Fatalf("%+v", state)
		}
		b, err := json.Marshal(state.Functions[0].Config)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	want := func(what string) {
		t.Helper()
		if got := config(); got != what {
			t.Errorf("%s, want %s", got, what)
		}
	}
	set(api.ConfigChange{Selector: "site=north", Values: map[string]any{"target": 28, "b": "north"}})
	set(api.ConfigChange{Values: map[string]any{"target": 20, "c": []int{1}}})
	want(`{"b":"north","c":[1],"target":28}`)
	set(api.ConfigChange{Selector: "batch=7", Values: map[string]any{"target": 30}})
	want(`{"b":"north","c":[1],"target":30}`)
	set(api.ConfigChange{Selector: "site=north", Values: map[string]any{"target": 29}}) // later than that of the batch
	want(`{"b":"north","c":[1],"target":29}`)
	set(api.ConfigChange{Gateway: "gw-1", Values: map[string]any{"target": 31, "b": nil}})
	want(`{"b":"north","c":[1],"target":31}`)
	set(api.ConfigChange{Selector: "site=south", Values: map[string]any{"target": 1}})
	want(`{"b":"north","c":[1],"target":31}`)
	set(api.ConfigChange{Gateway: "gw-1", Values: map[string]any{"target": nil}})
	want(`{"b":"north","c":[1],"target":29}`)

	history := must[api.Page[api.ConfigEntry]](r, 200, admin, "GET", "/v1/config/history?function=a", nil).Items
	if len(history) != 7 || history[0].Before["target"] != 31.0 || history[0].After["target"] != nil {
		t.Fatalf("%+v", history)
	}
	must[api.ConfigLayer](r, 200, admin, "POST", "/v1/config/"+history[0].ID+"/revert", nil)
	want(`{"b":"north","c":[1],"target":31}`)
	if status, _, body := r.call(admin, "POST", "/v1/config/"+history[6].ID+"/revert", nil); status != 409 || !strings.Contains(body, "by now") {
		t.Errorf("an older change was taken back: %d: %s", status, body)
	}
	for name, c := range map[string]api.ConfigChange{
		"nothing": {}, "both": {Selector: "a", Gateway: "gw-1", Values: map[string]any{"a": 1}}, "a huge one": {Values: map[string]any{"a": strings.Repeat("x", 20_000)}},
		"a selector that is none": {Selector: "==", Values: map[string]any{"a": 1}}, "an empty key": {Values: map[string]any{"": 1}},
	} {
		c.Function = "a"
		if status, _, body := r.call(admin, "POST", "/v1/config", c); status != 422 {
			t.Errorf("%s: %d: %s", name, status, body)
		}
	}
	if status, _, _ := r.call(admin, "POST", "/v1/config", api.ConfigChange{Function: "a", Gateway: "none", Values: map[string]any{"a": 1}}); status != 404 {
		t.Errorf("a gateway that is not there: %d", status)
	}
}

func TestSecrets(t *testing.T) {
	r := newRig(t)
	admin := r.tokens["acme"]
	id := r.gateway("acme", "gw-1", map[string]string{"site": "north"})
	foreign := r.gateway("other", "gw-1", nil)
	key := func(public string, at time.Time) {
		r.update(func(ctx context.Context, tx *store.Tx) error {
			return tx.AddKey(ctx, store.Key{Gateway: id, Public: []byte(public), Since: at})
		})
	}
	key("old", time.Now().Add(-time.Hour))
	keys := must[api.Page[api.GatewayKey]](r, 200, admin, "GET", "/v1/gateway-keys?selector=site%3Dnorth", nil).Items
	if len(keys) != 1 || keys[0].ID != id || string(keys[0].Key) != "old" {
		t.Fatalf("%+v", keys)
	}
	set := func(sealed map[string][]byte) (int, string) {
		status, _, body := r.call(admin, "POST", "/v1/secrets", api.SetSecrets{Function: "a", Name: "weather_key", Sealed: sealed})
		return status, body
	}
	for name, sealed := range map[string]map[string][]byte{"nobody": {}, "another tenant's": {foreign: []byte("x")}, "a huge one": {id: make([]byte, 9000)}} {
		if status, body := set(sealed); status != 422 {
			t.Errorf("%s: %d: %s", name, status, body)
		}
	}
	for range 2 {
		if status, body := set(map[string][]byte{id: []byte("sealed")}); status != 200 {
			t.Fatal(body)
		}
	}
	one := func() api.SecretInfo {
		t.Helper()
		list := must[api.Page[api.SecretInfo]](r, 200, admin, "GET", "/v1/secrets", nil).Items
		if len(list) != 1 {
			t.Fatalf("%+v", list)
		}
		return list[0]
	}
	if s := one(); s.Revision != 2 || s.Stale || s.GatewayName != "gw-1" || s.Name != "weather_key" {
		t.Errorf("%+v", s)
	}
	key("new", time.Now())
	if s := one(); !s.Stale {
		t.Errorf("%+v", s)
	}
	must[api.Page[api.SecretInfo]](r, 200, admin, "POST", "/v1/secrets", api.SetSecrets{Function: "a", Name: "weather_key", Remove: []string{id}})
	if list := must[api.Page[api.SecretInfo]](r, 200, admin, "GET", "/v1/secrets", nil).Items; len(list) != 0 {
		t.Errorf("removed, and there: %+v", list)
	}
	if _, _, log := r.call(admin, "GET", "/v1/audit", nil); strings.Contains(log, "c2VhbGVk") || !strings.Contains(log, "weather_key") {
		t.Errorf("the audit log: %s", log)
	}
}

// A question is answered once, by the gateway that was asked.
func TestQuestions(t *testing.T) {
	r := newRig(t)
	admin := r.tokens["acme"]
	id, other := r.gateway("acme", "gw-1", nil), r.gateway("acme", "gw-2", nil)
	q := must[api.Question](r, 201, admin, "POST", "/v1/gateways/gw-1/questions", api.NewQuestion{What: "logs", Function: "a"})
	if len(r.sent) != 1 || r.sent[0] != id || q.Expires.Sub(q.Asked) != time.Minute {
		t.Errorf("%v, %+v", r.sent, q)
	}
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	answer := func(gateway, text string) {
		t.Helper()
		if err := r.fleet.Answer(t.Context(), gateway, &wire.Answer{ID: q.ID, Body: z.EncodeAll([]byte(text), nil)}); err != nil {
			t.Error(err)
		}
	}
	answer(other, `["forged"]`)
	answer(id, `["a line"]`)
	answer(id, `["again"]`)
	got := must[api.Question](r, 200, admin, "GET", "/v1/gateways/gw-1/questions/"+q.ID, nil)
	if fmt.Sprint(got.Answer) != "[a line]" || got.Answered.IsZero() {
		t.Errorf("%+v", got)
	}
	if status, _, _ := r.call(admin, "GET", "/v1/gateways/gw-2/questions/"+q.ID, nil); status != 404 {
		t.Errorf("another gateway's: %d", status)
	}
	q = must[api.Question](r, 201, admin, "POST", "/v1/gateways/gw-1/questions", api.NewQuestion{What: "doctor"})
	answer(id, strings.Repeat("x", 9<<20)) // a bomb
	if got := must[api.Question](r, 200, admin, "GET", "/v1/gateways/gw-1/questions/"+q.ID, nil); got.Answer != nil || got.Error == "" {
		t.Errorf("%+v", got)
	}
	for n := range 17 {
		status, _, body := r.call(admin, "POST", "/v1/gateways/gw-1/questions", api.NewQuestion{What: "doctor"})
		if (status == 201) != (n < 16) {
			t.Errorf("question %d: %d: %s", n, status, body)
		}
	}
	for name, b := range map[string]string{"what nobody knows": `{"what":"shell"}`, "a doctor of a function": `{"what":"doctor","function":"a"}`} {
		if status, _, body := r.call(admin, "POST", "/v1/gateways/gw-2/questions", b); status != 422 {
			t.Errorf("%s: %d: %s", name, status, body)
		}
	}
}

// The newest message of a topic is told, late and hostile ones change nothing.
func TestTelemetry(t *testing.T) {
	r := newRig(t)
	id := r.gateway("acme", "gw-1", nil)
	say := func(start, seq uint64, values ...wire.Value) {
		t.Helper()
		taken, err := r.fleet.Telemetry(t.Context(), id, &wire.Telemetry{Start: start, Seq: seq, Values: values})
		if err != nil || taken.Start != start || taken.Seq != seq {
			t.Errorf("%+v, %v", taken, err)
		}
	}
	v := func(topic, payload string) wire.Value {
		return wire.Value{Topic: topic, Payload: []byte(payload), Time: time.Now().UnixMicro()}
	}
	say(7, 1, v("farm/1", "1"))
	say(7, 3, v("farm/1", "3"), v("farm/2", "no JSON"), v("", "x"), v("a\x00b", "x"), v("large", strings.Repeat("x", 5000)))
	say(7, 2, v("farm/1", "2"))
	say(9, 1, v("farm/1", "9"))
	say(7, 4, v("farm/1", "4")) // of the run before
	list := must[api.Page[api.TelemetryValue]](r, 200, r.tokens["acme"], "GET", "/v1/gateways/gw-1/telemetry", nil).Items
	if len(list) != 2 || string(list[0].Payload) != "9" || list[0].JSON != 9.0 || list[1].JSON != nil || string(list[1].Payload) != "no JSON" {
		t.Errorf("%+v", list)
	}
}

func TestTargets(t *testing.T) {
	r := newRig(t)
	r.sign("acme", fn("a-1", "a"), fn("a-2", "a"), system("hg", "arm64"))
	for query, want := range map[string]int{"": 3, "?function=a": 2, "?function=system": 1, "?function=b": 0} {
		if list := must[api.Page[api.Target]](r, 200, r.tokens["acme"], "GET", "/v1/targets"+query, nil).Items; len(list) != want {
			t.Errorf("%q: %+v", query, list)
		}
	}
	first := must[api.Page[api.Target]](r, 200, r.tokens["acme"], "GET", "/v1/targets?limit=2", nil)
	rest := must[api.Page[api.Target]](r, 200, r.tokens["acme"], "GET", "/v1/targets?limit=2&cursor="+first.Next, nil)
	if len(first.Items) != 2 || len(rest.Items) != 1 || rest.Items[0].Name != "hg" {
		t.Errorf("%+v, %+v", first, rest)
	}
}
