package gateway_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/internal/slow"
)

func (r *rig) explain(q api.Explain) api.Explained {
	r.Helper()
	var x api.Explained
	r.call(http.MethodPost, "/v1/explain", q, &x)
	return x
}

// Explain says of every trigger whether it starts its function and why not,
// and what a function would do, while nothing of that happens.
func TestExplain(t *testing.T) {
	slow.UnderRace(t, slow.WholeGateways)
	r := start(t, t.TempDir())
	r.script("dry", "farm/{field}/moisture", `export default (event, { state, publish, enqueue, invoke, log }) => {
	  log.info("field " + event.params.field);
	  state.set("runs", (state.get("runs") ?? 0) + 1);
	  publish("valve", event.params.field);
	  enqueue("jobs", 1);
	  invoke("other", 2);
	  return 7;
	};`, mayEnqueue("jobs"), func(s *function.Spec) {
		s.Triggers[0].When, s.Triggers[0].OrderBy = "data.moisture < config.target", "field"
		s.Config, s.Permissions.Invoke = map[string]any{"target": 32}, []string{"other"}
	})
	r.script("other", "", notes, takes(function.Trigger{Queue: "jobs"}, function.Trigger{State: "dry:runs"}, function.Trigger{Failure: "dry"}, function.Trigger{Lifecycle: "gateway.started"}),
		func(s *function.Spec) { s.Permissions.State.Read = []string{"dry"} })
	ask := func(data string) api.Explained {
		return r.explain(api.Explain{Subject: "farm/3/moisture", Data: []byte(data), QoS: 1, Run: true})
	}
	verdict := func(x api.Explained) string { return fmt.Sprint(x.Triggers[0].Starts, " ", x.Triggers[0].Reason) }
	if x := ask(`{"moisture":40}`); !strings.Contains(verdict(x), "the condition is false") || x.Triggers[0].Values["data.moisture"] != 40.0 || x.Triggers[0].Values["config.target"] != 32.0 || len(x.Starts) != 0 {
		t.Errorf("explained %+v", x)
	}
	if x := ask(`{"dryness":40}`); !strings.Contains(verdict(x), "missing field data.moisture") {
		t.Errorf("explained %+v", x)
	}
	if x := r.explain(api.Explain{Subject: "farm/3"}); !strings.Contains(verdict(x), "the topic does not match farm/{field}/moisture") {
		t.Errorf("explained %+v", x)
	}
	x := ask(`{"moisture":20}`)
	if len(x.Starts) != 1 || x.Starts[0].Key != "3" || !x.Starts[0].Durable || x.Starts[0].Rehearsal == nil {
		t.Fatalf("explained %+v", x)
	}
	got := x.Starts[0].Rehearsal
	if got.Outcome != "ok" || string(got.Output) != "7" || got.Logs[0] != "info field 3" || got.Publish[0].Topic != "valve" || string(got.State[0].Value) != "1" ||
		got.Enqueue[0].Queue != "jobs" || got.Invoke[0].Function != "other" || fmt.Sprint(got.Starts) != "[other other other]" || got.Refused != "" {
		t.Errorf("rehearsed %+v", got)
	}
	for _, key := range []string{"runs", "all"} {
		if v := r.state("dry", key) + r.state("other", key); v != "" {
			t.Errorf("something happened: %s is %s", key, v)
		}
	}
	for kind, subject := range map[string]string{"queue": "jobs", "state": "dry:runs", "failure": "dry", "lifecycle": "gateway.started"} {
		x := r.explain(api.Explain{Kind: kind, Subject: subject, Data: []byte("{}"), Run: true})
		if len(x.Starts) != 1 || x.Starts[0].Function != "other" || x.Starts[0].Rehearsal == nil || x.Starts[0].Rehearsal.Outcome != "ok" {
			t.Errorf("%s %s: %+v", kind, subject, x)
		}
	}
	if why := r.refused(http.MethodPost, "/v1/explain", api.Explain{Kind: "weather", Subject: "x"}); !strings.Contains(why, "is not a kind of trigger") {
		t.Errorf("refused with %q", why)
	}
}

// What keeps a function from running is said.
func TestExplainHindrances(t *testing.T) {
	slow.UnderRace(t, slow.WholeGateways)
	r := start(t, t.TempDir())
	r.script("bad", "in", `export default () => { throw new Error("no flow"); };`, func(s *function.Spec) { s.Retry.Attempts = 1 })
	for range 40 {
		r.publish(api.Message{Topic: "in", QoS: 1})
	}
	r.until("it is paused", func() bool {
		x := r.explain(api.Explain{Subject: "in", QoS: 1})
		return len(x.Starts) == 1 && strings.Contains(strings.Join(x.Starts[0].Hindrances, ";"), "is paused until")
	})
	x := r.explain(api.Explain{Subject: "in", QoS: 1, Client: "soil-9", Run: true})
	if len(x.Notes) != 1 || x.Notes[0] != "no device is called soil-9" || x.Starts[0].Rehearsal.Outcome != "failed" || !strings.Contains(x.Starts[0].Rehearsal.Error, "no flow") {
		t.Errorf("explained %+v", x)
	}
	r.script("tick", "", notes, takes(function.Trigger{Cron: "0 5 * * *", When: "data.missed > 3"}))
	if x := r.explain(api.Explain{Kind: "timer", Subject: "tick"}); len(x.Triggers) != 1 || x.Triggers[0].Values["data.missed"] != 0.0 {
		t.Errorf("explained %+v", x)
	}
}
