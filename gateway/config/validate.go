package config

import (
	"errors"
	"fmt"
	"net"
	"slices"
)

type faultAt func(message string, path ...any) error

func (c *Config) validate(at faultAt) error {
	var faults []error
	add := func(message string, path ...any) { faults = append(faults, at(message, path...)) }
	oneOf := func(value string, allowed []string, path ...any) {
		if !slices.Contains(allowed, value) {
			add(fmt.Sprintf("%q must be one of %v", value, allowed), path...)
		}
	}
	if c.StateDir == "" {
		add("is empty: name the folder that holds the gateway's state", "state_dir")
	}
	oneOf(c.Log.Level, []string{"debug", "info", "warn", "error"}, "log", "level")
	oneOf(c.Log.Format, []string{"text", "json"}, "log", "format")
	oneOf(c.Store.Durability, []string{"full", "relaxed"}, "store", "durability")
	c.MQTT.validate(add)
	c.Admin.validate(add)
	for _, n := range []struct {
		value int64
		path  []any
	}{
		{int64(c.Sandbox.Memory) - 1<<20 + 1, []any{"sandbox", "memory"}},
		{int64(c.Dispatch.SpillAfter), []any{"dispatch", "spill_after"}},
		{int64(c.Dispatch.MaxQueued), []any{"dispatch", "max_queued"}},
		{int64(c.Dispatch.MaxQueuedBytes), []any{"dispatch", "max_queued_bytes"}},
		{int64(c.Dispatch.MaxVolatile), []any{"dispatch", "max_volatile"}},
	} {
		if n.value < 1 {
			add("is too small", n.path...)
		}
	}
	return errors.Join(faults...)
}

func (m *MQTT) validate(add func(string, ...any)) {
	names := map[string]bool{}
	for i, l := range m.Listeners {
		if _, _, err := net.SplitHostPort(l.Address); err != nil {
			add(fmt.Sprintf("%q is not host:port", l.Address), "mqtt", "listeners", i, "address")
		}
		if !slices.Contains([]string{"tcp", "tls", "ws", "wss"}, l.Network) {
			add(fmt.Sprintf("%q must be tcp, tls, ws or wss", l.Network), "mqtt", "listeners", i, "network")
		}
		if names[l.Name] || l.Name == "" {
			add("every listener needs a name of its own", "mqtt", "listeners", i, "name")
		}
		names[l.Name] = true
		encrypted := l.Network == "tls" || l.Network == "wss"
		if encrypted != (l.TLS.Certificate != "" && l.TLS.Key != "") {
			add("tls and wss need tls.certificate and tls.key; tcp and ws have none", "mqtt", "listeners", i, "tls")
		}
		if m.Anonymous && !Loopback(l.Address) {
			add("anonymous access beyond loopback is not allowed: set an address on 127.0.0.1, or turn mqtt.anonymous off and add devices", "mqtt", "listeners", i, "address")
		}
	}
	for _, n := range []struct {
		field string
		value int64
	}{
		{"max_packet", int64(m.MaxPacket) - 127},
		{"max_connections", int64(m.MaxConnections)},
		{"max_connections_per_address", int64(m.MaxConnectionsPerAddress)},
		{"max_queued_messages", int64(m.MaxQueuedMessages)},
		{"max_queued_bytes", int64(m.MaxQueuedBytes)},
		{"max_queued_bytes_total", int64(m.MaxQueuedBytesTotal)},
	} {
		if n.value < 1 {
			add("is too small", "mqtt", n.field)
		}
	}
	if m.MaxPacket > 256<<20 {
		add("MQTT allows 256 MiB at most", "mqtt", "max_packet")
	}
}

func (a *Admin) validate(add func(string, ...any)) {
	if a.Socket == "" {
		add("is empty: name the admin socket", "admin", "socket")
	}
	if a.Listen == "" {
		return
	}
	if _, _, err := net.SplitHostPort(a.Listen); err != nil {
		add(fmt.Sprintf("%q is not host:port", a.Listen), "admin", "listen")
		return
	}
	if a.TokenFile == "" {
		add("is needed where admin.listen is set", "admin", "token_file")
	}
	if !Loopback(a.Listen) && a.TLS.Certificate == "" {
		add("beyond loopback the admin API needs admin.tls.certificate and admin.tls.key, or a tunnel to the socket", "admin", "listen")
	}
}
