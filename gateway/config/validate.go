package config

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/headgate-io/headgate/function"
)

type faultAt func(message string, path ...any) error

func (c *Config) validate(at faultAt) error {
	var faults []error
	add := func(message string, path ...any) { faults = append(faults, at(message, path...)) }
	oneOf := func(value string, allowed []string, path ...any) {
		if !slices.Contains(allowed, value) {
			add(fmt.Sprintf("%q must be one of %s", value, strings.Join(allowed, ", ")), path...)
		}
	}
	if c.StateDir == "" {
		add("is empty: name the folder that holds the gateway's state", "state_dir")
	}
	oneOf(c.Log.Level, []string{"debug", "info", "warn", "error"}, "log", "level")
	oneOf(c.Log.Format, []string{"text", "json"}, "log", "format")
	oneOf(c.Store.Durability, []string{"full", "relaxed"}, "store", "durability")
	if c.Secrets.KeyFile == "" {
		add("is empty: name the file that holds the key of the functions' secrets", "secrets", "key_file")
	}
	c.MQTT.validate(add)
	c.Admin.validate(add)
	c.Fetch.validate(add)
	c.Updates.validate(add)
	c.HTTP.validate(add)
	c.Objects.validate(add)
	validateSensors(c.Sensors, add)
	c.validateBridges(add)
	c.HomeAssistant.validate(add)
	c.MDNS.validate(add)
	c.Uplink.validate(add)
	c.validateActuators(add)
	atLeast(add, c.Watchdog.Timeout, function.Duration(5*time.Second), "watchdog", "timeout")
	atLeast(add, c.Sandbox.Memory, 1<<20, "sandbox", "memory")
	if c.Memory.Budget > 0 {
		atLeast(add, c.Memory.Budget, 32<<20, "memory", "budget")
	}
	atLeast(add, c.Dispatch.SpillAfter, function.Duration(time.Millisecond), "dispatch", "spill_after")
	atLeast(add, c.Dispatch.MaxQueued, 1, "dispatch", "max_queued")
	atLeast(add, c.Dispatch.MaxQueuedBytes, 1, "dispatch", "max_queued_bytes")
	atLeast(add, c.Dispatch.MaxVolatile, 1, "dispatch", "max_volatile")
	atLeast(add, c.Dispatch.DeadLetters.Max, 1, "dispatch", "dead_letters", "max")
	atLeast(add, c.Dispatch.DeadLetters.MaxBytes, 1, "dispatch", "dead_letters", "max_bytes")
	return errors.Join(faults...)
}

func atLeast[T int | function.ByteSize | function.Duration](add func(string, ...any), value, low T, path ...any) {
	if value < low {
		add(fmt.Sprintf("%v is too small: at least %v", value, low), path...)
	}
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
		if names[l.Name] || l.Name == "" || l.Name == "admin" || l.Name == "http" {
			add("every listener needs a name of its own, and admin and http are those of the admin API and of functions' routes", "mqtt", "listeners", i, "name")
		}
		names[l.Name] = true
		encrypted := l.Network == "tls" || l.Network == "wss"
		if encrypted != (l.TLS.Certificate != "" && l.TLS.Key != "") {
			add("tls and wss need tls.certificate and tls.key; tcp and ws have none", "mqtt", "listeners", i, "tls")
		}
		l.validateIdentity(func(message, field string) { add(message, "mqtt", "listeners", i, field) })
		if m.Anonymous && !Loopback(l.Address) {
			add("anonymous access beyond loopback is not allowed: set an address on 127.0.0.1, or turn mqtt.anonymous off and add devices", "mqtt", "listeners", i, "address")
		}
	}
	atLeast(add, m.MaxPacket, 128, "mqtt", "max_packet")
	atLeast(add, m.MaxConnections, 1, "mqtt", "max_connections")
	atLeast(add, m.MaxConnectionsPerAddress, 1, "mqtt", "max_connections_per_address")
	atLeast(add, m.MaxQueuedMessages, 1, "mqtt", "max_queued_messages")
	atLeast(add, m.MaxQueuedBytes, 1, "mqtt", "max_queued_bytes")
	atLeast(add, m.MaxQueuedBytesTotal, 1, "mqtt", "max_queued_bytes_total")
	if m.MaxPacket > 256<<20 {
		add("MQTT allows 256 MiB at most", "mqtt", "max_packet")
	}
}

func (l *Listener) validateIdentity(add func(message, field string)) {
	switch {
	case l.Identity != "" && l.Identity != IdentityPassword && l.Identity != IdentityCertificate:
		add(fmt.Sprintf("%q must be password or certificate, or left out for both", l.Identity), "identity")
	case l.Identity == IdentityCertificate && l.TLS.ClientCA == "":
		add("certificate needs tls.client_ca: the CA that signs the devices' certificates", "identity")
	}
	l.TLS.validate(func(message string) { add(message, "tls") })
}

func (t *TLS) validate(add func(message string)) {
	if t.ClientCA == "" && (t.RequireClient || t.CRL != "") {
		add("require_client and crl need client_ca: the CA that signs the clients' certificates")
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
	a.TLS.validate(func(message string) { add(message, "admin", "tls") })
	if (a.TLS.Certificate == "") != (a.TLS.Key == "") {
		add("certificate and key belong together", "admin", "tls")
	}
	if !Loopback(a.Listen) && a.TLS.Certificate == "" {
		add("beyond loopback the admin API needs admin.tls.certificate and admin.tls.key, or a tunnel to the socket", "admin", "listen")
	}
}
