//go:build e2e

package examples

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// grace is how soon a machine has to come back.
const grace = 2 * time.Second

func TestDeviceAlert(t *testing.T) {
	phone := newPhone(t)
	machine := device{publish: []string{"machines/{user}/#"}}
	example{
		folder: "device-alert",
		devices: map[string]device{
			"machine-1": machine, "machine-2": machine, "machine-3": machine,
			"site": {publish: []string{"site/siren/ack"}, subscribe: []string{"site/siren"}},
		},
		secrets: map[string]map[string]string{"alert": {"oncall_key": "abc"}},
		edit:    map[string]string{"http://127.0.0.1:9093": phone.server.URL, "grace: 30": fmt.Sprint("grace: ", grace.Seconds()), "backoff: 2s": "backoff: 200ms"},
		check: func(ctx context.Context, s *site) error {
			phone.reset()
			return checkDeviceAlert(ctx, s, phone)
		},
		without: map[string]string{
			"watch": "nobody was told of machine-1: fault (E7)",
			"alert": "nobody was told of machine-1: fault (E7)",
			"siren": "site/siren: 0 messages",
		},
	}.run(t)
}

// phone is the service that calls the people on call.
type phone struct {
	server *httptest.Server

	mu    sync.Mutex
	down  bool
	calls []string
	keys  map[string]bool
	tries int
}

func newPhone(t *testing.T) *phone {
	p := &phone{}
	p.server = httptest.NewServer(http.HandlerFunc(p.ring))
	t.Cleanup(p.server.Close)
	return p
}

func (p *phone) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down, p.calls, p.keys, p.tries = false, nil, map[string]bool{}, 0
}

func (p *phone) breakDown() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = true
}

func (p *phone) ring(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tries++
	var alert struct{ Text string }
	key := r.Header.Get("Idempotency-Key")
	if err := json.NewDecoder(r.Body).Decode(&alert); err != nil || key == "" || r.Header.Get("Authorization") != "Bearer abc" {
		http.Error(w, "not an alert", http.StatusBadRequest)
		return
	}
	if p.down {
		http.Error(w, "the line is down", http.StatusServiceUnavailable)
		return
	}
	if !p.keys[key] {
		p.keys[key] = true
		p.calls = append(p.calls, alert.Text)
	}
}

func (p *phone) attempts() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tries
}

func (p *phone) told() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.calls)
}

// rang waits for a call.
func (s *site) rang(ctx context.Context, p *phone, text string) error {
	return s.until(ctx, func() error {
		for _, told := range p.told() {
			if strings.HasPrefix(told, text) {
				return nil
			}
		}
		return fmt.Errorf("nobody was told of %s, but of %q", text, p.told())
	})
}

func checkDeviceAlert(ctx context.Context, s *site, p *phone) error {
	yard, err := s.listen(ctx, "site")
	if err != nil {
		return err
	}
	defer yard.Close()
	if err := s.publish(ctx, "machine-1", "machines/machine-1/fault", `{"code":"E7"}`, "smoke"); err != nil {
		return err
	}
	if err := s.rang(ctx, p, "machine-1: fault (E7)"); err != nil {
		return err
	}
	back, err := s.silence(ctx, p)
	if err != nil {
		return err
	}
	defer back.Close()

	p.breakDown()
	if err := s.publish(ctx, "machine-3", "machines/machine-3/fault", `{"code":"E8"}`); err != nil {
		return err
	}
	noise := []any{map[string]any{"on": true, "machine": "machine-3", "what": "fault", "detail": "E8"}}
	if err := s.exactly(ctx, yard, "site/siren", noise); err != nil {
		return err
	}
	kept, err := s.Run(ctx, "state", "list", "siren")
	if err != nil || !strings.HasPrefix(kept, "kept/") {
		return fmt.Errorf("siren keeps %q, %w", kept, err)
	}
	if err := s.publish(ctx, "site", "site/siren/ack", "Ada"); err != nil {
		return err
	}
	if err := s.exactly(ctx, yard, "site/siren", append(noise, map[string]any{"on": false})); err != nil {
		return err
	}
	if kept, err = s.Run(ctx, "state", "list", "siren"); err != nil || strings.Contains(kept, "kept/") {
		return fmt.Errorf("siren keeps %q after somebody came, %w", kept, err)
	}
	s.say("told of %q; %d attempts to tell; the siren went on once, and off", p.told(), p.attempts())
	return nil
}

// silence unplugs two machines, of which one comes back and is returned; a
// third says goodbye.
func (s *site) silence(ctx context.Context, p *phone) (back *listener, err error) {
	unplugged := time.Now()
	if err := s.unplug(ctx, "machine-2"); err != nil {
		return nil, err
	}
	if back, err = s.listen(ctx, "machine-2"); err != nil {
		return nil, err
	}
	err = s.until(ctx, func() error { return s.down(ctx, "machine-2", false) })
	late := time.Since(unplugged) > grace // then somebody may be told of it
	if err == nil {
		err = s.unplug(ctx, "machine-1")
	}
	if err == nil {
		err = s.publish(ctx, "machine-3", "machines/machine-3/alive", "and goodbye")
	}
	if err == nil {
		err = s.rang(ctx, p, "machine-1: silent")
	}
	if err == nil {
		err = s.Drain(ctx, patient)
	}
	told := slices.DeleteFunc(p.told(), func(text string) bool { return late && strings.HasPrefix(text, "machine-2: silent") })
	if err == nil && len(told) != 2 {
		err = fmt.Errorf("told of %q, want a fault and a silence", told)
	}
	if err != nil {
		back.Close()
		return nil, err
	}
	return back, nil
}

// unplug lets a machine connect, and ends it without a goodbye.
func (s *site) unplug(ctx context.Context, machine string) error {
	m, err := s.listen(ctx, machine)
	if err != nil {
		return err
	}
	m.Close()
	return s.until(ctx, func() error { return s.down(ctx, machine, true) })
}

// down compares what watch knows of a machine.
func (s *site) down(ctx context.Context, machine string, want bool) error {
	key, err := s.state(ctx, "watch", "down/"+machine)
	if is := len(key) > 0; err == nil && is != want {
		return fmt.Errorf("%s: watch thinks it is down: %v, want %v", machine, is, want)
	}
	return err
}
