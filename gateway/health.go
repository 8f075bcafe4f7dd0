package gateway

import (
	"context"
	"maps"
	"slices"

	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/doctor"
	"github.com/headgate-io/headgate/gateway/setup"
)

// examine runs every check that the doctor knows.
func (g *Gateway) examine(ctx context.Context) []api.Check {
	probes := []doctor.Probe{
		doctor.StateDir(g.cfg.StateDir), doctor.Database(g.store), doctor.Disk(g.store), doctor.Flash(g.cfg.StateDir, g.store), doctor.Queue(g.store), doctor.Buckets(g.examinedBuckets, func() uint64 { return g.objects.Stats().BlobsMissing }),
		doctor.Functions(g.dispatcher.Stats, g.registry.Broken, g.registry.Absent), doctor.Memory(g.memory), doctor.Clock(g.clock.Load()), doctor.Listeners(g.expectedListeners), doctor.Bridges(g.examinedBridges), doctor.Uplink(g.examinedUplink), doctor.DesiredState(g.examinedDesired), doctor.Announcements(g.examinedNames),
		doctor.Certificates(g.Certificates, g.now), doctor.Secrets(g.vault.Lost),
		doctor.WaterStops(g.actuators.examined), doctor.Sensors(g.sensing.board.All, g.sensing.sampler.Busy),
	}
	probes = append(probes, g.surroundings()...)
	checks := doctor.Examine(ctx, probes)
	out := make([]api.Check, len(checks))
	for i, c := range checks {
		out[i] = api.Check{Name: c.Name, Status: string(c.Status), Detail: c.Detail, Advice: c.Advice}
	}
	return out
}

// equipment are the names of the sensors and the actuators.
func (g *Gateway) equipment() (sensors, actuators []string) {
	return slices.Collect(maps.Keys(g.cfg.Sensors)), slices.Collect(maps.Keys(g.cfg.Actuators))
}

// surroundings are the checks of what stands around the gateway.
func (g *Gateway) surroundings() []doctor.Probe {
	out := []doctor.Probe{doctor.Loops(g.pulse)}
	if d := g.cfg.Watchdog.Device; d != "" {
		out = append(out, doctor.Watchdog(d, func() error {
			if err := g.watchdogFault.Load(); err != nil {
				return *err
			}
			return nil
		}))
	}
	if dir := g.cfg.System.Dir; dir != "" {
		out = append(out, doctor.Setup(func() (setup.Status, error) { return setup.LoadStatus(dir) }), doctor.Update(g.system.Status))
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
