package gateway

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"time"

	"github.com/headgate-io/headgate/gateway/admin"
	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/doctor"
	"github.com/headgate-io/headgate/gateway/slot"
	"github.com/headgate-io/headgate/sync/wire"
)

// ErrUpdate ends Run when another binary shall take over: the launcher starts
// it.
var ErrUpdate = errors.New("another binary takes over")

// updateWaits is for how long an update waits for the leases of actuators.
// What is on then is closed, and tells of it, as at any end.
const updateWaits = 2 * time.Hour

// system is what the admin API does to the gateway's own binary.
type system struct {
	g     *Gateway
	slots *slot.Dir // nil where the binary is somebody else's affair
	// staged has a token when a new binary lies ready.
	staged chan struct{}
	base   baseSum
}

var _ admin.System = (*system)(nil)

func (g *Gateway) openSystem() (err error) {
	g.system = &system{g: g, staged: make(chan struct{}, 1)}
	if c := &g.cfg.System; c.Dir != "" {
		g.system.slots, err = slot.Open(c.Dir, c.Base)
	}
	return err
}

// fixed is what brings this binary where the gateway takes none; empty is that it
// does.
func (s *system) fixed() wire.Bringer {
	if s.slots != nil {
		return ""
	}
	file, _ := os.Executable() // without it nothing more is known
	switch {
	case strings.HasPrefix(file, "/usr/bin/"):
		return wire.Package
	case strings.HasPrefix(file, "/usr/local/bin/"):
		return wire.Installer
	}
	return wire.Somebody
}

// Status says which binary runs.
func (s *system) Status() (slot.State, error) {
	if s.slots == nil {
		return slot.State{Current: slot.Base}, nil
	}
	return s.slots.Load()
}

// Describe is the same for the admin API.
func (s *system) Describe() (api.System, error) {
	state, err := s.Status()
	out := api.System{Managed: s.slots != nil, Version: Version(), Current: string(state.Current), Previous: string(state.Previous)}
	if b, ok := state.Slots[state.Current]; ok {
		out.SHA256 = b.SHA256
	}
	if t := state.Trial; t != nil {
		out.Trial = &api.SystemTrial{SHA256: state.Slots[t.Slot].SHA256, Slot: string(t.Slot), Starts: t.Starts, MaxStarts: slot.MaxStarts}
	}
	if f := state.Failure; f != nil {
		out.Failure = &api.SystemFailure{SHA256: f.SHA256, Reason: f.Reason, Time: f.Time}
	}
	return out, err
}

// Update stages a binary, and has this one make place for it once no actuator
// is on.
func (s *system) Update(ctx context.Context, r io.Reader, o api.SystemUpdate) (api.SystemBinary, error) {
	if s.slots == nil {
		return api.SystemBinary{}, admin.Refusal(errors.New(s.fixed().Sentence()))
	}
	return s.stage(ctx, r, slot.Update{SHA256: o.SHA256, Within: o.Within})
}

func (s *system) stage(ctx context.Context, r io.Reader, u slot.Update) (api.SystemBinary, error) {
	u.Verify = s.g.verifyBinary
	for _, c := range s.g.examine(ctx) {
		if c.Status == string(doctor.Fail) {
			u.Tolerated = append(u.Tolerated, c.Name)
		}
	}
	b, err := s.slots.Stage(ctx, r, u)
	if err != nil {
		return api.SystemBinary{}, admin.Refusal(err)
	}
	s.g.log.Info("a new binary lies ready", "sha256", b.SHA256, "bytes", b.Bytes)
	select {
	case s.staged <- struct{}{}:
	default:
	}
	return api.SystemBinary{SHA256: b.SHA256, Bytes: b.Bytes}, nil
}

// watch ends the gateway when a new binary shall take over.
func (s *system) watch(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-s.staged:
	}
	if n, longest := s.g.actuators.controller.Leases(); n > 0 {
		s.g.log.Info("the update waits until no actuator is on", "actuators", n, "longest_lease", longest, "at_most", updateWaits)
	}
	if !s.idle(ctx) {
		return nil
	}
	return ErrUpdate
}

// idle waits until no actuator has a lease, or until that has taken too long;
// false is the end of ctx.
func (s *system) idle(ctx context.Context) bool {
	late := time.After(updateWaits)
	look := time.NewTicker(time.Second)
	defer look.Stop()
	for {
		n, _ := s.g.actuators.controller.Leases()
		if n == 0 {
			return ctx.Err() == nil
		}
		select {
		case <-ctx.Done():
			return false
		case <-late:
			s.g.log.Warn("the update waits no longer: what is on ends as interrupted", "actuators", n)
			return true
		case <-look.C:
		}
	}
}
