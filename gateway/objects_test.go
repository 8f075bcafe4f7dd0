package gateway_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/config"
	"github.com/headgate-io/headgate/gateway/dispatch"
)

// buckets declares buckets.
func buckets(all map[string]config.Bucket) func(*config.Config) {
	return func(c *config.Config) { c.Objects.Buckets = all }
}

// scoped makes a key with these scopes and returns the header that shows it.
func (r *rig) scoped(name string, scopes ...string) string {
	r.Helper()
	var out api.TokenSecret
	r.call(http.MethodPost, "/v1/tokens", api.NewToken{Name: name, Scopes: scopes}, &out)
	return "Authorization: Bearer " + out.Secret
}

// blobs are the digests whose content is on disk.
func (r *rig) blobs() []string {
	r.Helper()
	files, err := filepath.Glob(filepath.Join(r.cfg.StateDir, "objects", "blobs", "*", "*"))
	if err != nil {
		r.Fatal(err)
	}
	for i, f := range files {
		files[i] = filepath.Base(f)
	}
	slices.Sort(files)
	return files
}

func digestOf(content string) string {
	sum := sha256.Sum256([]byte(content))
	return "sha256:" + hex.EncodeToString(sum[:])
}

func base64Digest(content string) string {
	sum := sha256.Sum256([]byte(content))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// follow is a function that writes down, by key, each event of a bucket that it
// gets.
const follow = `export default (event, {state}) => { state.set(event.type.split(".").pop() + "/" + event.data.key, { n: (state.get(event.type.split(".").pop() + "/" + event.data.key)?.n ?? 0) + 1, data: event.data, params: event.params }) }`

func TestObjects(t *testing.T) {
	r, url := served(t, buckets(map[string]config.Bucket{"camera": {}, "other": {}}))
	all := r.scoped("all", "read:camera", "write:camera")
	reads := r.scoped("reads", "read:*")
	r.script("follow", "", follow, takes(function.Trigger{File: "camera/{cam}/{name}", Change: "any"}))
	r.script("second", "", follow, takes(function.Trigger{File: "camera", OrderBy: "data.key", When: `data.size > 3 && data.type == "image/jpeg"`}))
	where := url + "/buckets/camera/front/1.jpg"

	a := r.ask("PUT", where, "image", all)
	if a.status != 201 || a.header.Get("Etag") != `"`+digestOf("image")+`"` {
		t.Fatalf("put: %d %v %s", a.status, a.header, a.body)
	}
	var seen struct {
		N      int
		Data   dispatch.ObjectData
		Params map[string]string
	}
	for _, f := range []string{"follow", "second"} {
		r.until("the event of the upload", func() bool { return r.state(f, "created/front/1.jpg") != "" })
		if err := json.Unmarshal([]byte(r.state(f, "created/front/1.jpg")), &seen); err != nil {
			t.Fatal(err)
		}
		if d := seen.Data; d.Bucket != "camera" || d.Key != "front/1.jpg" || d.Digest != digestOf("image") || d.Size != 5 || d.Type != "image/jpeg" || d.Replaces != "" || seen.N != 1 {
			t.Errorf("%s got %+v", f, seen)
		}
		if f == "follow" && (seen.Params["cam"] != "front" || seen.Params["name"] != "1.jpg") {
			t.Errorf("captures %v", seen.Params)
		}
	}

	for _, c := range []struct {
		name, method, url string
		header            []string
		status            int
		body              string
	}{
		{"get", "GET", where, []string{reads}, 200, "image"},
		{"head", "HEAD", where, []string{reads}, 200, ""},
		{"range", "GET", where, []string{reads, "Range: bytes=1-2"}, 206, "ma"},
		{"not modified", "GET", where, []string{reads, `If-None-Match: "` + digestOf("image") + `"`}, 304, ""},
		{"no key", "GET", where, nil, 401, ""},
		{"no key to write", "PUT", where, nil, 401, ""},
		{"a key that reads does not write", "PUT", where, []string{reads}, 403, ""},
		{"a key of another bucket", "GET", url + "/buckets/other/x", []string{all}, 403, ""},
		{"no such object", "GET", url + "/buckets/camera/none", []string{all}, 404, ""},
		{"no such bucket", "GET", url + "/buckets/none/x", []string{reads}, 404, ""},
		{"exists", "PUT", where, []string{all, "If-None-Match: *"}, 412, ""},
		{"changed", "PUT", where, []string{all, `If-Match: "sha256:00"`}, 412, ""},
		{"wrong digest", "PUT", where, []string{all, "Content-Digest: sha-256=:" + base64Digest("else") + ":"}, 400, ""},
		{"malformed digest", "PUT", where, []string{all, "Digest: SHA-256=x"}, 400, ""},
		{"a key with a wildcard", "PUT", url + "/buckets/camera/a+b", []string{all}, 400, ""},
		{"a method that there is not", "POST", where, []string{all}, 405, ""},
		{"delete what is not there", "DELETE", url + "/buckets/camera/none", []string{all}, 404, ""},
	} {
		got := r.ask(c.method, c.url, "", c.header...)
		if got.status != c.status || c.body != "" && got.body != c.body {
			t.Errorf("%s: %d %q, want %d %q", c.name, got.status, got.body, c.status, c.body)
		}
	}
	if n := r.blobs(); len(n) != 1 {
		t.Errorf("refused uploads left %v", n)
	}

	// The same content is there once; another in its place frees the first.
	a = r.ask("PUT", url+"/buckets/camera/front/2.jpg", "image", all, "Digest: SHA-256="+base64Digest("image"), "Content-Type: image/png")
	if a.status != 201 || len(r.blobs()) != 1 {
		t.Errorf("put again: %d %s %v", a.status, a.body, r.blobs())
	}
	if a = r.ask("PUT", where, "another", all, `If-Match: "`+digestOf("image")+`"`, "If-None-Match: \"x\""); a.status != 200 {
		t.Errorf("replace: %d %s", a.status, a.body)
	}
	r.until("the event of the replacement", func() bool {
		return json.Unmarshal([]byte(r.state("follow", "created/front/1.jpg")), &seen) == nil && seen.N == 2
	})
	if seen.Data.Replaces != digestOf("image") {
		t.Errorf("replaced %+v", seen)
	}

	var list struct {
		Objects []struct {
			Key, Digest, Type string
			Size              int64
			Modified          time.Time
		}
		Next string
	}
	if a = r.ask("GET", url+"/buckets/camera?prefix=front/&limit=1", "", reads); json.Unmarshal([]byte(a.body), &list) != nil || len(list.Objects) != 1 || list.Next != "front/1.jpg" {
		t.Errorf("list: %d %s", a.status, a.body)
	}
	if a = r.ask("GET", url+"/buckets/camera/?after=front/1.jpg", "", reads); json.Unmarshal([]byte(a.body), &list) != nil || len(list.Objects) != 1 || list.Objects[0].Type != "image/png" {
		t.Errorf("list the rest: %d %s", a.status, a.body)
	}

	if a = r.ask("DELETE", where, "", all); a.status != 204 {
		t.Errorf("delete: %d %s", a.status, a.body)
	}
	r.until("the event of the deletion", func() bool { return r.state("follow", "deleted/front/1.jpg") != "" })
	r.until("what nobody needs is gone", func() bool { return slices.Equal(r.blobs(), []string{digestOf("image")[7:]}) })
	if r.state("second", "deleted/front/1.jpg") != "" {
		t.Error("a trigger of what is created got a deletion")
	}
	if got := r.ask("GET", where, "", reads); got.status != 404 {
		t.Errorf("what is deleted is there: %d", got.status)
	}
}

func TestObjectsSurvive(t *testing.T) {
	dir := t.TempDir()
	change := []func(*config.Config){
		buckets(map[string]config.Bucket{"camera": {Public: true}}),
		func(c *config.Config) { c.HTTP.Listen = "127.0.0.1:0" },
	}
	r := start(t, dir, change...)
	all := r.scoped("all", "write:camera")
	url := "http://" + r.httpAddress() + "/buckets/camera/"
	if a := r.ask("PUT", url+"a", "kept", all); a.status != 201 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	r.stop()
	// What no row speaks of is what a crash leaves.
	orphan := filepath.Join(dir, "objects", "blobs", "ab", "ab"+strings.Repeat("0", 62))
	if err := os.MkdirAll(filepath.Dir(orphan), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{orphan, filepath.Join(dir, "objects", "staged", "x"), filepath.Join(dir, "objects", "uploads", "y.part")} {
		if err := os.WriteFile(f, []byte("left"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r = start(t, dir, change...)
	r.until("orphans are swept", func() bool {
		left, _ := filepath.Glob(filepath.Join(dir, "objects", "*", "[xy]*"))
		return slices.Equal(r.blobs(), []string{digestOf("kept")[7:]}) && len(left) == 0
	})
	if a := r.ask("GET", "http://"+r.httpAddress()+"/buckets/camera/a", ""); a.status != 200 || a.body != "kept" {
		t.Errorf("%d %s", a.status, a.body)
	}
	if err := os.RemoveAll(filepath.Join(dir, "objects", "blobs", digestOf("kept")[7:9])); err != nil {
		t.Fatal(err)
	}
	if a := r.ask("GET", "http://"+r.httpAddress()+"/buckets/camera/a", ""); a.status != 404 || !strings.Contains(a.body, "backup") {
		t.Errorf("an object without its bytes: %d %s", a.status, a.body)
	}
}

func TestObjectBounds(t *testing.T) {
	r, url := served(t, buckets(map[string]config.Bucket{
		"small": {Quota: 1000, MaxObject: 600, MaxObjects: 3},
		"ring":  {Quota: 1000, MaxObject: 600, WhenFull: "oldest"},
		"brief": {Keep: function.Duration(time.Second)},
	}))
	all := r.scoped("all", "write:*", "read:*")
	r.script("follow", "", follow, takes(function.Trigger{File: "ring", Change: "deleted"}, function.Trigger{File: "brief/#", Change: "deleted"}))
	put := func(key string, size int) int {
		t.Helper()
		return r.ask("PUT", url+"/buckets/"+key, strings.Repeat("x", size), all).status
	}
	for _, c := range []struct {
		key    string
		size   int
		status int
	}{
		{"small/a", 601, 413},
		{"small/a", 600, 201},
		{"small/b", 500, 507},
		{"small/a", 500, 200},
		{"small/b", 500, 201},
		{"small/c", 1, 507},
		{"small/a", 0, 200},
		{"small/c", 1, 201},
		{"small/d", 0, 507},
		{"ring/a", 500, 201},
		{"ring/b", 500, 201},
		{"ring/c", 300, 201},
		{"ring/d", 300, 201},
	} {
		if got := put(c.key, c.size); got != c.status {
			t.Errorf("%d bytes to %s: %d, want %d", c.size, c.key, got, c.status)
		}
	}
	for key, status := range map[string]int{"a": 404, "b": 404, "c": 200, "d": 200} {
		if got := r.ask("HEAD", url+"/buckets/ring/"+key, "", all).status; got != status {
			t.Errorf("ring/%s: %d, want %d", key, got, status)
		}
	}
	r.until("evictions are told", func() bool { return r.state("follow", "deleted/a") != "" && r.state("follow", "deleted/b") != "" })
	if got := put("brief/a", 5); got != 201 {
		t.Fatal(got)
	}
	r.until("an object's time passes", func() bool { return r.ask("HEAD", url+"/buckets/brief/a", "", all).status == 404 })
}

func TestObjectDeploy(t *testing.T) {
	r, _ := served(t, buckets(map[string]config.Bucket{"camera": {}}))
	spec := func(change func(*function.Spec)) function.Spec {
		s := function.Spec{Name: "f", Main: "f.js"}
		change(&s)
		return s
	}
	for want, s := range map[string]function.Spec{
		"there is no bucket none":              spec(takes(function.Trigger{File: "none/{x}"})),
		"f.permissions.objects.write[0]":       spec(func(s *function.Spec) { s.Permissions.Objects.Write = []string{"thumbs/#"} }),
		"must begin with the name of a bucket": spec(takes(function.Trigger{File: "{bucket}/x"})),
		"must be created, deleted or any":      spec(takes(function.Trigger{File: "camera", Change: "moved"})),
		"is an option of file":                 spec(takes(function.Trigger{MQTT: "a", Change: "any"})),
		"what is below /buckets/":              spec(takes(public("GET /buckets/x"))),
	} {
		if err := r.tryDeploy(s, "export default () => 1"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// TestResumableUpload breaks an upload off, kills the gateway under another, and
// goes on where each ended.
func TestResumableUpload(t *testing.T) {
	dir := t.TempDir()
	change := []func(*config.Config){
		buckets(map[string]config.Bucket{"camera": {}}),
		func(c *config.Config) { c.HTTP.Listen = "127.0.0.1:0" },
	}
	r := start(t, dir, change...)
	all := r.scoped("all", "write:camera", "read:camera")
	content := strings.Repeat("0123456789abcdef", 9<<16) // 9 MiB
	url := func() string { return "http://" + r.httpAddress() + "/buckets/camera/film.mp4" }
	part := func(from, to int, header ...string) got {
		t.Helper()
		return r.ask("PUT", url(), content[from:to], append(header, all, fmt.Sprintf("Content-Range: bytes %d-%d/%d", from, to-1, len(content)))...)
	}
	asks := fmt.Sprintf("Content-Range: bytes */%d", len(content))

	if a := r.ask("PUT", url(), "", all, asks); a.status != 308 || a.header.Get("Range") != "" {
		t.Errorf("nothing is there: %d %v", a.status, a.header)
	}
	if a := part(0, 1000); a.status != 308 || a.header.Get("Range") != "bytes=0-999" {
		t.Fatalf("first part: %d %v %s", a.status, a.header, a.body)
	}
	if a := part(2000, 3000); a.status != 409 || a.header.Get("Range") != "bytes=0-999" {
		t.Errorf("a part that does not follow: %d %v %s", a.status, a.header, a.body)
	}
	r.stop()
	r = start(t, dir, change...)
	if a := r.ask("PUT", url(), "", all, asks); a.status != 308 || a.header.Get("Range") != "bytes=0-999" {
		t.Fatalf("after a restart: %d %v", a.status, a.header)
	}
	if a := part(1000, len(content), "Repr-Digest: sha-256=:"+base64Digest(content)+":"); a.status != 201 || a.header.Get("Etag") != `"`+digestOf(content)+`"` {
		t.Fatalf("the rest: %d %v %s", a.status, a.header, a.body)
	}
	if a := r.ask("PUT", url(), "", all, asks); a.status != 200 {
		t.Errorf("it is there: %d %v", a.status, a.header)
	}
	if a := r.ask("GET", url(), "", all, "Range: bytes=1000-1003"); a.body != content[1000:1004] {
		t.Errorf("%d %q", a.status, a.body)
	}

	// A plain upload that breaks off can be gone on with.
	other := strings.Repeat("fedcba9876543210", 9<<16)
	conn, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", r.httpAddress())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "PUT /buckets/camera/film.mp4 HTTP/1.1\r\nHost: x\r\n%s\r\nContent-Length: %d\r\n\r\n%s", all, len(other), other[:8<<20])
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || resp.StatusCode != http.StatusRequestTimeout || resp.Header.Get("Range") != fmt.Sprintf("bytes=0-%d", 8<<20-1) {
		t.Fatalf("broken off: %v %v", resp, err)
	}
	resp.Body.Close()
	conn.Close()
	goOn(t, r, url(), all, other, 8<<20)
	if a := r.ask("HEAD", url(), "", all); a.header.Get("Etag") != `"`+digestOf(other)+`"` {
		t.Errorf("gone on: %d %v", a.status, a.header)
	}
	r.until("the first film is gone", func() bool { return len(r.blobs()) == 1 })
	if left, _ := filepath.Glob(filepath.Join(dir, "objects", "[us]*", "*")); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

// goOn sends the rest of an upload: with curl, which people have, where it is
// there.
func goOn(t *testing.T, r *rig, url, key, content string, from int) {
	t.Helper()
	curl, err := exec.LookPath("curl")
	if err != nil {
		a := r.ask("PUT", url, content[from:], key, fmt.Sprintf("Content-Range: bytes %d-%d/%d", from, len(content)-1, len(content)))
		if a.status != 200 {
			t.Errorf("gone on: %d %s", a.status, a.body)
		}
		return
	}
	file := filepath.Join(t.TempDir(), "film.mp4")
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), curl, "-sS", "-C", strconv.Itoa(from), "-T", file, "-H", key, "-w", "%{http_code}", "-o", os.DevNull, url).CombinedOutput()
	if err != nil || string(out) != "200" {
		t.Errorf("gone on with curl: %v %s", err, out)
	}
}

// TestUploadsAtOnce has a bound on uploads, and one on what a body may be.
func TestUploadsAtOnce(t *testing.T) {
	r, url := served(t, buckets(map[string]config.Bucket{"camera": {MaxObject: 100}}), func(c *config.Config) { c.Objects.MaxUploads = 1 })
	all := r.scoped("all", "write:camera", "read:camera")
	hold, release := newSlow("half")
	done := make(chan int, 1)
	go func() {
		q, err := http.NewRequestWithContext(context.Background(), http.MethodPut, url+"/buckets/camera/slow", hold)
		if err != nil {
			done <- 0
			return
		}
		q.Header.Set("Authorization", strings.TrimPrefix(all, "Authorization: "))
		resp, err := http.DefaultTransport.RoundTrip(q)
		if err != nil {
			done <- 0
			return
		}
		resp.Body.Close()
		done <- resp.StatusCode
	}()
	r.until("an upload is under way", func() bool { return strings.Contains(r.scrape(), "headgate_objects_uploads 1") })
	if a := r.ask("PUT", url+"/buckets/camera/b", "x", all); a.status != 429 || a.header.Get("Retry-After") == "" {
		t.Errorf("%d %v %s", a.status, a.header, a.body)
	}
	release()
	if status := <-done; status != 201 {
		t.Errorf("the slow one: %d", status)
	}
	q, err := http.NewRequestWithContext(context.Background(), http.MethodPut, url+"/buckets/camera/c", struct{ *bytes.Reader }{bytes.NewReader(make([]byte, 1000))})
	if err != nil {
		t.Fatal(err)
	}
	q.ContentLength = -1
	q.Header.Set("Authorization", strings.TrimPrefix(all, "Authorization: "))
	resp, err := http.DefaultTransport.RoundTrip(q)
	if err != nil || resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Fatalf("a body of unknown length: %v %v", resp, err)
	}
	resp.Body.Close()
}

// slowBody is a body whose end waits.
type slowBody struct {
	text string
	wait chan struct{}
}

func newSlow(text string) (*slowBody, func()) {
	s := &slowBody{text, make(chan struct{})}
	return s, func() { close(s.wait) }
}

func (s *slowBody) Read(p []byte) (int, error) {
	if s.text != "" {
		n := copy(p, s.text)
		s.text = s.text[n:]
		return n, nil
	}
	<-s.wait
	return 0, io.EOF
}
