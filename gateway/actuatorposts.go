package gateway

import (
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"

	"github.com/headgate-io/headgate/mqtt/broker"
	"github.com/headgate-io/headgate/sensors/actuate"
)

// actuatorPosts are what waits for the broker, so that who moves actuators does
// not. Commands to devices are never dropped: of each device only the newest
// counts, as of each actuator only the state that it has when it is told.
type actuatorPosts struct {
	mu       sync.Mutex                 // leaf
	commands map[string]*broker.Message // by actuator
	states   map[string]bool
	wake     chan struct{}

	events  chan *broker.Message
	dropped atomic.Uint64
}

// maxActuatorEvents bounds the events that wait for the broker.
const maxActuatorEvents = 1024

func newActuatorPosts() *actuatorPosts {
	return &actuatorPosts{
		commands: map[string]*broker.Message{}, states: map[string]bool{}, wake: make(chan struct{}, 1), events: make(chan *broker.Message, maxActuatorEvents),
	}
}

// command has a device hear m, and nothing older that still waits.
func (p *actuatorPosts) command(name string, m *broker.Message) {
	p.mu.Lock()
	p.commands[name] = m
	p.mu.Unlock()
	p.poke()
}

// state has an actuator's state told.
func (p *actuatorPosts) state(name string) {
	p.mu.Lock()
	p.states[name] = true
	p.mu.Unlock()
	p.poke()
}

func (p *actuatorPosts) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// event has an event told, unless the broker is too slow for it.
func (p *actuatorPosts) event(m *broker.Message) {
	select {
	case p.events <- m:
	default:
		p.dropped.Add(1)
	}
}

// take is what waits of commands and states.
func (p *actuatorPosts) take() (commands map[string]*broker.Message, states map[string]bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.commands)+len(p.states) == 0 {
		return nil, nil
	}
	commands, states = p.commands, p.states
	p.commands, p.states = map[string]*broker.Message{}, map[string]bool{}
	return commands, states
}

// publish hands what waits to the broker until ctx ends, and what waits then.
func (a *actuators) publish(ctx context.Context) {
	for {
		a.publishNewest()
		select {
		case m := <-a.posts.events:
			a.send(m)
		case <-a.posts.wake:
		case <-ctx.Done():
			for len(a.posts.events) > 0 { // nobody else takes them
				a.send(<-a.posts.events)
			}
			a.publishNewest()
			return
		}
	}
}

func (a *actuators) send(m *broker.Message) {
	a.g.broker.Publish(m)
	a.g.watchers.seen(m)
}

func (a *actuators) publishNewest() {
	commands, states := a.posts.take()
	for _, m := range commands {
		a.send(m)
	}
	if len(states) == 0 {
		return
	}
	for _, s := range a.controller.Status() {
		if !states[s.Name] {
			continue
		}
		m, err := a.state(&s)
		if err != nil {
			a.log.Warn("the state of an actuator is not told", "actuator", s.Name, "error", err)
			continue
		}
		a.send(m)
	}
}

// state is the retained message that says what an actuator is.
func (a *actuators) state(s *actuate.Status) (*broker.Message, error) {
	st := actuatorState{State: string(s.State), Value: s.Value, Who: s.Who, Fault: s.Fault}
	if s.State == actuate.On {
		st.Until, st.LeftMs = a.g.now().Add(s.Left).UTC(), s.Left.Milliseconds()
	}
	raw, err := json.Marshal(&st)
	return &broker.Message{Topic: actuatorTopic(s.Name), Payload: raw, Retain: true}, err
}
