package gateway_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/config"
)

func mayObjects(read, write string) func(*function.Spec) {
	return func(s *function.Spec) {
		if read != "" {
			s.Permissions.Objects.Read = strings.Fields(read)
		}
		if write != "" {
			s.Permissions.Objects.Write = strings.Fields(write)
		}
	}
}

// TestUploadStartsMany starts three functions by one upload: one makes an
// object, which starts a fourth; one fails once, and what it put is not there
// until its retry.
func TestUploadStartsMany(t *testing.T) {
	r, url := served(t, buckets(map[string]config.Bucket{"camera": {}, "thumbs": {}, "marked": {}}))
	all := r.scoped("all", "write:camera", "read:*")
	uploads := takes(function.Trigger{File: "camera/{cam}/{name}", OrderBy: "cam"})
	r.script("thumb", "", `export default (e, {objects, params}) => {
	  const o = objects.get(e.data.bucket, e.data.key);
	  if (o.digest !== e.data.digest) throw new Error("another object");
	  objects.put("thumbs", params.cam + "-" + params.name, o.bytes().slice(0, 3), {type: o.type});
	}`, uploads, mayObjects("camera", "thumbs/+"))
	r.script("mark", "", `export default (e, {objects, state, publish}) => {
	  objects.put("marked", e.data.key, "marked " + objects.get("camera", e.data.key).text());
	  if (e.attempt === 1) throw new Error("not yet");
	}`, uploads, mayObjects("camera/#", "marked"), func(s *function.Spec) { s.Retry = function.Retry{Backoff: function.Duration(200 * time.Millisecond)} })
	r.script("row", "", `export default (e, {state}) => state.set(e.data.key, {n: (state.get(e.data.key)?.n ?? 0) + 1, size: e.data.size})`, uploads)
	r.script("fourth", "", `export default (e, {objects, state}) => state.set(e.data.key, objects.get("thumbs", e.data.key).text() + " " + e.data.type + " " + e.source)`,
		takes(function.Trigger{File: "thumbs"}), mayObjects("thumbs", ""))

	if a := r.ask("PUT", url+"/buckets/camera/front/1.png", "picture", all); a.status != 201 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	r.eventually("row", "front/1.png", `{"n":1,"size":7}`)
	r.eventually("fourth", "front-1.png", `"pic image/png /functions/thumb"`)
	r.until("the retry", func() bool { return r.ask("GET", url+"/buckets/marked/front/1.png", "", all).body == "marked picture" })
	if a := r.ask("GET", url+"/buckets/thumbs/front-1.png", "", all); a.body != "pic" || a.header.Get("Content-Type") != "image/png" {
		t.Errorf("%d %q %v", a.status, a.body, a.header)
	}
	r.until("three contents are on disk", func() bool { return len(r.blobs()) == 3 })
}

// TestFailedPutLeavesNothing keeps nothing of an invocation that fails, and
// nothing of one that is only rehearsed.
func TestFailedPutLeavesNothing(t *testing.T) {
	r, _ := served(t, buckets(map[string]config.Bucket{"camera": {Quota: 1000}}))
	r.script("fails", "", `export default (e, {objects}) => { objects.put("camera", "a", e.data); throw new Error("no") }`, mayObjects("", "camera"))
	r.script("full", "", `export default (e, {objects}) => { objects.put("camera", "a", "x".repeat(600)); objects.put("camera", "b", "y".repeat(600)) }`, mayObjects("", "camera"))
	r.script("muted", "t/muted", `export default (e, {objects}) => { objects.put("camera", "a", "z"); return objects.get("camera", "a").text() }`, mayObjects("camera", "camera"))
	if got := r.invoked("fails", "secret"); got.Outcome != "failed" {
		t.Errorf("%+v", got)
	}
	if got := r.invoked("full", "x"); got.Outcome != "failed" || !strings.Contains(got.Error, "bucket camera is full") {
		t.Errorf("%+v", got)
	}
	out := r.explain(api.Explain{Subject: "t/muted", Data: []byte("1"), Run: true})
	if len(out.Starts) != 1 || out.Starts[0].Rehearsal == nil || len(out.Starts[0].Rehearsal.Objects) != 1 || string(out.Starts[0].Rehearsal.Output) != "z" {
		t.Errorf("explain: %+v", out)
	}
	r.until("nothing is left", func() bool { return len(r.blobs()) == 0 })
	if got := r.invoked("muted", "1"); got.Outcome != "ok" || string(got.Output) != "z" {
		t.Errorf("%+v", got)
	}
	r.until("one is there", func() bool { return len(r.blobs()) == 1 })
}

// TestObjectConflict reruns an invocation whose object was replaced while it
// ran.
func TestObjectConflict(t *testing.T) {
	r, url := served(t, buckets(map[string]config.Bucket{"camera": {}}))
	all := r.scoped("all", "write:camera", "read:*")
	r.script("count", "add/#", `export default (e, {objects}) => {
	  const o = objects.get("camera", "count");
	  objects.put("camera", "count", String(Number(o?.text() ?? 0) + 1));
	}`, mayObjects("camera", "camera"), func(s *function.Spec) { s.Limits.Concurrency = 8 })
	const n = 40
	for i := range n {
		r.publish(api.Message{Topic: "add/" + string(rune('a'+i%20)), Payload: []byte("1"), QoS: 1})
	}
	r.until("every one counts", func() bool { return r.ask("GET", url+"/buckets/camera/count", "", all).body == "40" })
	r.until("only the last is kept", func() bool { return len(r.blobs()) == 1 })
	var list []api.DeadLetter
	r.call(http.MethodGet, "/v1/deadletters", nil, &list)
	if len(list) > 0 {
		t.Errorf("%+v", list)
	}
}
