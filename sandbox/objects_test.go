package sandbox_test

import (
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/internal/slow"
	"github.com/headgate-io/headgate/sandbox"
	"github.com/headgate-io/headgate/sandbox/host"
)

// objectRules are the prefixes that may be read and written.
type objectRules map[string][]string

func (r objectRules) may(access, name string) error {
	if !slices.ContainsFunc(r[access], func(prefix string) bool { return strings.HasPrefix(name, prefix) }) {
		return errors.New("no " + access)
	}
	return nil
}

func (r objectRules) MayReadObject(name string) error  { return r.may("read", name) }
func (r objectRules) MayWriteObject(name string) error { return r.may("write", name) }
func (r objectRules) MayListObjects(prefix string) error {
	if r.may("read", prefix) != nil {
		return errors.New("no list")
	}
	return nil
}

// bucketState is a view of buckets, and memoryBlobs their contents.
type bucketState struct{ objects map[string]function.Object }

func (s bucketState) Get(ns, key string) ([]byte, bool, error) {
	bucket, _ := function.ObjectSpaceBucket(ns)
	o, ok := s.objects[bucket+"/"+key]
	return o.Encode(), ok, nil
}

func (s bucketState) List(ns, prefix, after string, limit int) (keys []string, more bool, err error) {
	bucket, _ := function.ObjectSpaceBucket(ns)
	for name := range s.objects {
		if key, ok := strings.CutPrefix(name, bucket+"/"); ok && strings.HasPrefix(key, prefix) && key > after {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	more = len(keys) > limit
	return keys[:min(len(keys), limit)], more, nil
}

type memoryBlobs map[string][]byte

func (memoryBlobs) MaxObject(string) int64 { return 100 }

func (m memoryBlobs) PutBlob(data []byte) (string, error) {
	sum := sha256.Sum256(data)
	digest := function.DigestOf(sum[:])
	m[digest] = slices.Clone(data)
	return digest, nil
}

func (m memoryBlobs) ReadBlob(digest string, offset int64, p []byte) (int, error) {
	b, ok := m[digest]
	if !ok {
		return 0, fs.ErrNotExist
	}
	return copy(p, b[min(offset, int64(len(b))):]), nil
}

func (m memoryBlobs) add(s bucketState, name, content string) {
	digest, _ := m.PutBlob([]byte(content))
	s.objects[name] = function.Object{Digest: digest, Size: int64(len(content)), Type: "text/plain", Modified: time.UnixMilli(1)}
}

// TestObjectsInEveryLanguage reads, puts, deletes and lists objects, and wants
// the same of every language.
func TestObjectsInEveryLanguage(t *testing.T) {
	slow.Both(t, slow.LargeGuests)
	e := testEngine(t, sandbox.Config{})
	source := func(name string) func(t *testing.T) (string, []byte) {
		return func(t *testing.T) (string, []byte) {
			b, err := os.ReadFile("testdata/js/" + name)
			if err != nil {
				t.Fatal(err)
			}
			return name, b
		}
	}
	guests := map[string]func(t *testing.T) (string, []byte){
		"go":             func(t *testing.T) (string, []byte) { return "f.wasm", goGuest(t, "go/objects") },
		"tinygo":         func(t *testing.T) (string, []byte) { return "f.wasm", tinyGoGuest(t, "go/objects") },
		"c":              func(t *testing.T) (string, []byte) { return "f.wasm", cGuest(t, "c/objects.c") },
		"javascript":     source("objects.js"),
		"assemblyscript": func(t *testing.T) (string, []byte) { return "f.wasm", assemblyScriptGuest(t, "objects.ts") },
		"rust":           func(t *testing.T) (string, []byte) { return "f.wasm", rustGuest(t, "objects.rs") },
		"python":         func(t *testing.T) (string, []byte) { return "objects.py", pythonGuest(t, "objects.py") },
	}
	for name, guest := range guests {
		t.Run(name, func(t *testing.T) {
			main, code := guest(t)
			u := load(t, e, main, code, testOptions{})
			u.grant = u.grant.WithObjects(objectRules{"read": {"camera/in/", "thumbs/", "camera/none"}, "write": {"thumbs/", "camera/"}})
			s, blobs := bucketState{map[string]function.Object{}}, memoryBlobs{}
			blobs.add(s, "camera/in/a.txt", "hello world")
			blobs.add(s, "camera/in/b.bin", "binary")
			r := u.invoke(host.Invocation{State: s, Blobs: blobs})
			if want := "hello world|world|11|19|in/a.txt|none|denied"; r.Outcome != function.OK || string(r.Output) != want {
				t.Fatalf("%s %s %q, want %q, %v", r.Outcome, r.Error, r.Output, want, u.calls.Logs())
			}
			all := u.calls.Effects().Objects
			if len(all) != 2 || all[0].Bucket != "thumbs" || all[0].Key != "copy.txt" || all[0].Object.Type != "text/x-copy" || all[0].Object.Size != 19 ||
				string(blobs[all[0].Object.Digest]) != "copy of hello world" || !all[1].Delete || all[1].Key != "in/b.bin" {
				t.Errorf("effects %+v", all)
			}
		})
	}
}

// TestObjectLimits refuses what is too much, each with its reason.
func TestObjectLimits(t *testing.T) {
	e := testEngine(t, sandbox.Config{})
	g := host.NewGrant("test", function.Permissions{}, function.Limits{ObjectBytes: 150, Effects: 3, Memory: 4 << 20}, nil, nil).
		WithObjects(objectRules{"read": {"camera/"}, "write": {"camera/"}})
	s, blobs := bucketState{map[string]function.Object{"camera/huge": {Digest: "sha256:x", Size: 1 << 40}, "camera/gone": {Digest: "sha256:x", Size: 1}}}, memoryBlobs{}
	for call, want := range map[string]string{
		`objects.put("camera", "a", "x".repeat(101))`:                                 "LIMIT blob_put camera/a: 101 bytes are over the 100",
		`["a", "b"].map((k) => objects.put("camera", k, "x".repeat(100)))`:            "LIMIT blob_put camera/b: with 100 more bytes the objects of this invocation are over 150 bytes (limits.object_bytes)",
		`[1, 2, 3, 4].map((k) => objects.delete("camera", "k" + k))`:                  "LIMIT blob_delete: one invocation may ask for 3 effects",
		`[1, 2, 3, 4].map((k) => objects.put("camera", "a", "x" + k))`:                "LIMIT blob_put: one invocation may put 3 times",
		`objects.get("camera", "huge")`:                                               "LIMIT blob_get camera/huge: 1099511627776 bytes do not fit",
		`objects.get("camera", "gone")`:                                               "UNAVAILABLE blob_get camera/gone: its bytes are not on this gateway",
		`objects.put("camera", "../a", "x")`:                                          "INVALID blob_put: \"camera/../a\": the key has a level",
		`objects.put("camera", "a", "x", {type: "no type"})`:                          "INVALID blob_put camera/a: \"no type\" is not a media type",
		`objects.list("other")`:                                                       "DENIED blob_list other/: no list",
		`objects.get("other", "x")`:                                                   "DENIED blob_get other/x: no read",
		`objects.get("Camera", "x")`:                                                  "INVALID blob_get: \"Camera/x\" does not begin with the name of a bucket",
		`objects.put("camera", "a", undefined)`:                                       "undefined objects.put: the body is undefined",
		`(() => { throw new Error(objects.read("camera", "gone", 5, 1).length) })()`:  "undefined 0",
		`(() => { throw new Error(String(objects.read("camera", "none", 0, 1))) })()`: "undefined undefined",
	} {
		u := load(t, e, "f.js", []byte(`export default (_, {objects}) => { try { `+call+` } catch (e) { return e.code + " " + e.message } }`), testOptions{})
		u.grant = g
		if r := u.invoke(host.Invocation{State: s, Blobs: blobs}); !strings.HasPrefix(string(r.Output), want) {
			t.Errorf("%s: %s %q %s, want %q", call, r.Outcome, r.Output, r.Error, want)
		}
	}
}
