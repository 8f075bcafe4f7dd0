package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/headgate-io/headgate/firmware-tests/rig"
	"github.com/headgate-io/headgate/gateway/admin/api"
)

// site is a gateway with a tank: a probe that says how full it is, and somebody
// who looks at what the function makes of it.
type site struct {
	*rig.Gateway
	name   string
	device mqtt.Client

	mu sync.Mutex
	// said is the newest message of the function.
	said answer
	// sent counts readings that the gateway acknowledged.
	sent uint64
}

// answer is what the function publishes.
type answer struct {
	Release int    `json:"release"`
	Level   int    `json:"level"`
	Unit    string `json:"unit"`
}

// The pace of everything on a gateway: what takes minutes and hours on a farm
// takes seconds here.
const settings = `uplink: {interval: 1s}
updates:
  interval: 2s
  canary: {percent: 50, for: 2s, sample: 10, within: 30s}
`

// openSite starts a gateway. What another has compiled it takes over.
func openSite(ctx context.Context, binary, dir, name string) (*site, error) {
	dir = filepath.Join(dir, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	g, err := rig.New(binary, dir)
	if err != nil {
		return nil, err
	}
	s := &site{Gateway: g, name: name}
	if err := g.Configure(settings); err != nil {
		return nil, err
	}
	return s, g.Start(ctx)
}

// connect gives the tank its device.
func (s *site) connect(ctx context.Context) error {
	password, err := s.AddDevice(ctx, "tank", []string{"tank/#"}, []string{"level/#"})
	if err != nil {
		return err
	}
	o := mqtt.NewClientOptions().AddBroker("tcp://" + s.Address).SetClientID("tank").SetUsername("tank").SetPassword(password).SetAutoReconnect(true)
	s.device = mqtt.NewClient(o)
	if err := done(s.device.Connect()); err != nil {
		return err
	}
	return done(s.device.Subscribe("level/now", 0, func(_ mqtt.Client, m mqtt.Message) {
		var a answer
		if json.Unmarshal(m.Payload(), &a) == nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.said = a
		}
	}))
}

func done(t mqtt.Token) error {
	if !t.WaitTimeout(30 * time.Second) {
		return fmt.Errorf("the gateway does not answer")
	}
	return t.Error()
}

// measure publishes a reading again and again until ctx ends.
func (s *site) measure(ctx context.Context) error {
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := done(s.device.Publish("tank/"+strconv.Itoa(n%7), 1, false, strconv.Itoa(n))); err != nil {
			return fmt.Errorf("%s: reading %d: %w", s.name, n, err)
		}
		s.mu.Lock()
		s.sent++
		s.mu.Unlock()
	}
}

func (s *site) says() answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.said
}

func (s *site) readings() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent
}

// close ends the gateway as its owner does.
func (s *site) close() error {
	if s.device != nil {
		s.device.Disconnect(100)
	}
	return s.Stop()
}

// metered is a gateway's own count of attempts.
func metered(ctx context.Context, s *site) (n uint64, err error) {
	var rows []api.Usage
	err = s.Client.Do(ctx, http.MethodGet, "/v1/usage?function=level", nil, &rows)
	for i := range rows {
		n += rows[i].Requests
	}
	return n, err
}
