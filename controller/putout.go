package controller

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/headgate-io/headgate/controller/store"
)

// Bounds of how a replica learns of gateways that others have put out.
const (
	outEvery = 2 * time.Second
	// outOverlap is how far apart the clocks of replicas, and a transaction's
	// beginning and end, may be.
	outOverlap = time.Minute
	outMost    = 500
)

// doorkeeper ends connections with the embedded broker of gateways that any
// replica has put out.
type doorkeeper struct {
	store  *store.Store
	put    func(gateway string)
	done   map[string]bool // what was put out, of the last minute
	counts struct{ put, failed atomic.Uint64 }
}

// doorkeeperStats counts what a doorkeeper did.
type doorkeeperStats struct {
	// Ended counts gateways whose connections were ended, here or where there were
	// none, and Failed questions to the database that were not answered.
	Ended, Failed uint64
}

func (d *doorkeeper) stats() doorkeeperStats {
	return doorkeeperStats{d.counts.put.Load(), d.counts.failed.Load()}
}

// run looks every now and then, until ctx ends. What cannot be read now is read
// the next time.
func (d *doorkeeper) run(ctx context.Context) error {
	tick := time.NewTicker(outEvery)
	defer tick.Stop()
	since := time.Now()
	for {
		now := time.Now()
		if err := d.look(ctx, since.Add(-outOverlap)); err == nil {
			since = now
		} else if ctx.Err() == nil {
			d.counts.failed.Add(1)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (d *doorkeeper) look(ctx context.Context, since time.Time) error {
	seen := map[string]bool{}
	for after := ""; ; {
		var list []store.PutOut
		err := d.store.View(ctx, func(tx *store.Tx) (err error) {
			list, err = tx.PutOutSince(ctx, since, store.Page{After: after, Limit: outMost})
			return err
		})
		if err != nil {
			return err
		}
		for _, p := range list {
			if seen[p.ID] = true; !d.done[p.ID] {
				d.put(p.Gateway)
				d.counts.put.Add(1)
			}
		}
		if len(list) < outMost {
			break
		}
		after = list[len(list)-1].ID
	}
	d.done = seen
	return nil
}
