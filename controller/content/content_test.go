package content_test

import (
	"crypto/ed25519"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/headgate-io/headgate/controller/content"
	"github.com/headgate-io/headgate/sync/ota/keyring"
	"github.com/headgate-io/headgate/sync/ota/repository"
)

// TestKeeper signs a timestamp anew when half its time is over, with the key
// that the root names and no other.
func TestKeeper(t *testing.T) {
	dir, ring := t.TempDir(), keyring.Ring{Dir: t.TempDir()}
	now := time.Now()
	clock := func() time.Time { return now }
	public := func(k ed25519.PrivateKey) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }
	key := func(n byte) ed25519.PrivateKey {
		seed := make([]byte, ed25519.SeedSize)
		seed[0] = n
		return ed25519.NewKeyFromSeed(seed)
	}
	online, err := keyring.Ring{Dir: t.TempDir()}.Create("elsewhere", nil)
	if err != nil {
		t.Fatal(err)
	}
	mine, err := ring.Create("mine", nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, k := range map[string]ed25519.PrivateKey{"mine": mine, "other": online} {
		r, err := repository.Create(filepath.Join(dir, name), clock, repository.Plan{
			Root: []ed25519.PublicKey{public(key(1))}, Targets: []ed25519.PublicKey{public(key(2))}, Online: public(k), RootThreshold: 1, TargetsThreshold: 1,
		})
		if err == nil {
			_, err = r.Sign(key(1), key(2))
		}
		if err = errors.Join(err, r.Commit(k)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "empty"), 0o700); err != nil {
		t.Fatal(err)
	}
	stamp := func(name string) string {
		raw, err := os.ReadFile(filepath.Join(dir, name, "metadata/timestamp.json"))
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	k := content.New(dir, ring, clock, slog.New(slog.DiscardHandler))
	first, others := stamp("mine"), stamp("other")
	k.Keep()
	if s := k.Stats(); s.Repositories != 2 || s.Keyless != 1 || s.Signed != 0 || s.Failed != 0 {
		t.Errorf("at first %+v", s)
	}
	now = now.Add(repository.TimestampFor/2 + time.Hour)
	k.Keep()
	k.Keep()
	if s := k.Stats(); s.Signed != 1 || s.Failed != 0 || stamp("mine") == first || stamp("other") != others {
		t.Errorf("after half its time %+v", s)
	}
	// Of a damaged one the others hear nothing.
	if err := os.WriteFile(filepath.Join(dir, "other/metadata/root.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	now = now.Add(repository.SnapshotFor)
	k.Keep()
	if s := k.Stats(); s.Signed != 2 || s.Failed != 1 {
		t.Errorf("beside a damaged one %+v", s)
	}
}
