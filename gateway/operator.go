package gateway

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"runtime"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/gateway/admin"
	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/config"
	"github.com/headgate-io/headgate/gateway/device"
	"github.com/headgate-io/headgate/gateway/dispatch"
	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/gateway/throttle"
	"github.com/headgate-io/headgate/gateway/trigger"
	"github.com/headgate-io/headgate/mqtt/broker"
	"github.com/headgate-io/headgate/mqtt/topic"
)

// operator is what the admin API asks of a gateway.
type operator struct{ g *Gateway }

var (
	_ admin.Invoker   = operator{}
	_ admin.Messenger = operator{}
)

func (g *Gateway) adminDeps() admin.Deps {
	return admin.Deps{
		Deployer: g.registry, Authors: g.registry, Catalog: g.registry, Invoker: operator{g}, Messenger: operator{g}, Hand: operator{g}, Timers: operator{g}, Bridges: bridgeAdmin{g}, Enrolment: enrolmentAdmin{g}, Sensors: sensorAdmin{g.sensing}, Explainer: operator{g}, Devices: deviceAdmin{g},
		Tokens: g.tokens, Secrets: g.vault, Guesses: g.tokenGuesses, Undertaker: g.dispatcher, Clock: clockAdmin{g}, Keeper: keeper{g}, Recordings: recordingAdmin{g}, Objects: objectAdmin{g}, Actuators: g.actuators, Store: g.store, Tails: g.tails, About: g.about,
		System: g.system, Updates: updateAdmin{g}, Doctor: g.examine, Ready: g.checkReady, Metrics: g.metrics.Handler(), Logger: g.log,
	}
}

func (g *Gateway) about() api.About {
	return api.About{
		Version: Version(), Go: runtime.Version(), Target: runtime.GOOS + "/" + runtime.GOARCH, Started: g.started,
		Interpreter: g.engine.Stats().Interpreter, Listeners: g.listeners.all(),
	}
}

var errStarting = errors.New("starting")

func (g *Gateway) checkReady() error {
	if !g.ready.Load() {
		return errStarting
	}
	return nil
}

// Invoke runs a function and returns after its effects have committed.
func (o operator) Invoke(ctx context.Context, name string, in api.Invoke) (api.Invoked, error) {
	if err := o.g.checkReady(); err != nil {
		return api.Invoked{}, admin.Refusal(fmt.Errorf("the gateway is %w: try again in a moment", err))
	}
	e := &event.Event{
		ID: o.g.events.next(), Source: operatorSource, Type: event.TypeInvoke, Subject: in.Subject, Time: o.g.now(), Trust: o.g.trust(),
		Data: in.Data, DataContentType: in.ContentType,
	}
	version, err := o.g.registry.Resolve(name, in.Qualifier)
	if err != nil {
		return api.Invoked{}, err
	}
	r, err := o.g.dispatcher.InvokeVersion(ctx, name, version, e, o.params(name, &in))
	switch {
	case errors.Is(err, dispatch.ErrNotDeployed):
		return api.Invoked{}, fmt.Errorf("function %s: %w; 'headgate list' shows what is deployed", name, store.ErrNotFound)
	case errors.Is(err, dispatch.ErrBusy), errors.Is(err, dispatch.ErrPaused):
		return api.Invoked{}, admin.Refusal(err)
	case err != nil:
		return api.Invoked{}, err
	}
	return api.Invoked{Invocation: invocation(&r.Record), Output: r.Output}, nil
}

// params are the captures that a trigger of the function would make of the
// subject, and over them those that were named.
func (o operator) params(name string, in *api.Invoke) trigger.Params {
	all := map[string]string{}
	if topic.DefaultLimits.CheckName(in.Subject) == nil {
		for _, x := range o.g.triggers.Explain(&trigger.Message{Topic: in.Subject, Payload: in.Data}) {
			if x.Function == name && x.Params != nil {
				maps.Copy(all, x.Params)
				break
			}
		}
	}
	maps.Copy(all, in.Params)
	names, values := make([]string, 0, len(all)), make([]string, 0, len(all))
	for k, v := range all {
		names, values = append(names, k), append(values, v)
	}
	return trigger.NewParams(names, values)
}

// operatorClient is the client id that messages of the admin API come from.
const operatorClient = "operator"

// Publish goes the way of a device's message and returns at its release.
func (o operator) Publish(ctx context.Context, m api.Message) error {
	if err := o.g.checkReady(); err != nil {
		return admin.Refusal(fmt.Errorf("the gateway is %w: try again in a moment", err))
	}
	if err := topic.DefaultLimits.CheckName(m.Topic); err != nil {
		return admin.Refusal(err)
	}
	switch {
	case m.QoS < 0 || m.QoS > 2:
		return admin.Refusal(fmt.Errorf("qos %d: it is 0, 1 or 2", m.QoS))
	case len(m.Payload) > int(o.g.cfg.MQTT.MaxPacket):
		return admin.Refusal(fmt.Errorf("payload of %d bytes: mqtt.max_packet allows %v", len(m.Payload), o.g.cfg.MQTT.MaxPacket))
	case m.Topic[0] == '$':
		return admin.Refusal(fmt.Errorf("topic %q: topics that start with $ are the broker's own", m.Topic))
	}
	msg := &broker.Message{Topic: m.Topic, Payload: m.Payload, QoS: byte(m.QoS), Retain: m.Retain}
	released := make(chan broker.ReasonCode, 1)
	plan := o.g.broker.Plan(msg, false)
	o.g.submit(msg, sender{client: operatorClient}, nil, plan, &operatorMessage{o.g, msg, plan, released})
	select {
	case <-ctx.Done():
		return ctx.Err()
	case code := <-released:
		if code != broker.Success {
			return admin.Refusal(fmt.Errorf("the gateway refused the message: reason code 0x%02x", byte(code)))
		}
	}
	return nil
}

// operatorMessage is a message of the admin API on its way.
type operatorMessage struct {
	g        *Gateway
	msg      *broker.Message
	plan     *broker.Plan // may be nil
	released chan<- broker.ReasonCode
}

// Release delivers the message, or gives it up, and says so. The channel has
// room for the one answer.
func (m *operatorMessage) Release(code broker.ReasonCode) {
	switch {
	case code != broker.Success:
		if m.plan != nil {
			m.plan.Cancel()
		}
	case m.plan != nil:
		m.g.broker.Deliver(m.plan, func(err error) {
			code := broker.Success
			if err != nil {
				code = broker.UnspecifiedError
			}
			m.done(code)
		})
		return
	default:
		m.g.broker.Publish(m.msg)
	}
	m.done(code)
}

func (m *operatorMessage) done(code broker.ReasonCode) {
	if code == broker.Success {
		m.g.watchers.seen(m.msg)
	}
	m.released <- code
}

// Subscribe shows retained messages first and then what comes.
func (o operator) Subscribe(filter string, fn func(api.Message)) (func(), error) {
	if err := topic.DefaultLimits.CheckFilter(filter); err != nil {
		return nil, err
	}
	cancel := o.g.watchers.add(filter, fn)
	o.g.broker.Retained(filter, func(m *broker.Message) bool {
		fn(message(m))
		return true
	})
	return cancel, nil
}

// deviceAdmin is devices as the admin API shows them.
type deviceAdmin struct{ g *Gateway }

var _ admin.Devices = deviceAdmin{}

// List returns all devices, with who is connected.
func (d deviceAdmin) List(ctx context.Context) ([]api.Device, error) {
	devices, err := d.g.store.Devices(ctx)
	if err != nil {
		return nil, err
	}
	connected := map[string]bool{}
	for _, c := range d.g.broker.Clients() {
		connected[c.User] = connected[c.User] || c.Connected
	}
	out := make([]api.Device, 0, len(devices))
	for _, dev := range devices {
		out = append(out, apiDevice(dev, connected[dev.Name]))
	}
	return out, nil
}

func apiDevice(d store.Device, connected bool) api.Device {
	// Lists are lists in JSON, empty ones too.
	list := func(filters []string) []string { return append([]string{}, filters...) }
	return api.Device{
		Name: d.Name, Certificate: d.Certificate, Revoked: d.Revoked,
		Publish: list(d.Publish), Subscribe: list(d.Subscribe), Created: d.Created, Connected: connected,
	}
}

// Add makes a device.
func (d deviceAdmin) Add(ctx context.Context, in api.NewDevice) (api.DeviceSecret, error) {
	dev := store.Device{Name: in.Name, Certificate: in.Certificate, Publish: in.Publish, Subscribe: in.Subscribe, Created: d.g.now()}
	password, err := d.g.devices.Add(ctx, dev, in.Password)
	return d.secret(dev, password), deviceFault(err)
}

// Rotate gives a device a new password; whoever has the old one is cut off.
func (d deviceAdmin) Rotate(ctx context.Context, name string) (api.DeviceSecret, error) {
	dev, password, err := d.g.devices.Rotate(ctx, name)
	if err != nil {
		return api.DeviceSecret{}, deviceFault(err)
	}
	d.g.broker.Disconnect(name, broker.NotAuthorized)
	return d.secret(dev, password), nil
}

// Revoke keeps a device out and cuts it off. Its sessions stay, for when it is
// restored.
func (d deviceAdmin) Revoke(ctx context.Context, name string) error {
	if err := d.g.devices.Revoke(ctx, name); err != nil {
		return err
	}
	d.g.broker.Disconnect(name, broker.NotAuthorized)
	return nil
}

// Restore lets a device in again that was revoked.
func (d deviceAdmin) Restore(ctx context.Context, name string) error {
	return d.g.devices.Restore(ctx, name)
}

func deviceFault(err error) error {
	if errors.Is(err, device.ErrInvalid) {
		return admin.Refusal(err)
	}
	return err
}

func deviceOptions(c *config.MQTT, guesses *throttle.Guard) device.Options {
	o := device.Options{Anonymous: c.Anonymous, Identity: map[string]string{}, Guesses: guesses}
	for _, l := range c.Listeners {
		o.Identity[l.Name] = l.Identity
	}
	return o
}

// Remove deletes a device, cuts it off and forgets its sessions.
func (d deviceAdmin) Remove(ctx context.Context, name string) error {
	if err := d.g.devices.Remove(ctx, name); err != nil {
		return err
	}
	d.g.broker.Forget(name, broker.NotAuthorized)
	return nil
}

// secret is what is told once of a device: its password, and a listener that
// it can use. TCP comes before TLS, which a certificate needs; where a listener
// is on every interface, this machine's own name will do for a try.
func (d deviceAdmin) secret(dev store.Device, password string) api.DeviceSecret {
	s := api.DeviceSecret{Device: apiDevice(dev, false), Password: password}
	all := d.g.listeners.all()
	for _, network := range []string{"tcp", "tls"} {
		for _, l := range d.g.cfg.MQTT.Listeners {
			host, port, err := net.SplitHostPort(all[l.Name])
			if err != nil || l.Network != network || dev.Certificate && l.TLS.ClientCA == "" {
				continue
			}
			if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
				host = "localhost"
			}
			s.Address, s.TLS = net.JoinHostPort(host, port), network == "tls"
			return s
		}
	}
	return s
}
