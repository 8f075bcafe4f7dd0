package gateway

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"maps"
	"net"
	"slices"
	"strings"

	"github.com/headgate-io/headgate/gateway/admin"
	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/bridge"
	"github.com/headgate-io/headgate/gateway/config"
	"github.com/headgate-io/headgate/gateway/doctor"
	"github.com/headgate-io/headgate/gateway/fetch"
	"github.com/headgate-io/headgate/gateway/metrics"
	"github.com/headgate-io/headgate/mqtt/broker"
	"github.com/headgate-io/headgate/mqtt/topic"
)

// bridgeInflight is how much may be on its way to another broker without its
// acknowledgement.
const bridgeInflight = 64

// residents are the bridges' sessions with the own broker: what goes out is
// theirs.
func residents(all map[string]config.Bridge) []broker.ResidentConfig {
	var out []broker.ResidentConfig
	for _, name := range slices.Sorted(maps.Keys(all)) {
		b := all[name].WithDefaults()
		r := broker.ResidentConfig{
			Client: bridge.User(name), User: bridge.User(name), MaxQueuedMessages: b.MaxQueued, MaxQueuedBytes: int(b.MaxQueuedBytes),
			MaxInflight: bridgeInflight, Transit: b.Transit, Retained: *b.Retain,
		}
		for _, f := range b.Out {
			r.Subscriptions = append(r.Subscriptions, broker.ResidentSubscription{Filter: f, QoS: byte(*b.QoS)})
		}
		out = append(out, r)
	}
	return out
}

// openBridges makes the bridges. Those that are configured no longer end, with
// what waited for them.
func (g *Gateway) openBridges() {
	for _, c := range g.broker.Clients() {
		name, ok := strings.CutPrefix(c.User, bridge.UserPrefix)
		if _, configured := g.cfg.Bridges[name]; ok && !configured {
			g.log.Warn("a bridge is not configured any more: what waited for it is dropped", "bridge", name, "messages", c.Queued+c.InFlight)
			g.broker.Forget(c.User, broker.NotAuthorized)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(g.cfg.Bridges)) {
		g.bridges = append(g.bridges, bridge.New(g.bridgeConfig(name, g.cfg.Bridges[name].WithDefaults()), bridge.Deps{
			Resident: g.broker.Resident(bridge.User(name)), Window: g.bridged, Retained: g.retained, Own: g.ownAddress, Logger: g.log, Now: g.now,
		}))
	}
}

func (g *Gateway) bridgeConfig(name string, b config.Bridge) bridge.Config {
	address, host, secure, _ := b.Endpoint() // validated
	c := bridge.Config{
		Name: name, Address: address, Username: b.User, In: b.In, Out: b.Out, QoS: byte(*b.QoS), Retain: *b.Retain,
		StatusTopic: b.StatusTopic, KeepAlive: b.KeepAlive.Std(), MaxPacket: int(g.cfg.MQTT.MaxPacket), Plain: b.Plain,
		ClientID: cmp.Or(b.ClientID, "headgate-"+g.shortID()+"-"+name),
	}
	for _, m := range b.Remap {
		c.Remap = append(c.Remap, bridge.Remap{Local: m.Local, Remote: m.Remote})
	}
	if c.StatusTopic == "" {
		c.StatusTopic = g.discoveredStatus(&b)
	}
	if b.PasswordFile != "" {
		c.Password = func() (string, error) { return bridge.ReadPassword(b.PasswordFile) }
	}
	if secure {
		files := bridge.Files{CA: b.TLS.CA, Certificate: b.TLS.Certificate, Key: b.TLS.Key}
		roots := func() (*x509.CertPool, error) { return fetch.Roots(nil) }
		c.TLS = func() (*tls.Config, error) { return files.TLS(host, roots, g.now) }
	}
	return c
}

// discoveredStatus is the topic by which Home Assistant, behind a bridge, knows
// whether the gateway is there: where discovery goes over it, the other broker
// has to say so.
func (g *Gateway) discoveredStatus(b *config.Bridge) string {
	if !g.cfg.HomeAssistant.Discovery {
		return ""
	}
	node := g.homeAssistantNode()
	if !slices.ContainsFunc(b.Out, func(f string) bool { return topic.Match(f, node.Prefix+"/sensor/x/config") }) {
		return ""
	}
	return node.StatusTopic()
}

// runBridges lets the bridges work until ctx ends.
func (g *Gateway) runBridges(ctx context.Context) {
	for _, b := range g.bridges {
		g.background.Go(func() { b.Run(ctx) })
	}
}

// retained is what the broker retains for a topic, nil for nothing.
func (g *Gateway) retained(name string) []byte {
	var payload []byte
	g.broker.Retained(name, func(m *broker.Message) bool {
		payload = m.Payload
		return false
	})
	return payload
}

// ownAddress reports whether the gateway itself listens for MQTT at an address
// that it has just connected to.
func (g *Gateway) ownAddress(to net.Addr) bool {
	remote, ok := to.(*net.TCPAddr)
	if !ok {
		return false
	}
	all := g.listeners.all()
	for i := range g.cfg.MQTT.Listeners {
		own, err := net.ResolveTCPAddr("tcp", all[g.cfg.MQTT.Listeners[i].Name])
		if err == nil && own.Port == remote.Port && (own.IP.Equal(remote.IP) || own.IP.IsUnspecified() && local(remote.IP)) {
			return true
		}
	}
	return false
}

// local reports whether an address is one of this machine's.
func local(ip net.IP) bool {
	if ip.IsLoopback() {
		return true
	}
	own, err := net.InterfaceAddrs()
	return err == nil && slices.ContainsFunc(own, func(a net.Addr) bool {
		n, ok := a.(*net.IPNet)
		return ok && n.IP.Equal(ip)
	})
}

// bridgeStats sums the bridges' counters.
func (g *Gateway) bridgeStats() bridge.Stats {
	var sum bridge.Stats
	for _, b := range g.bridges {
		sum.Add(b.Stats())
	}
	return sum
}

func (g *Gateway) bridgeStates() []metrics.BridgeState {
	out := make([]metrics.BridgeState, len(g.bridges))
	for i, b := range g.bridges {
		s := b.Status()
		out[i] = metrics.BridgeState{
			Name: b.Name(), Connected: s.State == bridge.Connected, Queued: s.Stats.Queued + s.Stats.InFlight, QueuedBytes: s.Stats.QueuedBytes,
			Sent: s.Stats.Sent, Received: s.Stats.Received, Dropped: s.Stats.Dropped, Failures: s.Stats.Failures,
		}
	}
	return out
}

// bridgeAdmin is the bridges as the admin API shows them.
type bridgeAdmin struct{ g *Gateway }

var _ admin.Bridges = bridgeAdmin{}

// Bridges lists the bridges by name.
func (a bridgeAdmin) Bridges() []api.Bridge {
	out := make([]api.Bridge, 0, len(a.g.bridges))
	for _, b := range a.g.bridges {
		s, c := b.Status(), a.g.cfg.Bridges[b.Name()]
		out = append(out, api.Bridge{
			Name: b.Name(), URL: c.URL, State: string(s.State), Since: s.Since, Session: s.Session, Plain: s.Plain,
			In: append([]string{}, c.In...), Out: append([]string{}, c.Out...), Refused: s.Refused,
			LastError: s.LastError, LastErrorAt: s.LastErrorAt, NextAttempt: s.NextAttempt,
			Queued: s.Stats.Queued, InFlight: s.Stats.InFlight, QueuedBytes: s.Stats.QueuedBytes, Dropped: s.Stats.Dropped,
			Sent: s.Stats.Sent, Received: s.Stats.Received, Echoes: s.Stats.Echoes, Denied: s.Stats.Denied, TooLarge: s.Stats.TooLarge,
		})
	}
	return out
}

// examinedBridges are the bridges as doctor looks at them.
func (g *Gateway) examinedBridges() []doctor.Bridge {
	out := make([]doctor.Bridge, len(g.bridges))
	for i, b := range g.bridges {
		s := b.Status()
		out[i] = doctor.Bridge{
			Name: b.Name(), Address: b.Address(), Connected: s.State == bridge.Connected, Error: s.LastError,
			Refused: s.Refused, Queued: s.Stats.Queued, Dropped: s.Stats.Dropped, Crossing: g.crossing(b.Name()),
		}
	}
	return out
}

// crossing are pairs of filters by which a bridge would pass on what comes in
// over another, and does not without transit.
func (g *Gateway) crossing(name string) []string {
	own := g.cfg.Bridges[name]
	if own.Transit {
		return nil
	}
	var out []string
	for _, other := range slices.Sorted(maps.Keys(g.cfg.Bridges)) {
		if other == name {
			continue
		}
		for _, f := range g.cfg.Bridges[other].In {
			if slices.Contains(own.Out, f) && f != "#" {
				out = append(out, f+" from "+other)
			}
		}
	}
	return out
}
