package gateway

import (
	"path/filepath"

	"github.com/headgate-io/headgate/gateway/config"
	"github.com/headgate-io/headgate/gateway/object"
)

// newObjects opens the buckets that the configuration declares.
func (g *Gateway) newObjects() (*object.Service, error) {
	c := &g.cfg.Objects
	cfg := object.Config{
		Dir: filepath.Join(g.cfg.StateDir, "objects"), MaxUploads: c.MaxUploads, MaxPartial: c.MaxPartial, KeepPartial: c.KeepPartial.Std(),
		Now: g.now, Steady: g.steady, Logger: g.log,
	}
	for name, b := range c.Buckets {
		b = b.WithDefaults()
		cfg.Buckets = append(cfg.Buckets, object.Bucket{
			Name: name, Quota: int64(b.Quota), MaxObject: int64(b.MaxObject), MaxObjects: int64(b.MaxObjects),
			Keep: b.Keep.Std(), DropOldest: b.WhenFull == config.WhenFullOldest, Public: b.Public,
		})
	}
	return object.New(cfg, g.store)
}
