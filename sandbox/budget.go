package sandbox

import (
	"errors"
	"sync/atomic"
)

// errNoBudget is returned when the gateway's memory budget is spent and
// nothing idle is left to evict.
var errNoBudget = errors.New("the memory budget of all functions together is spent and no idle instance is left to evict: raise the gateway's memory budget or lower limits.memory")

// budget admits the memory of all instances together.
type budget struct {
	total int64
	used  atomic.Int64
	// evict frees one idle instance; it reports false when there is none.
	evict func() bool
}

// take reserves n bytes, evicting idle instances where needed.
func (b *budget) take(n int64) bool {
	for {
		used := b.used.Load()
		if used+n <= b.total {
			if b.used.CompareAndSwap(used, used+n) {
				return true
			}
			continue
		}
		if n > b.total || !b.evict() {
			return false
		}
	}
}

func (b *budget) give(n int64) { b.used.Add(-n) }
