package gateway

import (
	"bytes"
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/headgate-io/headgate/gateway/config"
	"github.com/headgate-io/headgate/gateway/homeassistant"
	"github.com/headgate-io/headgate/mqtt/broker"
	"github.com/headgate-io/headgate/sensors/remote"
)

// discovery tells Home Assistant of sensors and actuators, on the gateway's own
// broker or through a bridge.
type discovery struct {
	g    *Gateway
	node homeassistant.Node
	// births is sent on when Home Assistant has started.
	births chan struct{}
}

// discoverySource is where its messages come from.
const discoverySource = "/homeassistant"

// birthDelay is the longest wait after Home Assistant's start, so that not all
// devices answer at once.
const birthDelay = 2 * time.Second

// homeAssistantNode is the gateway as Home Assistant knows it.
func (g *Gateway) homeAssistantNode() homeassistant.Node {
	c := &g.cfg.HomeAssistant
	return homeassistant.Node{ID: g.shortID(), Name: config.CalledOr(c.Name), Version: Version(), Prefix: c.Prefix}
}

// shortID is enough of the gateway's identity for topics and names.
func (g *Gateway) shortID() string { return strings.ToLower(g.store.Identity().ID[:10]) }

// runDiscovery works until ctx ends. Where discovery is off, what an earlier
// run told is taken back.
func (g *Gateway) runDiscovery(ctx context.Context) {
	d := &discovery{g: g, node: g.homeAssistantNode(), births: make(chan struct{}, 1)}
	wanted := d.wanted()
	d.prune(wanted)
	if !g.cfg.HomeAssistant.Discovery {
		return
	}
	stop, err := g.sensing.tap.Watch(d.node.BirthTopic(), d.birth)
	if err != nil {
		g.log.Error("Home Assistant's start is not noticed", "topic", d.node.BirthTopic(), "error", err)
	} else {
		defer stop()
	}
	d.tell(wanted, false)
	d.status(homeassistant.Online)
	defer d.leave()
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.births:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(rand.N(birthDelay)):
			d.tell(wanted, true)
			d.status(homeassistant.Online)
			d.readings()
		}
	}
}

func (d *discovery) birth(m remote.Message) {
	if m.Retained || !strings.EqualFold(string(m.Payload), homeassistant.Online) {
		return
	}
	select {
	case d.births <- struct{}{}:
	default:
	}
}

// wanted are the discovery messages of this configuration.
func (d *discovery) wanted() []homeassistant.Message {
	var out []homeassistant.Message
	c := &d.g.cfg
	if !c.HomeAssistant.Discovery {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(c.Actuators)) {
		t := actuatorTopic(name)
		out = append(out, d.node.Valve(homeassistant.Actuator{Name: name, Topic: t, CommandTopic: t + "/set"}))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Sensors)) {
		one := c.Sensors[name].Sample(name)
		measures := one.Measures
		if f := c.Sensors[name].Field; measures == "" && f != "" {
			measures = f[strings.LastIndexByte(f, '.')+1:]
		}
		out = append(out, d.node.Sensor(homeassistant.Sensor{
			Name: name, Topic: one.Topic, Measures: measures, Unit: one.Unit, Silent: one.Heartbeat + one.StaleAfter,
		}))
	}
	return out
}

// prune takes back what is told of sensors and actuators that are gone.
func (d *discovery) prune(wanted []homeassistant.Message) {
	var gone []string
	d.g.broker.Retained(d.node.Topics(), func(m *broker.Message) bool {
		is := func(w homeassistant.Message) bool { return w.Topic == m.Topic }
		if d.node.Owns(m.Topic) && !slices.ContainsFunc(wanted, is) {
			gone = append(gone, m.Topic)
		}
		return true
	})
	for _, t := range gone {
		d.publish(t, nil)
	}
}

// tell publishes the discovery messages, unless they are known; again publishes
// all of them.
func (d *discovery) tell(wanted []homeassistant.Message, again bool) {
	for _, m := range wanted {
		if again || !bytes.Equal(d.g.retained(m.Topic), m.Payload) {
			d.publish(m.Topic, m.Payload)
		}
	}
}

func (d *discovery) status(is string) <-chan broker.ReasonCode {
	return d.publish(d.node.StatusTopic(), []byte(is))
}

// leave says that the gateway is not there, while its clients still are.
func (d *discovery) leave() {
	const within = 2 * time.Second
	select {
	case <-d.status(homeassistant.Offline):
	case <-time.After(within):
	}
}

func (d *discovery) publish(topic string, payload []byte) <-chan broker.ReasonCode {
	return d.g.emit(&broker.Message{Topic: topic, Payload: payload, QoS: 1, Retain: true}, discoverySource)
}

// readings publishes the newest readings, which a Home Assistant that has just
// started does not know where they are not retained. They start nothing.
func (d *discovery) readings() {
	for _, r := range d.g.sensing.board.All() {
		info, ok := d.g.sensing.board.Info(r.Sensor)
		data, err := r.MarshalJSON()
		if !ok || err != nil || !r.Valid {
			continue
		}
		m := &broker.Message{Topic: info.Topic, Payload: data, Retain: d.g.cfg.Sensors[r.Sensor].Retain}
		d.g.broker.Publish(m)
		d.g.watchers.seen(m)
	}
}
