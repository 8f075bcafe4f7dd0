package gateway

import (
	"github.com/headgate-io/headgate/gateway/telemetry"
	"github.com/headgate-io/headgate/sensors/remote"
)

// openTelemetry keeps what the configuration chooses; without it messages pass
// as they do.
func (g *Gateway) openTelemetry(start uint64) {
	g.telemetry = telemetry.New(g.cfg.Uplink.Telemetry.Topics, start, g.now)
}

// watchTelemetry begins to look at messages, once there is a controller.
func (g *Gateway) watchTelemetry() {
	for i, filter := range g.telemetry.Filters() {
		see := func(m remote.Message) {
			if !m.Retained { // that was told when it came
				g.telemetry.Seen(i, m.Topic, m.Payload)
			}
		}
		if _, err := g.sensing.tap.Watch(filter, see); err != nil {
			g.log.Error("a topic of uplink.telemetry is not followed", "filter", filter, "error", err)
		}
	}
}
