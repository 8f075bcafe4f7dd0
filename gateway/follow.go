package gateway

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/desired"
	"github.com/headgate-io/headgate/gateway/doctor"
	"github.com/headgate-io/headgate/gateway/registry"
	"github.com/headgate-io/headgate/gateway/secret"
	"github.com/headgate-io/headgate/gateway/slot"
	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/gateway/update"
	"github.com/headgate-io/headgate/sync/wire"
)

var (
	_ desired.Memory    = (*store.Store)(nil)
	_ desired.Vault     = (*secret.Vault)(nil)
	_ desired.Functions = (*registry.Registry)(nil)
)

// configurable is the registry, which is made later than what follows.
type configurable struct{ g *Gateway }

// Configure lays a configuration over a function's own.
func (c configurable) Configure(ctx context.Context, name string, overlay []byte) error {
	return c.g.registry.Configure(ctx, name, overlay)
}

// openDesired reads what the controller wanted of the gateway.
func (g *Gateway) openDesired(ctx context.Context) (err error) {
	g.desired, err = desired.Open(ctx, desired.Config{
		Functions: configurable{g}, Vault: g.vault, Memory: g.store, Missing: store.ErrNotFound, Gone: store.ErrNotFound, Arch: arch,
		Member: func() *desired.Member {
			s := g.enrolment.State()
			if s == nil {
				return nil
			}
			return &desired.Member{Gateway: s.Gateway, Key: s.SigningKey()}
		},
		Changed: func() {
			if p := g.updates.Load(); p != nil {
				p.Changed()
			} else {
				g.enrolment.WantRoot() // the fleet has one by now, or nothing could be wanted
			}
		},
		Report: func() { g.uplink.Report() }, Logger: g.log,
	})
	return err
}

// reported is how the gateway is, for its controller.
func (g *Gateway) reported() *wire.Reported {
	out := &wire.Reported{
		Revision: g.desired.Revision(), Time: g.now().UnixMicro(), System: g.reportedSystem(), Faults: g.actuators.controller.Stats().Faults,
	}
	fault := g.desired.Fault()
	byName := map[string]*wire.ReportedFunction{}
	of := func(name string) *wire.ReportedFunction {
		f := byName[name]
		if f == nil {
			f = &wire.ReportedFunction{Name: name}
			byName[name] = f
		}
		return f
	}
	for _, s := range g.registry.States() {
		f := of(s.Name)
		f.Version, f.Digest = s.Version, unhex(s.Digest)
		if len(s.Overlay) > 0 {
			sum := sha256.Sum256(s.Overlay)
			f.Config = sum[:]
		}
		if s.Broken != nil {
			f.Note = cut("does not run: " + s.Broken.Error())
		}
	}
	if p := g.updates.Load(); p != nil {
		fault = join(fault, reportedUpdates(p.Status(), of))
	} else if g.desired.Names() {
		fault = join(fault, errNoUpdates.Error())
	}
	for _, f := range byName {
		out.Functions = append(out.Functions, *f)
	}
	slices.SortFunc(out.Functions, func(a, b wire.ReportedFunction) int { return strings.Compare(a.Name, b.Name) })
	if n := len(out.Functions) - wire.MaxFunctions; n > 0 {
		out.Functions = out.Functions[:wire.MaxFunctions]
		fault = join(fault, fmt.Sprintf("%d functions more than a report names", n))
	}
	out.Error = fault
	return out
}

// reportedUpdates adds how far updates are, and returns why they do not go on.
func reportedUpdates(s update.Status, of func(string) *wire.ReportedFunction) (fault string) {
	waits := len(s.Missing) > 0
	for i := range s.All {
		r := &s.All[i]
		f := of(r.Target.Function)
		f.Target, f.Attempt, f.Stage = r.Target.Name, r.Attempt, string(r.Stage)
		if n := len(r.Steps); n > 0 && f.Note == "" {
			f.Note = cut(r.Steps[n-1].Note)
		}
		f.Old, f.New = reportedCounts(r.Old), reportedCounts(r.New)
		waits = waits || r.Stage == update.Fetching
	}
	for _, m := range s.Missing {
		if m.Function == "" {
			fault = join(fault, "the gateway's binary waits for the repository: "+m.Why)
			continue
		}
		f := of(m.Function)
		f.Target, f.Attempt, f.Stage, f.Note = m.Target, m.Attempt, string(update.Fetching), cut("waits for the repository: "+m.Why)
		f.Old, f.New = wire.Counts{}, wire.Counts{}
	}
	if waits && s.Error != "" {
		fault = join(fault, s.Error)
	}
	return fault
}

func reportedCounts(c update.Count) wire.Counts {
	return wire.Counts{Invocations: c.Invocations, Failures: c.Failures, Crashes: c.Crashes, Busy: uint64(c.Busy.Microseconds())}
}

func (g *Gateway) reportedSystem() wire.ReportedSystem {
	out := wire.ReportedSystem{Version: Version()}
	if g.system.slots == nil {
		out.Fixed = g.system.fixed()
		return out
	}
	s, err := g.system.slots.Load()
	if err != nil {
		out.Note = cut(err.Error())
		return out
	}
	if out.SHA256, out.Trial = unhex(s.Slots[s.Current].SHA256), s.Trial != nil; s.Current == slot.Base {
		out.SHA256 = unhex(g.system.baseDigest())
	}
	if s.Failure != nil {
		out.Failed, out.Note, out.FailedAttempt = unhex(s.Failure.SHA256), cut(s.Failure.Reason), cmp.Or(cut(s.Failure.Attempt), wire.NoAttempt)
	}
	return out
}

// baseSum is the digest of the binary that came with the machine, which does not
// change while the gateway runs.
type baseSum struct {
	once sync.Once
	sum  string
}

func (s *system) baseDigest() string {
	s.base.once.Do(func() { s.base.sum, _ = fileDigest(s.slots.Path(slot.Base)) }) // without it nothing is told
	return s.base.sum
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		return nil
	}
	return b
}

// cut bounds a text of a report.
func cut(s string) string {
	const most = 300
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return strings.ToValidUTF8(s, "")
}

func join(a, b string) string {
	switch {
	case a == "":
		return cut(b)
	case b == "":
		return a
	}
	return a + "; " + cut(b)
}

// shownDesired is what the controller wants, as the admin API shows it.
func (g *Gateway) shownDesired() *api.Desired {
	s := g.desired.Stats()
	if s.Revision == 0 && g.desired.Fault() == "" {
		return nil
	}
	return &api.Desired{Revision: s.Revision, Functions: s.Functions, Secrets: s.Secrets, Error: g.reported().Error}
}

// examinedDesired is that as doctor looks at it.
func (g *Gateway) examinedDesired() doctor.Desired {
	if s := g.shownDesired(); s != nil {
		return doctor.Desired{Revision: s.Revision, Error: s.Error}
	}
	return doctor.Desired{}
}
