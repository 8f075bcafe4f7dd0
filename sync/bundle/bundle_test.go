package bundle_test

import (
	"bytes"
	"compress/gzip"
	"crypto/ed25519"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sync/bundle"
)

func testBundle(t testing.TB) ([]byte, ed25519.PrivateKey) {
	t.Helper()
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	spec := function.Spec{Name: "irrigate", Main: "irrigate.js", Config: map[string]any{"target": 32.0}}
	raw, err := bundle.Pack(spec, map[string][]byte{"irrigate.js": []byte("export default () => 1")}, key)
	if err != nil {
		t.Fatal(err)
	}
	return raw, key
}

func TestPackOpen(t *testing.T) {
	raw, key := testBundle(t)
	again, _ := testBundle(t)
	if !bytes.Equal(raw, again) {
		t.Error("the same content made different bytes")
	}
	b, err := bundle.Open(raw)
	if err != nil {
		t.Fatal(err)
	}
	if b.Spec.Name != "irrigate" || string(b.Files["irrigate.js"]) != "export default () => 1" {
		t.Errorf("opened %+v", b)
	}
	if want := bundle.Key(key.Public().(ed25519.PublicKey)); b.Author != want {
		t.Errorf("author %s, want %s", b.Author, want)
	}
	parsed, err := bundle.ParseKey(b.Author.String())
	if err != nil || parsed != b.Author {
		t.Errorf("key did not survive its text form: %v", err)
	}
}

func TestOpenRefusesWhatWasChanged(t *testing.T) {
	raw, _ := testBundle(t)
	zr, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	tar, err := io.ReadAll(zr)
	if err != nil {
		t.Fatal(err)
	}
	for _, old := range []string{"irrigate.js", "export default", `"target":32`} {
		i := bytes.Index(tar, []byte(old))
		changed := bytes.Clone(tar)
		changed[i] ^= 1
		var out bytes.Buffer
		zw := gzip.NewWriter(&out)
		if _, err := zw.Write(changed); err != nil {
			t.Fatal(err)
		}
		if err := zw.Close(); err != nil {
			t.Fatal(err)
		}
		_, err := bundle.Open(out.Bytes())
		if !errors.Is(err, bundle.ErrSignature) && !errors.Is(err, bundle.ErrMalformed) {
			t.Errorf("change in %q: error %v", old, err)
		}
	}
	for n := range len(raw) {
		if _, err := bundle.Open(raw[:n]); err == nil {
			t.Fatalf("opened the first %d of %d bytes", n, len(raw))
		}
	}
}

func TestAuthorKeyIsMadeOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config", "author.key")
	first, created, err := bundle.AuthorKey(file)
	if err != nil || !created {
		t.Fatalf("created %v, %v", created, err)
	}
	second, created, err := bundle.AuthorKey(file)
	if err != nil || created || !reflect.DeepEqual(first, second) {
		t.Errorf("second read: created %v, %v", created, err)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func FuzzOpen(f *testing.F) {
	raw, _ := testBundle(f)
	f.Add(raw)
	f.Add([]byte{0x1f, 0x8b})
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, err := bundle.Open(raw)
		if err == nil && b.Files[b.Spec.Main] == nil {
			t.Error("opened a bundle without its main file")
		}
	})
}

// FuzzOpenContent fuzzes what is inside the compression, which random bytes
// hardly ever get through.
func FuzzOpenContent(f *testing.F) {
	raw, _ := testBundle(f)
	zr, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		f.Fatal(err)
	}
	tar, err := io.ReadAll(zr)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(tar)
	f.Fuzz(func(t *testing.T, tar []byte) {
		var out bytes.Buffer
		zw := gzip.NewWriter(&out)
		if _, err := zw.Write(tar); err != nil {
			t.Fatal(err)
		}
		if err := zw.Close(); err != nil {
			t.Fatal(err)
		}
		b, err := bundle.Open(out.Bytes())
		if err == nil && (b.Files[b.Spec.Main] == nil || !function.ValidName(b.Spec.Name)) {
			t.Error("opened a bundle that is not whole")
		}
	})
}
