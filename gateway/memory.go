package gateway

import (
	"context"
	"os"
	"runtime/debug"

	"github.com/headgate-io/headgate/gateway/memory"
	"github.com/headgate-io/headgate/mqtt/broker"
)

// divideMemory finds out how much memory there is and shares it out.
func (g *Gateway) divideMemory() error {
	limit, err := memory.Detect(os.DirFS("/"), int64(g.cfg.Memory.Budget))
	if err != nil {
		return err
	}
	b := broker.DefaultConfig()
	g.shares = memory.Divide(limit.Bytes, memory.Shares{
		Instances: int64(g.cfg.Sandbox.Memory), Queued: int64(g.cfg.MQTT.MaxQueuedBytesTotal), Buffered: int64(b.MaxBufferedBytesTotal),
		Retained: int64(b.MaxRetainedBytes), Pending: int64(b.MaxPendingBytesTotal), Loaded: mostLoaded,
	})
	g.memory = memory.NewWatch(limit, memory.Resident, g.freeMemory, g.log)
	g.log.Debug("memory", "budget_bytes", limit.Bytes, "from", limit.Source, "shares", g.shares)
	return nil
}

// mostLoaded is what events under way may take however much memory there is.
const mostLoaded = 16 << 20

// freeMemory gives up what can be had again.
func (g *Gateway) freeMemory() {
	g.engine.Trim()
	g.store.DropCache()
	debug.FreeOSMemory()
}

// watchMemory keeps the process within its budget until ctx ends.
func (g *Gateway) watchMemory(ctx context.Context) error {
	if os.Getenv("GOMEMLIMIT") == "" {
		defer debug.SetMemoryLimit(debug.SetMemoryLimit(g.shares.Heap))
	}
	return g.memory.Run(ctx)
}
