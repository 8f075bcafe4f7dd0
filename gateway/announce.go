package gateway

import (
	"context"
	"strings"

	"github.com/headgate-io/headgate/gateway/announce"
	"github.com/headgate-io/headgate/gateway/config"
	"github.com/headgate-io/headgate/gateway/doctor"
)

// runAnnouncer makes the listeners known in the local network, until ctx ends.
func (g *Gateway) runAnnouncer(ctx context.Context) {
	if !g.cfg.MDNS.Enabled {
		return
	}
	a := announce.New(announce.Config{
		Name: config.CalledOr(g.cfg.MDNS.Name), Host: "headgate-" + g.shortID(), Services: g.announced(), Logger: g.log,
	})
	g.announcer.Store(a)
	a.Run(ctx)
}

// announced are the listeners as services. A broker over WebSocket has no type
// of its own.
func (g *Gateway) announced() []announce.Service {
	text := map[string]string{"id": g.shortID(), "version": Version()}
	all := g.listeners.all()
	var out []announce.Service
	for i := range g.cfg.MQTT.Listeners {
		l := &g.cfg.MQTT.Listeners[i]
		switch l.Network {
		case "tcp":
			out = append(out, announce.Service{Type: announce.MQTT, Address: all[l.Name], Text: text})
		case "tls":
			out = append(out, announce.Service{Type: announce.SecureMQTT, Address: all[l.Name], Text: text})
		}
	}
	if h := &g.cfg.HTTP; h.Listen != "" {
		kind := announce.HTTP
		if h.TLS.Certificate != "" {
			kind = announce.HTTPS
		}
		out = append(out, announce.Service{Type: kind, Address: all[httpListener], Text: text})
	}
	return out
}

// examinedNames are what doctor looks at of the announcements.
func (g *Gateway) examinedNames() doctor.Announced {
	out := doctor.Announced{Enabled: g.cfg.MDNS.Enabled}
	a := g.announcer.Load()
	if a == nil {
		return out
	}
	names, err := a.Names()
	if err != nil {
		out.Error = err.Error()
	}
	out.Services, out.Names = a.Services(), strings.Join(names, ", ")
	return out
}
