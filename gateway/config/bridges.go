package config

import (
	"fmt"
	"maps"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/mqtt/topic"
)

// Bridge is a connection with another broker. Fields that are left out take the
// defaults named beside them.
type Bridge struct {
	// URL is where the other broker is: mqtt://host:port or, over TLS,
	// mqtts://host:port. The ports are 1883 and 8883 where it names none.
	URL string `yaml:"url"`
	// User and PasswordFile are for the other broker. The file is read for
	// every connection; its last line break does not count.
	User         string    `yaml:"user"`
	PasswordFile string    `yaml:"password_file"`
	TLS          BridgeTLS `yaml:"tls"`
	// ClientID names the session that the other broker keeps
	// (headgate-GATEWAY-NAME).
	ClientID string `yaml:"client_id"`
	// In are filters of what the other broker has and this one gets, by the
	// other's names; Out of what goes the other way, by the gateway's own.
	In  []string `yaml:"in"`
	Out []string `yaml:"out"`
	// Remap renames the first levels of topics; the first pair that fits
	// counts, both ways.
	Remap []Remap `yaml:"remap"`
	// QoS is the most that is used, 0 or 1 (1).
	QoS *int `yaml:"qos"`
	// Retain hands the RETAIN flag on, both ways (true).
	Retain *bool `yaml:"retain"`
	// Transit lets out what came in over another bridge too.
	Transit bool `yaml:"transit"`
	// MaxQueued and MaxQueuedBytes cap what waits for the other broker
	// (10000, 8MiB). The oldest go first.
	MaxQueued      int               `yaml:"max_queued"`
	MaxQueuedBytes function.ByteSize `yaml:"max_queued_bytes"`
	// KeepAlive is how often, at the least, the two hear of each other (60s).
	KeepAlive function.Duration `yaml:"keep_alive"`
	// StatusTopic is where the other broker says online or offline of this
	// gateway, retained; left out it says nothing.
	StatusTopic string `yaml:"status_topic"`
	// Plain connects as any client does, for brokers that take a bridge amiss.
	Plain bool `yaml:"plain"`
}

// BridgeTLS names PEM files.
type BridgeTLS struct {
	// CA is who signs the other broker's certificate, where no well-known CA
	// does.
	CA string `yaml:"ca"`
	// Certificate and Key are the gateway's own, for a broker that wants them.
	Certificate string `yaml:"certificate"`
	Key         string `yaml:"key"`
}

// Remap is one tree of topics under its two names, in whole levels.
type Remap struct {
	Local  string `yaml:"local"`
	Remote string `yaml:"remote"`
}

// Ports of MQTT (IANA).
const (
	portMQTT  = "1883"
	portMQTTS = "8883"
)

// WithDefaults fills in what is left out.
func (b Bridge) WithDefaults() Bridge {
	if b.QoS == nil {
		one := 1
		b.QoS = &one
	}
	if b.Retain == nil {
		yes := true
		b.Retain = &yes
	}
	if b.MaxQueued == 0 {
		b.MaxQueued = 10_000
	}
	if b.MaxQueuedBytes == 0 {
		b.MaxQueuedBytes = 8 << 20
	}
	if b.KeepAlive == 0 {
		b.KeepAlive = function.Duration(time.Minute)
	}
	b.Remap = slices.Clone(b.Remap)
	for i := range b.Remap {
		b.Remap[i].Local, b.Remap[i].Remote = strings.TrimSuffix(b.Remap[i].Local, "/"), strings.TrimSuffix(b.Remap[i].Remote, "/")
	}
	return b
}

// Endpoint takes URL apart: host:port, the host alone, and whether TLS is
// spoken there.
func (b *Bridge) Endpoint() (address, host string, secure bool, err error) {
	u, err := url.Parse(b.URL)
	if err != nil || u.Scheme != "mqtt" && u.Scheme != "mqtts" || u.Hostname() == "" {
		return "", "", false, fmt.Errorf("%q is not where a broker is: write mqtt://host, or mqtts://host for TLS", b.URL)
	}
	if u.User != nil {
		return "", "", false, fmt.Errorf("the url holds a user: write it as user, and the password into password_file")
	}
	if u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" {
		return "", "", false, fmt.Errorf("%q has more than a host and a port", b.URL)
	}
	port := u.Port()
	secure = u.Scheme == "mqtts"
	switch {
	case port == "" && secure:
		port = portMQTTS
	case port == "":
		port = portMQTT
	}
	return net.JoinHostPort(u.Hostname(), port), u.Hostname(), secure, nil
}

var validBridge = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)

const (
	maxBridges       = 16
	maxBridgeFilters = 128
)

func (c *Config) validateBridges(add func(string, ...any)) {
	if len(c.Bridges) > maxBridges {
		add(fmt.Sprintf("%d bridges, more than the %d there may be", len(c.Bridges), maxBridges), "bridges")
	}
	for _, name := range slices.Sorted(maps.Keys(c.Bridges)) {
		b := c.Bridges[name].WithDefaults()
		at := func(message string, path ...any) { add(message, append([]any{"bridges", name}, path...)...) }
		if !validBridge.MatchString(name) {
			at(fmt.Sprintf("%q: a bridge's name starts with a letter and has only a-z, 0-9 and -, 63 at most", name))
		}
		b.validateEndpoint(at)
		if address, host, _, err := b.Endpoint(); err == nil && c.listensAt(address, host) {
			at(fmt.Sprintf("%s is this gateway's own broker: name the other one", b.URL), "url")
		}
		b.validateTopics(at)
		b.validateBounds(at)
	}
}

func (b *Bridge) validateEndpoint(at func(string, ...any)) {
	_, _, secure, err := b.Endpoint()
	switch {
	case b.URL == "":
		at("is missing: where the other broker is, as mqtt://192.0.2.10", "url")
	case err != nil:
		at(err.Error(), "url")
	case !secure && b.TLS != (BridgeTLS{}):
		at("mqtt:// has no TLS: write mqtts:// in url", "tls")
	}
	if (b.TLS.Certificate == "") != (b.TLS.Key == "") {
		at("certificate and key belong together", "tls")
	}
	if b.User == "" && b.PasswordFile != "" {
		at("a password needs its user", "password_file")
	}
	if len(b.ClientID) > 256 {
		at(fmt.Sprintf("%d bytes long, at most 256 are of use", len(b.ClientID)), "client_id")
	}
}

// listensAt reports whether one of the gateway's own listeners is at address.
// What only a name server knows is found out when the bridge connects.
func (c *Config) listensAt(address, host string) bool {
	_, port, _ := net.SplitHostPort(address)
	for _, l := range c.MQTT.Listeners {
		own, ownPort, err := net.SplitHostPort(l.Address)
		if err != nil || ownPort != port {
			continue
		}
		here := own == "" || net.ParseIP(own).IsUnspecified()
		if own == host || Loopback(address) && (here || Loopback(l.Address)) {
			return true
		}
	}
	return false
}

func (b *Bridge) validateTopics(at func(string, ...any)) {
	if len(b.In) == 0 && len(b.Out) == 0 {
		at("carries nothing: name filters in in, in out, or in both")
	}
	for field, filters := range map[string][]string{"in": b.In, "out": b.Out} {
		if len(filters) > maxBridgeFilters {
			at(fmt.Sprintf("%d filters, more than the %d there may be: use wildcards", len(filters), maxBridgeFilters), field)
		}
		for i, f := range filters {
			switch err := topic.DefaultLimits.CheckFilter(f); {
			case err != nil:
				at(err.Error(), field, i)
			case f[0] == '$':
				at(fmt.Sprintf("%q: topics that start with $ are each broker's own", f), field, i)
			case slices.Contains(filters[:i], f):
				at(fmt.Sprintf("%q is there twice", f), field, i)
			}
		}
	}
	for i, m := range b.Remap {
		for field, prefix := range map[string]string{"local": m.Local, "remote": m.Remote} {
			if prefix == "" {
				continue
			}
			if err := topic.DefaultLimits.CheckName(prefix); err != nil {
				at(fmt.Sprintf("%v; a pair renames the first levels of topics, as local: house, remote: zigbee2mqtt", err), "remap", i, field)
			} else if prefix[0] == '$' {
				at(fmt.Sprintf("%q: topics that start with $ are each broker's own", prefix), "remap", i, field)
			}
		}
		if m.Local == m.Remote {
			at("renames nothing: local and remote are the same", "remap", i)
		}
		for _, o := range b.Remap[:i] {
			if o.Local == m.Local || o.Remote == m.Remote {
				at("has the same local or remote as one before it: what comes in could go out under another name, round and round", "remap", i)
			}
		}
	}
	if b.StatusTopic != "" {
		if err := topic.DefaultLimits.CheckName(b.StatusTopic); err != nil {
			at(err.Error(), "status_topic")
		}
	}
}

func (b *Bridge) validateBounds(at func(string, ...any)) {
	if *b.QoS != 0 && *b.QoS != 1 {
		at(fmt.Sprintf("%d: it is 0 or 1; messages of QoS 2 go with 1", *b.QoS), "qos")
	}
	if b.MaxQueued < 1 || b.MaxQueued > 1_000_000 {
		at(fmt.Sprintf("%d is outside 1 to 1000000", b.MaxQueued), "max_queued")
	}
	atLeast(at, b.MaxQueuedBytes, 1<<10, "max_queued_bytes")
	if k := b.KeepAlive.Std(); k < 5*time.Second || k > 0xFFFF*time.Second {
		at(fmt.Sprintf("%v is outside 5s to 65535s", b.KeepAlive), "keep_alive")
	}
}
