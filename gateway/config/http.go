package config

import (
	"net"
)

// HTTP is where functions are called by HTTP.
type HTTP struct {
	// Listen is host:port; empty is nowhere.
	Listen string `yaml:"listen"`
	// TLS serves it over TLS.
	TLS TLS `yaml:"tls"`
	// Plain allows an address beyond loopback without TLS, for a reverse proxy
	// that has it.
	Plain bool `yaml:"plain"`
	// Public admits, beyond loopback, routes that need no key.
	Public bool `yaml:"public"`
	// Errors shows callers why a function failed. For development.
	Errors bool `yaml:"errors"`
	// MaxConnections caps the connections.
	MaxConnections int `yaml:"max_connections"`
}

func (h *HTTP) validate(add func(string, ...any)) {
	atLeast(add, h.MaxConnections, 1, "http", "max_connections")
	if h.Listen == "" {
		return
	}
	if _, _, err := net.SplitHostPort(h.Listen); err != nil {
		add("\""+h.Listen+"\" is not host:port", "http", "listen")
		return
	}
	h.TLS.validate(func(message string) { add(message, "http", "tls") })
	if (h.TLS.Certificate == "") != (h.TLS.Key == "") {
		add("certificate and key belong together", "http", "tls")
	}
	if !Loopback(h.Listen) && h.TLS.Certificate == "" && !h.Plain {
		add("beyond loopback http needs http.tls.certificate and http.tls.key, or http.plain: true where a proxy in front has them: keys would be sent in clear", "http", "listen")
	}
}
