package desired

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/headgate-io/headgate/gateway/update"
	"github.com/headgate-io/headgate/sync/ota"
	"github.com/headgate-io/headgate/sync/wire"
)

// Wanted is what shall run of what is signed: what the owner named for every
// gateway, and over that what the controller chose for this one.
func (f *Follower) Wanted(ctx context.Context, t *ota.Targets) (update.Desired, error) {
	f.mu.Lock()
	d, given := f.desired, slices.Clone(f.rec.Given)
	foreign := f.foreignLocked()
	f.mu.Unlock()
	out := update.Signed(t, f.cfg.Arch)
	if d == nil || foreign {
		return out, nil
	}
	overridden := map[string]bool{}
	for i := range d.Functions {
		if d.Functions[i].Target != "" {
			overridden[d.Functions[i].Name] = true
		}
	}
	isLive := func(w update.Want) bool { return w.Alias == ota.Live }
	out.Functions = slices.DeleteFunc(out.Functions, func(w update.Want) bool { return isLive(w) && overridden[w.Target.Function] })
	named := map[string]bool{}
	for _, w := range out.Functions {
		named[w.Target.Function] = named[w.Target.Function] || isLive(w)
	}
	for i := range d.Functions {
		chosen(t, &d.Functions[i], &out)
	}
	f.system(t, d, &out)
	var others []string
	for _, name := range given {
		switch {
		case overridden[name]:
		case named[name]:
			others = append(others, name)
		default:
			out.Removed = append(out.Removed, name)
		}
	}
	if len(others) == 0 {
		return out, nil
	}
	return out, f.Removed(ctx, others...)
}

// chosen finds the target that the controller chose for a function.
func chosen(t *ota.Targets, w *wire.DesiredFunction, out *update.Desired) {
	if w.Target == "" {
		return
	}
	sum := hex.EncodeToString(w.SHA256)
	why := fmt.Sprintf("%s is not among what the owner signed (version %d)", w.Target, t.Version)
	for i := range t.All {
		x := &t.All[i]
		switch {
		case x.Name != w.Target:
		case x.Kind != ota.Function || x.Function != w.Name:
			why = fmt.Sprintf("%s is not a version of %s", w.Target, w.Name)
		case x.SHA256 != sum:
			why = fmt.Sprintf("%s has another content than the controller says", w.Target)
		default:
			out.Functions = append(out.Functions, update.Want{Alias: ota.Live, Target: *x, Attempt: w.Attempt})
			return
		}
	}
	out.Missing = append(out.Missing, update.Missing{Function: w.Name, Target: w.Target, Attempt: w.Attempt, Why: why})
}

// system finds the binary that the controller chose.
func (f *Follower) system(t *ota.Targets, d *wire.Desired, out *update.Desired) {
	if d.System == "" {
		return
	}
	out.System = nil
	why := fmt.Sprintf("%s is not among what the owner signed (version %d)", d.System, t.Version)
	for i := range t.All {
		x := &t.All[i]
		switch {
		case x.Name != d.System:
		case x.Kind != ota.System:
			why = d.System + " is not a gateway's binary"
		case x.Arch != f.cfg.Arch:
			why = fmt.Sprintf("%s is for %s, and this gateway is %s", d.System, x.Arch, f.cfg.Arch)
		default:
			out.System, out.SystemAttempt = x, d.SystemAttempt
			return
		}
	}
	out.Missing = append(out.Missing, update.Missing{Target: d.System, Why: why})
}
