package config_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/headgate-io/headgate/configs"
	"github.com/headgate-io/headgate/gateway/config"
)

func load(t *testing.T, source string, environ ...string) (config.Config, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	return config.Load(config.Default(), file, true, environ)
}

func TestDefaultsAreValid(t *testing.T) {
	c := config.Default()
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}

func TestEmptyFileKeepsTheDefaults(t *testing.T) {
	for _, source := range []string{"", "# nothing\n", "---\n"} {
		c, err := load(t, source)
		if err != nil || !reflect.DeepEqual(c, config.Default()) {
			t.Errorf("%q: %v, %+v", source, err, c)
		}
	}
}

// The annotated example must decode to the defaults, so that it documents them.
func TestAnnotatedExampleIsTheDefault(t *testing.T) {
	c, err := load(t, configs.Gateway)
	if err != nil {
		t.Fatal(err)
	}
	if d := config.Default(); !reflect.DeepEqual(c, d) {
		t.Errorf("configs/gateway.yaml differs from the defaults:\n%+v\n%+v", c, d)
	}
}

func TestFaults(t *testing.T) {
	for _, c := range []struct{ name, source, env, want string }{
		{"unknown", "mqt: {}\n", "", `config.yaml:1:1: unknown field "mqt"`},
		{"level", "log:\n  level: loud\n", "", `config.yaml:2:10: log.level: "loud" must be one of`},
		{"listener", "mqtt:\n  listeners:\n    - {name: a, network: udp, address: nowhere}\n", "", "config.yaml:3:"},
		{"anonymous", "mqtt:\n  anonymous: true\n  listeners: [{name: a, network: tcp, address: ':1883'}]\n", "", "anonymous access beyond loopback"},
		{"tls", "mqtt:\n  listeners: [{name: a, network: tls, address: ':8883'}]\n", "", "need tls.certificate"},
		{"admin", "admin:\n  listen: 0.0.0.0:7070\n", "", "beyond loopback the admin API needs"},
		{"env name", "", "HEADGATE_STORE__DURABLE=x", `HEADGATE_STORE__DURABLE: there is no setting "durable"`},
		{"env value", "", "HEADGATE_MQTT__MAX_PACKET=big", `"big" is not a size`},
		{"env choice", "", "HEADGATE_STORE__DURABILITY=fast", `environment variable HEADGATE_STORE__DURABILITY: "fast" must be one of full, relaxed`},
		{"small", "sandbox: {memory: 1KiB}\n", "", "config.yaml:1:19: sandbox.memory: 1KiB is too small: at least 1MiB"},
		{"env list", "", "HEADGATE_MQTT__LISTENERS=x", "use the configuration file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var environ []string
			if c.env != "" {
				environ = []string{c.env}
			}
			_, err := load(t, c.source, environ...)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestEnvironmentOverrides(t *testing.T) {
	c, err := load(t, "store: {durability: full}\n", "HEADGATE_STORE__DURABILITY=relaxed", "HEADGATE_MQTT__ANONYMOUS=true", "HEADGATE_MQTT__MAX_CONNECTIONS=7", "HEADGATE_STATE_DIR=", "PATH=/bin")
	if err != nil {
		t.Fatal(err)
	}
	if c.StateDir != config.Default().StateDir || c.Store.Durability != "relaxed" || !c.MQTT.Anonymous || c.MQTT.MaxConnections != 7 {
		t.Errorf("got %+v", c)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(configs.Gateway)
	f.Fuzz(func(t *testing.T, source string) {
		c, err := load(t, source)
		if err == nil && c.Validate() != nil {
			t.Errorf("accepted %q", source)
		}
	})
}
