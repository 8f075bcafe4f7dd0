package doctor

import (
	"context"
	"fmt"
	"strings"
)

// Bridge is what is looked at of one bridge.
type Bridge struct {
	Name, Address string
	Connected     bool
	// Error is why it is not connected, with what to do about it.
	Error string
	// Refused are filters that the other broker does not grant.
	Refused []string
	// Queued waits for the other broker; Dropped is what the bounds cost.
	Queued  int
	Dropped uint64
	// Crossing are topics that go no further for want of transit.
	Crossing []string
}

// Bridges says which are connected, and why the others are not.
func Bridges(all func() []Bridge) Probe {
	return Probe{"bridges", func(context.Context) Check {
		list := all()
		if len(list) == 0 {
			return ok("none")
		}
		var good, away, lacking []string
		for _, b := range list {
			switch {
			case !b.Connected && b.Error == "":
				away = append(away, fmt.Sprintf("%s has not reached %s yet", b.Name, b.Address))
			case !b.Connected:
				away = append(away, fmt.Sprintf("%s (%d messages wait): %s", b.Name, b.Queued, b.Error))
			default:
				good = append(good, fmt.Sprintf("%s with %s", b.Name, b.Address))
			}
			if len(b.Refused) > 0 {
				lacking = append(lacking, fmt.Sprintf("%s: the other broker refuses %s", b.Name, strings.Join(b.Refused, ", ")))
			}
			if b.Dropped > 0 {
				lacking = append(lacking, fmt.Sprintf("%s dropped %d messages since the start: it was away for longer than max_queued and max_queued_bytes allow", b.Name, b.Dropped))
			}
			if len(b.Crossing) > 0 {
				lacking = append(lacking, fmt.Sprintf("%s does not pass on %s: that needs transit: true", b.Name, strings.Join(b.Crossing, ", ")))
			}
		}
		switch {
		case len(away) > 0:
			return fail("'headgate bridge list' shows when each is tried again; nothing that waits is lost meanwhile", "%s", strings.Join(away, "; "))
		case len(lacking) > 0:
			return warn("change the bridge's settings, or the other broker's access rules", "%s", strings.Join(lacking, "; "))
		}
		return ok("connected: %s", strings.Join(good, ", "))
	}}
}

// Announced is what is looked at of how the local network hears of the gateway.
type Announced struct {
	Enabled bool
	// Services counts listeners to be announced, Names are those that are.
	Services int
	Names    string
	Error    string
}

// Announcements says under which names the gateway is found in the local
// network.
func Announcements(is func() Announced) Probe {
	return Probe{"mdns", func(context.Context) Check {
		a := is()
		switch {
		case !a.Enabled:
			return ok("off")
		case a.Error != "":
			return warn("devices do not find the gateway by its name: see that the network is up, or set mdns.enabled: false", "%s", a.Error)
		case a.Services == 0:
			return ok("no listener is reached beyond this machine")
		case a.Names == "":
			return ok("asking whether the name is free")
		}
		return ok("announced as %s", a.Names)
	}}
}
