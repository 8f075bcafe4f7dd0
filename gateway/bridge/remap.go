package bridge

import (
	"strings"

	"github.com/headgate-io/headgate/mqtt/topic"
)

// Remap is the same tree of topics under its two names: Local with the gateway,
// Remote with the other broker. Both are whole levels, without wildcards; an
// empty one is the root.
type Remap struct{ Local, Remote string }

// remaps translates topics. The first pair that fits counts; what none fits is
// called the same on both sides.
type remaps []Remap

// local is what the gateway calls a topic of the other broker.
func (r remaps) local(name string) string {
	for _, m := range r {
		if out, ok := replace(name, m.Remote, m.Local); ok {
			return out
		}
	}
	return name
}

// remote is what the other broker calls a topic of the gateway.
func (r remaps) remote(name string) string {
	for _, m := range r {
		if out, ok := replace(name, m.Local, m.Remote); ok {
			return out
		}
	}
	return name
}

// replace exchanges the first levels of a topic.
func replace(name, from, to string) (string, bool) {
	rest := name
	if from != "" {
		var ok bool
		if rest, ok = strings.CutPrefix(name, from); !ok || rest != "" && rest[0] != '/' {
			return name, false
		}
		rest = strings.TrimPrefix(rest, "/")
	}
	switch {
	case to == "":
		return rest, rest != ""
	case rest == "":
		return to, true
	}
	return to + "/" + rest, true
}

// grows reports whether a topic has a level path in it twice already. Where two
// gateways prefix what they get from each other, names grow round by round:
// that is a loop which no memory of contents sees.
func grows(name, path string) bool {
	if path == "" {
		return false
	}
	rest, path := "/"+name+"/", "/"+path+"/"
	at := strings.Index(rest, path)
	return at >= 0 && strings.Contains(rest[at+1:], path)
}

// loops reports whether what comes in as remote, and gets the name local, has
// gone round before.
func (r remaps) loops(remote, local string) bool {
	for _, m := range r {
		if m.Remote == "" && grows(remote, m.Local) && strings.HasPrefix(local, m.Local) {
			return true
		}
	}
	return false
}

// protected are topics of the gateway's own doing. What comes in over a bridge
// reaches them only where a filter says so by name.
func protected(name string) bool {
	first, _, _ := strings.Cut(name, "/")
	return first == "actuators" || first == "sensors"
}

// commands reports whether a topic or filter is among those that move actuators.
func commands(name string) bool {
	first, _, _ := strings.Cut(name, "/")
	return first == "actuators"
}

// valid reports whether a topic may be published to on either side.
func valid(name string) bool { return topic.DefaultLimits.CheckName(name) == nil && name[0] != '$' }

// admits reports whether a topic of the other broker may come in under the
// gateway's name for it.
func (b *Bridge) admits(remote, local string) bool {
	if !valid(local) {
		return false
	}
	for _, f := range b.cfg.In {
		if topic.Match(f, remote) && (!protected(local) || b.names(f)) {
			return true
		}
	}
	return false
}

// names reports whether a filter speaks of the gateway's own topics on purpose:
// its first level with the gateway is no wildcard.
func (b *Bridge) names(filter string) bool {
	return protected(b.remap.local(filter))
}
