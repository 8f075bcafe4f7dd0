package gateway

import (
	"context"

	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/doctor"
)

// examine runs every check that the doctor knows.
func (g *Gateway) examine(ctx context.Context) []api.Check {
	probes := []doctor.Probe{
		doctor.Database(g.store), doctor.Disk(g.store), doctor.Flash(g.cfg.StateDir, g.store), doctor.Queue(g.store), doctor.Buckets(g.examinedBuckets, func() uint64 { return g.objects.Stats().BlobsMissing }),
		doctor.Functions(g.dispatcher.Stats, g.registry.Broken), doctor.Memory(g.memory), doctor.Clock(g.clock.Load()), doctor.Listeners(g.expectedListeners),
		doctor.Certificates(g.Certificates, g.now), doctor.Secrets(g.vault.Lost),
	}
	checks := doctor.Examine(ctx, probes)
	out := make([]api.Check, len(checks))
	for i, c := range checks {
		out[i] = api.Check{Name: c.Name, Status: string(c.Status), Detail: c.Detail, Advice: c.Advice}
	}
	return out
}

// expectedListeners are those of the configuration, with where they are.
func (g *Gateway) expectedListeners() []doctor.Listener {
	open := g.listeners.all()
	out := make([]doctor.Listener, len(g.cfg.MQTT.Listeners))
	for i := range g.cfg.MQTT.Listeners {
		l := &g.cfg.MQTT.Listeners[i]
		out[i] = doctor.Listener{Name: l.Name, Network: l.Network, Address: open[l.Name]}
	}
	if h := &g.cfg.HTTP; h.Listen != "" {
		out = append(out, doctor.Listener{Name: httpListener, Network: "http", Address: open[httpListener]})
	}
	return out
}
