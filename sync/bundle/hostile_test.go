package bundle_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/internal/slow"
	"github.com/headgate-io/headgate/sync/bundle"
)

// archive is a bundle put together by hand: signed by key, with entries of any
// kind behind the header.
func archive(t *testing.T, key ed25519.PrivateKey, files map[string]string, entries ...tar.Header) []byte {
	t.Helper()
	h := bundle.Header{Format: bundle.Format, Spec: function.Spec{Name: "f", Main: "f.js"}, Files: map[string]string{}}
	for name, content := range files {
		sum := sha256.Sum256([]byte(content))
		h.Files[name] = hex.EncodeToString(sum[:])
	}
	header, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	signature, err := json.Marshal(bundle.Signature{
		Algorithm: "ed25519", Key: key.Public().(ed25519.PublicKey),
		Signature: ed25519.Sign(key, append([]byte("headgate bundle v1\n"), header...)),
	})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	zw := gzip.NewWriter(&out)
	tw := tar.NewWriter(zw)
	write := func(h tar.Header, content string) {
		h.Size, h.Mode = int64(len(content)), 0o644
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if err := tw.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	write(tar.Header{Name: "bundle.json"}, string(header))
	write(tar.Header{Name: "signature.json"}, string(signature))
	for _, e := range entries {
		write(e, files[strings.TrimPrefix(e.Name, "files/")])
	}
	if err := errors.Join(tw.Close(), zw.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestHostileArchives has everything signed as it should be, by an author who
// means harm: names that lead elsewhere, links, devices, files twice.
func TestHostileArchives(t *testing.T) {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	main := tar.Header{Name: "files/f.js"}
	if _, err := bundle.Open(archive(t, key, map[string]string{"f.js": "1"}, main)); err != nil {
		t.Fatalf("a good one: %v", err)
	}
	for _, name := range []string{"../x", "/etc/passwd", "a/../../x", "./x", "a//b", ".."} {
		raw := archive(t, key, map[string]string{"f.js": "1", name: "2"}, main, tar.Header{Name: "files/" + name})
		if _, err := bundle.Open(raw); !errors.Is(err, bundle.ErrMalformed) {
			t.Errorf("name %q: %v", name, err)
		}
	}
	for name, entries := range map[string][]tar.Header{
		"outside":  {main, {Name: "../files/x"}},
		"link":     {{Name: "files/f.js", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}},
		"hardlink": {{Name: "files/f.js", Typeflag: tar.TypeLink, Linkname: "bundle.json"}},
		"twice":    {main, main},
		"missing":  {},
	} {
		files := map[string]string{"f.js": ""}
		if _, err := bundle.Open(archive(t, key, files, entries...)); !errors.Is(err, bundle.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var many []tar.Header
	files := map[string]string{"f.js": "1"}
	for i := range 300 {
		name := fmt.Sprint("x", i)
		files[name] = ""
		many = append(many, tar.Header{Name: "files/" + name})
	}
	if _, err := bundle.Open(archive(t, key, files, append(many, main)...)); !errors.Is(err, bundle.ErrMalformed) {
		t.Errorf("300 files: %v", err)
	}
}

// TestBombs are small archives that want to be large.
func TestBombs(t *testing.T) {
	slow.UnderRace(t, slow.OneGoroutine)
	var out bytes.Buffer
	zw := gzip.NewWriter(&out)
	tw := tar.NewWriter(zw)
	if err := tw.WriteHeader(&tar.Header{Name: "bundle.json", Typeflag: tar.TypeReg, Size: 1 << 30, Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
	zeros := make([]byte, 1<<20)
	for range 100 {
		if _, err := tw.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := bundle.Open(out.Bytes()); !errors.Is(err, bundle.ErrMalformed) || !strings.Contains(err.Error(), "too many") {
		t.Errorf("a gibibyte in %d bytes: %v", out.Len(), err)
	}
	// Behind a good bundle.
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	good := archive(t, key, map[string]string{"f.js": "1"}, tar.Header{Name: "files/f.js"})
	var tail bytes.Buffer
	zw = gzip.NewWriter(&tail)
	for range 100 {
		if _, err := zw.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := bundle.Open(append(good, tail.Bytes()...)); !errors.Is(err, bundle.ErrMalformed) {
		t.Errorf("100 MiB behind the end: %v", err)
	}
}

// TestForgedSignatures puts the author's name under what the author has not
// signed.
func TestForgedSignatures(t *testing.T) {
	_, author, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	_, forger, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	public := author.Public().(ed25519.PublicKey)
	for name, change := range map[string]func(header []byte) bundle.Signature{
		"another key": func(h []byte) bundle.Signature {
			return bundle.Signature{Algorithm: "ed25519", Key: public, Signature: ed25519.Sign(forger, append([]byte("headgate bundle v1\n"), h...))}
		},
		"no context": func(h []byte) bundle.Signature {
			return bundle.Signature{Algorithm: "ed25519", Key: public, Signature: ed25519.Sign(author, h)}
		},
		"none": func([]byte) bundle.Signature { return bundle.Signature{Algorithm: "none", Key: public, Signature: nil} },
		"empty": func([]byte) bundle.Signature {
			return bundle.Signature{Algorithm: "ed25519", Key: public, Signature: nil}
		},
		"zero key": func([]byte) bundle.Signature {
			return bundle.Signature{Algorithm: "ed25519", Key: make([]byte, 32), Signature: make([]byte, 64)}
		},
		"short key": func([]byte) bundle.Signature {
			return bundle.Signature{Algorithm: "ed25519", Key: public[:31], Signature: make([]byte, 64)}
		},
		"other content": func([]byte) bundle.Signature {
			return bundle.Signature{Algorithm: "ed25519", Key: public, Signature: ed25519.Sign(author, []byte("headgate bundle v1\n{}"))}
		},
	} {
		header := []byte(`{"format":1,"spec":{"name":"f","main":"f.js"},"files":{}}`)
		signature, err := json.Marshal(change(header))
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		zw := gzip.NewWriter(&out)
		tw := tar.NewWriter(zw)
		for _, e := range []struct {
			name    string
			content []byte
		}{{"bundle.json", header}, {"signature.json", signature}, {"files/f.js", nil}} {
			if err := tw.WriteHeader(&tar.Header{Name: e.name, Typeflag: tar.TypeReg, Size: int64(len(e.content)), Mode: 0o644}); err != nil {
				t.Fatal(err)
			}
			if _, err := tw.Write(e.content); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(tw.Close(), zw.Close()); err != nil {
			t.Fatal(err)
		}
		if _, err := bundle.Open(out.Bytes()); !errors.Is(err, bundle.ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
