package gateway

import (
	"context"
	"crypto/rand"
	"os"
	"path/filepath"

	"github.com/headgate-io/headgate/gateway/admin"
	"github.com/headgate-io/headgate/gateway/store"
)

// keeper copies the database and puts a copy back.
type keeper struct{ g *Gateway }

var _ admin.Keeper = keeper{}

// Backup writes a copy.
func (k keeper) Backup(ctx context.Context, path string) error { return k.g.store.Backup(ctx, path) }

// Restore lays a copy ready and has the gateway opened again.
func (k keeper) Restore(ctx context.Context, path string) error {
	if err := k.g.store.StageRestore(ctx, path); err != nil {
		return err
	}
	select {
	case k.g.restored <- struct{}{}:
	default: // another one, a moment ago: this copy has replaced its
	}
	return nil
}

// TempPath is in the state folder, which has the room and the permissions.
func (k keeper) TempPath(purpose string) string {
	return filepath.Join(k.g.cfg.StateDir, tempPrefix+purpose+"-"+rand.Text())
}

const tempPrefix = ".tmp-"

// FreeBytes is what may be taken before writing stops.
func (k keeper) FreeBytes() int64 {
	sp := k.g.store.Space()
	return max(0, sp.Free-sp.Marks[store.Blobs])
}

// removeTemps removes what an earlier process left half-way.
func removeTemps(dir string) error {
	left, err := filepath.Glob(filepath.Join(dir, tempPrefix+"*"))
	if err != nil {
		return err
	}
	for _, path := range left {
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	return nil
}
