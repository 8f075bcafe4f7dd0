package gateway_test

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/config"
	"github.com/headgate-io/headgate/internal/slow"
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
	slow.UnderRace(t, slow.WholeGateways)
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

// TestUploadsOfOthers leaves places for uploads to those who have none, however
// many somebody else holds: of those under way, and of those that may go on.
func TestUploadsOfOthers(t *testing.T) {
	r, url := served(t, buckets(map[string]config.Bucket{"theirs": {}, "ours": {}}), func(c *config.Config) {
		c.Objects.MaxUploads, c.Objects.MaxPartial = 2, 6
	})
	theirs, ours := r.scoped("theirs", "write:theirs"), r.scoped("ours", "write:ours", "read:ours")
	begin := func(key, bucket, name string) int {
		t.Helper()
		return r.ask("PUT", url+"/buckets/"+bucket+"/"+name, "x", key, "Content-Range: bytes 0-0/5").status
	}
	for i := range 20 {
		want := 308
		if i >= 6 {
			want = 429
		}
		if got := begin(theirs, "theirs", fmt.Sprint(i)); got != want {
			t.Fatalf("their upload %d: %d, want %d", i, got, want)
		}
	}
	for i := range 4 {
		want := 308
		if i == 3 {
			want = 429 // each has its half
		}
		if got := begin(ours, "ours", fmt.Sprint(i)); got != want {
			t.Errorf("our upload %d: %d, want %d", i, got, want)
		}
	}
	if got := begin(theirs, "theirs", "more"); got != 429 {
		t.Errorf("theirs again: %d", got)
	}
	if a := r.ask("PUT", url+"/buckets/ours/0", "yyyy", ours, "Content-Range: bytes 1-4/5"); a.status != 201 {
		t.Errorf("ours goes on: %d %s", a.status, a.body)
	}
	if got := r.counter("headgate_objects_partial_bytes"); got != 5 {
		t.Errorf("%d bytes are kept of uploads", got)
	}
	if left, _ := filepath.Glob(filepath.Join(r.cfg.StateDir, "objects", "uploads", "*")); len(left) != 10 {
		t.Errorf("%d files", len(left))
	}

	body, release := newSlow("x")
	defer release()
	go func() {
		if q, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url+"/buckets/theirs/slow", body); err == nil {
			q.Header.Set("Authorization", strings.TrimPrefix(theirs, "Authorization: "))
			if resp, err := http.DefaultTransport.RoundTrip(q); err == nil {
				resp.Body.Close()
			}
		}
	}()
	r.until("an upload is under way", func() bool { return r.counter("headgate_objects_uploads") == 1 })
	if a := r.ask("PUT", url+"/buckets/theirs/a", "x", theirs); a.status != 429 {
		t.Errorf("the last place: %d", a.status)
	}
	if a := r.ask("PUT", url+"/buckets/ours/a", "x", ours); a.status != 201 {
		t.Errorf("for others: %d %s", a.status, a.body)
	}
}
