package config

import (
	"strings"

	"github.com/headgate-io/headgate/internal/environ"
)

// EnvPrefix starts the names of environment overrides: the field path in upper
// case, its parts joined by two underscores, as in HEADGATE_STORE__DURABILITY.
const EnvPrefix = "HEADGATE_"

// controllerPrefix starts those of the controller, which may share a machine.
const controllerPrefix = EnvPrefix + "CONTROLLER_"

// reserved are variables with the prefix that are not fields.
var reserved = map[string]bool{
	"HEADGATE_CONFIG": true, "HEADGATE_HOST": true, "HEADGATE_TOKEN": true, "HEADGATE_FAULT": true,
	"HEADGATE_DEMO_SECONDS": true, "HEADGATE_REQUIRE_TOOLCHAINS": true, "HEADGATE_TINYGO": true, "HEADGATE_HOME": true,
	"HEADGATE_KEYS_PASSPHRASE": true,
}

// override sets fields from the environment and returns by which variable.
func override(c *Config, variables []string) (map[string]string, error) {
	return environ.Override(c, EnvPrefix, func(name string) bool {
		return reserved[name] || strings.HasPrefix(name, controllerPrefix)
	}, variables)
}
