package config

import (
	"fmt"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/headgate-io/headgate/mqtt/topic"
)

// HomeAssistant is what Home Assistant is told of the gateway.
type HomeAssistant struct {
	// Discovery makes entities of sensors and actuators there.
	Discovery bool `yaml:"discovery"`
	// Prefix is the first level of discovery topics.
	Prefix string `yaml:"prefix"`
	// Name is what the gateway is called there; empty is the host's name.
	Name string `yaml:"name"`
}

func defaultHomeAssistant() HomeAssistant { return HomeAssistant{Prefix: "homeassistant"} }

func (h *HomeAssistant) validate(add func(string, ...any)) {
	if err := topic.DefaultLimits.CheckName(h.Prefix); err != nil || strings.HasPrefix(h.Prefix, "$") || strings.HasSuffix(h.Prefix, "/") {
		add(fmt.Sprintf("%q is no topic: Home Assistant's own default is homeassistant", h.Prefix), "home_assistant", "prefix")
	}
	validateName(h.Name, add, "home_assistant", "name")
}

// validateName refuses what cannot be shown, or not be a label of DNS.
func validateName(name string, add func(string, ...any), path ...any) {
	if len(name) > 63 || !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		add("is no name: text of 63 bytes at most", path...)
	}
}

// CalledOr is name, or where that is empty the host's.
func CalledOr(name string) string {
	if name != "" {
		return name
	}
	host, err := os.Hostname()
	if host, _, _ = strings.Cut(host, "."); err != nil || host == "" {
		return "headgate"
	}
	return host
}
