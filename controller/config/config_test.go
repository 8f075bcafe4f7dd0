package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/headgate-io/headgate/controller/config"
)

func load(t *testing.T, text string, environ ...string) (config.Config, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "controller.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return config.Load(config.Default(), file, true, environ)
}

func TestDefaultsAreValid(t *testing.T) {
	c := config.Default()
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	if c.DSN() != "sqlite:/var/lib/headgate-controller/controller.db" || c.ContentDir() != "/var/lib/headgate-controller/content" {
		t.Error(c.DSN(), c.ContentDir())
	}
	if _, err := config.Load(config.Default(), "/none", false, nil); err != nil {
		t.Error(err)
	}
}

func TestEnvironmentStandsOverTheFile(t *testing.T) {
	c, err := load(t, "dir: /srv\nhttp: {listen: ':1'}\n", "HEADGATE_CONTROLLER_HTTP__LISTEN=:2", "HEADGATE_CONTROLLER_HTTP__NAMES=a.example,192.0.2.1",
		"HEADGATE_CONTROLLER_CONFIG=x", "HEADGATE_STATE_DIR=/x")
	if err != nil || c.Dir != "/srv" || c.HTTP.Listen != ":2" || strings.Join(c.HTTP.Names, " ") != "a.example 192.0.2.1" {
		t.Errorf("%+v, %v", c, err)
	}
}

// Every fault says where it is; a password is not repeated.
func TestFaults(t *testing.T) {
	cases := []struct {
		text, environ string
		want          []string
	}{
		{"dri: /srv\n", "", []string{"controller.yaml:1", "dri"}},
		{"dir: ''\nlog: {level: loud, format: xml}\n", "", []string{"dir", "log.level", "log.format"}},
		{"database: 'mysql://u:secret@h/d'\n", "", []string{"database", "sqlite:PATH"}},
		{"http: {listen: '8443', names: ['https://a:1'], max_connections: 0}\n", "", []string{"http.listen", "http.names[0]", "http.max_connections"}},
		{"mqtt: {listen: x, addresses: ['mqtt://a']}\n", "", []string{"mqtt.listen", "ssl://HOST:PORT"}},
		{"content: {dir: '', url: 'http://a'}\naudit: {keep: 1h}\n", "", []string{"content.dir", "content.url", "audit.keep"}},
		{"", "HEADGATE_CONTROLLER_HTTP__LISTEN=x", []string{"environment variable HEADGATE_CONTROLLER_HTTP__LISTEN"}},
		{"", "HEADGATE_CONTROLLER_NONE=x", []string{"environment variable HEADGATE_CONTROLLER_NONE", "no setting"}},
	}
	for _, c := range cases {
		_, err := load(t, c.text, c.environ)
		if err == nil {
			t.Errorf("%q was taken", c.text)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%q %s: %v: wants %q", c.text, c.environ, err, want)
			}
		}
	}
}
