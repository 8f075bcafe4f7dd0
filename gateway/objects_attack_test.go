package gateway_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/config"
)

// TestDamagedPart takes back a part of an upload that is not what its digest
// says, and goes on with it when it comes again.
func TestDamagedPart(t *testing.T) {
	r, url := served(t, buckets(map[string]config.Bucket{"camera": {}}))
	all := r.scoped("all", "write:camera", "read:camera")
	content := strings.Repeat("0123456789", 300)
	part := func(sent string, from, to int) got {
		t.Helper()
		return r.ask("PUT", url+"/buckets/camera/a", sent, all, fmt.Sprintf("Content-Range: bytes %d-%d/%d", from, to-1, len(content)),
			"Content-Digest: sha-256=:"+base64Digest(content[from:to])+":")
	}
	damaged := strings.Repeat("x", 1000)
	if a := part(damaged, 0, 1000); a.status != 400 {
		t.Fatalf("a damaged first part: %d %s", a.status, a.body)
	}
	if a := part(content[:1000], 0, 1000); a.status != 308 || a.header.Get("Range") != "bytes=0-999" {
		t.Fatalf("the first part: %d %v %s", a.status, a.header, a.body)
	}
	for i := range 2 {
		if a := part(damaged, 1000, 2000); a.status != 400 {
			t.Fatalf("a damaged part: %d %v %s", a.status, a.header, a.body)
		}
		if a := part(damaged+damaged, 1000, 3000); a.status != 400 {
			t.Fatalf("a damaged last part, %d: %d %v %s", i, a.status, a.header, a.body)
		}
	}
	if a := part(content[1000:2000], 1000, 2000); a.status != 308 || a.header.Get("Range") != "bytes=0-1999" {
		t.Fatalf("again: %d %v %s", a.status, a.header, a.body)
	}
	if a := part(content[2000:], 2000, 3000); a.status != 201 || a.header.Get("Etag") != `"`+digestOf(content)+`"` {
		t.Fatalf("the last part: %d %v %s", a.status, a.header, a.body)
	}
	if left, _ := filepath.Glob(filepath.Join(r.cfg.StateDir, "objects", "[us]*", "*")); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
	if got := r.counter("headgate_objects_bytes"); got != len(content) {
		t.Errorf("the bucket counts %d bytes", got)
	}
}

// TestRoomForOneThatIsLarge fills a bucket that drops its oldest with more small
// objects than one unit deletes, and puts large ones: by hand, and by a
// function.
func TestRoomForOneThatIsLarge(t *testing.T) {
	r, url := served(t, buckets(map[string]config.Bucket{
		"ring": {Quota: 7000, MaxObject: 6000, WhenFull: "oldest"},
		"many": {Quota: 1000, WhenFull: "oldest"},
	}))
	all := r.scoped("all", "write:*", "read:*")
	fill := func() {
		t.Helper()
		for i := range 700 {
			if a := r.ask("PUT", fmt.Sprintf("%s/buckets/ring/%d", url, i), "0123456789", all); a.status/100 != 2 {
				t.Fatalf("%d: %d %s", i, a.status, a.body)
			}
		}
	}
	fill()
	if a := r.ask("PUT", url+"/buckets/ring/large", strings.Repeat("x", 6000), all); a.status != 201 {
		t.Fatalf("a large one: %d %s", a.status, a.body)
	}
	for key, status := range map[string]int{"599": 404, "600": 200, "699": 200} {
		if got := r.ask("HEAD", url+"/buckets/ring/"+key, "", all).status; got != status {
			t.Errorf("%s: %d, want %d: no more are deleted than have to be", key, got, status)
		}
	}
	if a := r.ask("DELETE", url+"/buckets/ring/large", "", all); a.status != 204 {
		t.Fatal(a.status)
	}
	fill()
	r.script("large", "t", `export default (e, {objects, state}) => { objects.put("ring", "large", "y".repeat(6000)); state.set("done", e.attempt > 1) }`, mayObjects("", "ring"))
	r.publish(api.Message{Topic: "t", Payload: []byte("1"), QoS: 1})
	r.eventually("large", "done", "true")

	// What can never fit deletes nothing.
	r.script("never", "", `export default (e, {objects}) => { for (const k of ["a", "b"]) objects.put("many", k, k.repeat(600)) }`, mayObjects("", "many"))
	for i := range 300 {
		r.ask("PUT", fmt.Sprintf("%s/buckets/many/%d", url, i), "x", all)
	}
	if got := r.invoked("never", "1"); got.Outcome != "failed" {
		t.Errorf("%+v", got)
	}
	if got := r.ask("HEAD", url+"/buckets/many/0", "", all).status; got != 200 {
		t.Errorf("the oldest: %d", got)
	}
}
