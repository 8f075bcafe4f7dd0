package ota_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/cjson"

	"github.com/headgate-io/headgate/sync/ota"
	"github.com/headgate-io/headgate/sync/ota/repository"
)

// files is a repository in memory.
type files map[string][]byte

// Open implements ota.Source.
func (f files) Open(_ context.Context, path string, _ int64) (ota.Content, error) {
	raw, ok := f[path]
	if !ok {
		return ota.Content{}, ota.ErrNotFound
	}
	return ota.Content{Body: io.NopCloser(bytes.NewReader(raw))}, nil
}

// patience is how long one refresh may take before it counts as one that never
// ends.
const patience = 20 * time.Second

// FuzzMetadata serves metadata of an attacker's making to a gateway that knows
// version 2: in the place of the next root, the timestamp, the snapshot or the
// targets, as it is or signed with that role's stolen key. The gateway neither
// panics nor hangs; without the targets key it finds nothing signed that the
// owner did not sign, and afterwards the owner is still believed.
func FuzzMetadata(f *testing.F) {
	o := newOwner(f)
	o.publish("v1")
	o.publish("v2")
	served := files{}
	o.must(filepath.Walk(o.dir, func(path string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			name, _ := filepath.Rel(o.dir, path)
			served[name] = read(f, path)
		}
		return err
	}))
	roles := []struct {
		name string
		key  ed25519.PrivateKey
	}{
		{"metadata/2.root.json", o.root},
		{"metadata/timestamp.json", o.online},
		{"metadata/" + filepath.Base(newest(f, o.dir, "snapshot")), o.online},
		{"metadata/" + filepath.Base(newest(f, o.dir, "targets")), o.targets},
	}
	for i, r := range roles {
		name := r.name
		if i == 0 {
			name = "metadata/root.json"
		}
		for _, signed := range []bool{false, true} {
			f.Add(uint8(i), signed, served[name])
		}
	}
	f.Add(uint8(0), true, []byte(`{"signed":{"_type":"root","keys":{"a":null},"roles":{"root":null}},"signatures":[]}`))
	f.Add(uint8(3), true, []byte(`{"signed":{"_type":"targets","delegations":{"succinct_roles":{"bit_length":32}}}}`))
	g := o.gateway()
	g.live()
	trusted := files{}
	for _, name := range []string{"pinned.json", "root.json", "timestamp.json", "snapshot.json", "targets.json"} {
		trusted[name] = read(f, filepath.Join(g.cfg.Dir, name))
	}
	write := func(file string, raw []byte) error { return os.WriteFile(file, raw, 0o600) }
	f.Fuzz(func(t *testing.T, role uint8, signed bool, raw []byte) {
		r := roles[int(role)%len(roles)]
		for name, was := range trusted {
			if err := write(filepath.Join(g.cfg.Dir, name), was); err != nil {
				t.Fatal(err)
			}
		}
		evil := files{}
		for name, was := range served {
			evil[name] = was
		}
		if signed {
			raw = signedWith(raw, r.key)
		}
		evil[r.name] = raw
		refreshOf(t, g, evil, write, func(all *ota.Targets, err error) {
			if err == nil && !(signed && strings.HasSuffix(r.name, ".targets.json")) && !(signed && strings.HasSuffix(r.name, ".root.json")) {
				ownersOnly(t, all)
			}
		})
		if signed {
			return // what a stolen key can do is taken back by rotating it, which other tests have
		}
		refreshOf(t, g, served, write, func(all *ota.Targets, err error) {
			if err != nil {
				t.Fatalf("the owner is not believed any more: %v", err)
			}
			ownersOnly(t, all)
		})
	})
}

// refreshOf has the gateway, restarted, refresh from a source.
func refreshOf(t *testing.T, g *gateway, from ota.Source, write func(string, []byte) error, judge func(*ota.Targets, error)) {
	t.Helper()
	cfg := g.cfg
	cfg.Source = from
	c, err := ota.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ota.ReplaceWith(c, write)
	ended := make(chan struct{})
	var all *ota.Targets
	go func() {
		defer close(ended)
		all, err = c.Refresh(context.Background())
	}()
	select {
	case <-ended:
	case <-time.After(patience):
		t.Fatal("it does not end")
	}
	judge(all, err)
}

// ownersOnly wants nothing but what the owner signed.
func ownersOnly(t *testing.T, all *ota.Targets) {
	t.Helper()
	for i := range all.All {
		x := &all.All[i]
		if want := release("v1"); x.Digest != want.Digest && x.Digest != release("v2").Digest {
			t.Fatalf("the owner never signed %+v", x)
		}
	}
}

// signedWith signs what is to be signed, where that can be read at all.
func signedWith(raw []byte, key ed25519.PrivateKey) []byte {
	var m struct {
		Signed json.RawMessage `json:"signed"`
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	if err := d.Decode(&m); err != nil {
		return raw
	}
	var signed any
	n := json.NewDecoder(bytes.NewReader(m.Signed))
	n.UseNumber()
	if err := n.Decode(&signed); err != nil {
		return raw
	}
	canonical, err := cjson.EncodeCanonical(signed)
	if err != nil {
		return raw
	}
	id, err := repository.KeyID(public(key))
	if err != nil {
		return raw
	}
	return fmt.Appendf(nil, `{"signed":%s,"signatures":[{"keyid":"%s","sig":"%x"}]}`, m.Signed, id, ed25519.Sign(key, canonical))
}
