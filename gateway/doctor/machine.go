package doctor

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/gateway/certs"
	"github.com/headgate-io/headgate/gateway/clock"
	"github.com/headgate-io/headgate/gateway/dispatch"
	"github.com/headgate-io/headgate/gateway/memory"
)

// Memory says how much of its budget the gateway takes.
func Memory(w *memory.Watch) Probe {
	return Probe{"memory", func(context.Context) Check {
		st := w.Stats()
		detail := fmt.Sprintf("%s taken, at most %s, of a budget of %s (%s)", bytes(st.ResidentBytes), bytes(st.PeakBytes), bytes(st.BudgetBytes), w.Limit().Source)
		if st.Refusals > 0 {
			detail += fmt.Sprintf("; %d connections and events refused for it", st.Refusals)
		}
		const advice = "raise memory.budget if the machine has more, or lower limits.memory of functions and mqtt.max_queued_bytes_total"
		switch memory.Level(st.Level) {
		case memory.Full:
			return fail(advice, "%s: nobody new is let in", detail)
		case memory.Tight:
			return warn(advice, "%s", detail)
		}
		return ok("%s", detail)
	}}
}

// Clock says how far the time can be trusted.
func Clock(c *clock.Clock) Probe {
	return Probe{"clock", func(context.Context) Check {
		st := c.Stats()
		detail := fmt.Sprintf("%s, %s", c.Now().UTC().Format(time.DateTime+" UTC"), c.Trust())
		if jumps := st.JumpsForward + st.JumpsBack; jumps > 0 {
			detail += fmt.Sprintf("; it jumped %d times since the start, last by %v", jumps, st.LastJump.Round(time.Second))
		}
		const advice = "let it reach a time server (chrony, systemd-timesyncd); calendars wait for it"
		switch c.Trust() {
		case event.TimeUnknown:
			return fail(advice, "%s", detail)
		case event.TimeEstimated:
			return warn(advice, "%s", detail)
		}
		return ok("%s", detail)
	}}
}

// Certificates says which of them are at their end, or are not in use: of
// several faults the worst. now is the gateway's clock.
func Certificates(list func() map[string]certs.Status, now func() time.Time) Probe {
	return Probe{"tls", func(context.Context) Check {
		all := list()
		if len(all) == 0 {
			return ok("no listener uses TLS")
		}
		var good []string
		var worst Check
		for _, name := range slices.Sorted(maps.Keys(all)) {
			switch c := certificate(name, all[name], now()); {
			case c.Status == OK:
				good = append(good, c.Detail)
			case worst.Status == "", worst.Status == Warn && c.Status == Fail:
				worst = c
			}
		}
		if worst.Status != "" {
			return worst
		}
		return ok("%s", strings.Join(good, ", "))
	}}
}

func certificate(name string, s certs.Status, now time.Time) Check {
	const advice = "put a new certificate and key in its place: they are read again by themselves"
	switch left := s.NotAfter.Sub(now); {
	case s.Stale:
		return fail("see the gateway's log; the old ones stay in use until the new ones are good", "%s: its files have changed and are not good", name)
	case left <= 0:
		return fail(advice, "%s: its certificate has expired on %s", name, s.NotAfter.Format(time.DateOnly))
	case left < soon:
		return warn(advice, "%s: its certificate expires on %s", name, s.NotAfter.Format(time.DateOnly))
	case !s.CANotAfter.IsZero() && s.CANotAfter.Sub(now) < soon:
		return warn("put a new client CA in its place", "%s: its client CA expires on %s", name, s.CANotAfter.Format(time.DateOnly))
	case !s.CRLNextUpdate.IsZero() && s.CRLNextUpdate.Before(now):
		return warn("put a new revocation list in its place", "%s: its revocation list was due on %s", name, s.CRLNextUpdate.Format(time.DateOnly))
	}
	return ok("%s until %s", name, s.NotAfter.Format(time.DateOnly))
}

// Secrets says which cannot be opened.
func Secrets(lost func() (lost, all int, err error)) Probe {
	return Probe{"secrets", func(context.Context) Check {
		n, all, err := lost()
		switch {
		case err != nil:
			return fail("put the key file back from its copy, and send the gateway SIGHUP", "%d of %d cannot be opened: %v", n, all, err)
		case n > 0:
			return fail("put the key file back that they were sealed with and send the gateway SIGHUP, or set them again", "%d of %d cannot be opened with the key file that is there", n, all)
		}
		return ok("%d, all can be opened", all)
	}}
}

// Functions says which of them are paused because they keep failing.
func Functions(stats func() dispatch.Stats, broken func() map[string]error, absent func() map[string][]string) Probe {
	return Probe{"functions", func(context.Context) Check {
		if list := broken(); len(list) > 0 {
			names := slices.Sorted(maps.Keys(list))
			return fail("deploy it anew or roll it back; where memory was short, give it more and restart",
				"%d do not run, and their events wait: %s (%v)", len(list), strings.Join(names, ", "), list[names[0]])
		}
		list := stats().Functions
		var paused []string
		for i := range list {
			if list[i].Paused {
				paused = append(paused, list[i].Name)
			}
		}
		if len(paused) > 0 {
			return fail("'headgate describe' and 'headgate logs' of the function show why", "paused because they keep failing: %s", strings.Join(paused, ", "))
		}
		if names := absent(); len(names) > 0 {
			var each []string
			for _, name := range slices.Sorted(maps.Keys(names)) {
				each = append(each, name+" ("+strings.Join(names[name], ", ")+")")
			}
			return warn("name it under sensors: or actuators: in the gateway's configuration, or mend the function's headgate.yaml",
				"%d deployed, none paused; what they name and this gateway does not have: %s", len(list), strings.Join(each, ", "))
		}
		return ok("%d deployed, none paused", len(list))
	}}
}
