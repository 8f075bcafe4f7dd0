// Package config is the controller's configuration: one struct, strictly
// decoded, with a complete set of defaults and environment overrides.
package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/internal/environ"
)

// DefaultPath is where a controller looks for its configuration.
const DefaultPath = "/etc/headgate/controller.yaml"

// EnvPrefix starts the names of environment overrides: the field path in upper
// case, its parts joined by two underscores, as in HEADGATE_CONTROLLER_HTTP__LISTEN.
const EnvPrefix = "HEADGATE_CONTROLLER_"

// FileVariable names the configuration file.
const FileVariable = EnvPrefix + "CONFIG"

// Config is everything that an operator may decide about a controller.
type Config struct {
	// Dir holds the certificate authority, the content, and the database where
	// that is a file.
	Dir string `yaml:"dir"`
	Log Log    `yaml:"log"`
	// Database is sqlite:PATH, relative to Dir, or postgres://USER@HOST/NAME.
	Database string  `yaml:"database"`
	HTTP     HTTP    `yaml:"http"`
	MQTT     MQTT    `yaml:"mqtt"`
	Content  Content `yaml:"content"`
	Audit    Audit   `yaml:"audit"`
	Usage    Usage   `yaml:"usage"`
}

// Log is what the controller itself logs, to standard error.
type Log struct {
	// Level is debug, info, warn or error.
	Level string `yaml:"level"`
	// Format is text or json.
	Format string `yaml:"format"`
}

// HTTP is where the API, enrolment and content are.
type HTTP struct {
	// Listen is host:port; without a host it is every interface.
	Listen string `yaml:"listen"`
	// Names are the names and addresses by which gateways and people reach the
	// controller; its certificate is for them. Empty is this machine's own.
	Names []string `yaml:"names"`
	// MaxConnections bounds the connections.
	MaxConnections int `yaml:"max_connections"`
}

// MQTT is where gateways connect.
type MQTT struct {
	// Listen is host:port of the embedded broker.
	Listen string `yaml:"listen"`
	// Broker is another broker, as ssl://mqtt.internal:8883, in the place of the
	// embedded one; Listen means nothing then. It knows the controller and the
	// gateways by the certificates of the controller's authority.
	Broker string `yaml:"broker"`
	// CA is a file with who signs that broker's certificate; empty is the
	// controller's own authority, which gateways trust.
	CA string `yaml:"ca"`
	// Addresses are what gateways are told, as ssl://mqtt.example.org:8883.
	// Empty is the name by which they reached the controller, and the port of
	// Listen.
	Addresses []string `yaml:"addresses"`
}

// Content is what gateways fetch: signed functions and their metadata.
type Content struct {
	// Dir has a folder for each tenant, named by its identifier; relative
	// paths are below Config.Dir.
	Dir string `yaml:"dir"`
	// Keys has the online keys of the repositories in Dir, readable by the
	// controller alone; relative paths are below Config.Dir.
	Keys string `yaml:"keys"`
	// URL is where gateways fetch from. Empty is the controller itself; else
	// it is a static host or a CDN that has a copy of Dir.
	URL string `yaml:"url"`
}

// Usage says how long the batches that sums are made of are kept.
type Usage struct {
	// Keep is how long: as evidence, and for the minutes in them. The sums stay.
	Keep function.Duration `yaml:"keep"`
}

// Audit says how long the audit log is kept.
type Audit struct {
	// Keep is how long.
	Keep function.Duration `yaml:"keep"`
}

// Default is the complete default configuration.
func Default() Config {
	return Config{
		Dir:      "/var/lib/headgate-controller",
		Log:      Log{Level: "info", Format: "text"},
		Database: "sqlite:controller.db",
		HTTP:     HTTP{Listen: ":8443", MaxConnections: 20_000},
		MQTT:     MQTT{Listen: ":8883"},
		Content:  Content{Dir: "content", Keys: "keys"},
		Usage:    Usage{Keep: function.Duration(400 * 24 * time.Hour)},
		Audit:    Audit{Keep: function.Duration(400 * 24 * time.Hour)},
	}
}

// Load reads the file over the defaults c, then the environment over both, and
// validates. With required false a missing file is no fault.
func Load(c Config, file string, required bool, variables []string) (Config, error) {
	src, err := os.ReadFile(file)
	if err != nil && (required || !errors.Is(err, os.ErrNotExist)) {
		return c, fmt.Errorf("read configuration: %w", err)
	}
	at, err := function.DecodeFile(file, src, &c)
	if err != nil {
		return c, err
	}
	skip := func(name string) bool { return name == FileVariable }
	set, err := environ.Override(&c, EnvPrefix, skip, variables)
	if err != nil {
		return c, err
	}
	return c, c.validate(func(message string, path ...any) error {
		if variable, ok := set[dotted(path)]; ok {
			return fmt.Errorf("environment variable %s: %s", variable, message)
		}
		return at(message, path...)
	})
}

// Validate joins every fault, each with its field path.
func (c *Config) Validate() error {
	return c.validate(func(message string, path ...any) error {
		return fmt.Errorf("%s: %s", dotted(path), message)
	})
}

// dotted is a field path as people write it: http.listen.
func dotted(path []any) string {
	words := make([]string, len(path))
	for i, p := range path {
		words[i] = fmt.Sprint(p)
	}
	return strings.Join(words, ".")
}

func (c *Config) validate(at func(message string, path ...any) error) error {
	var faults []error
	add := func(message string, path ...any) { faults = append(faults, at(message, path...)) }
	if c.Dir == "" {
		add("is empty: name the folder that holds the controller's own", "dir")
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.Log.Level) {
		add(fmt.Sprintf("%q must be one of debug, info, warn, error", c.Log.Level), "log", "level")
	}
	if !slices.Contains([]string{"text", "json"}, c.Log.Format) {
		add(fmt.Sprintf("%q must be one of text, json", c.Log.Format), "log", "format")
	}
	if u, err := url.Parse(c.Database); err != nil || !slices.Contains([]string{"sqlite", "postgres", "postgresql"}, u.Scheme) {
		add("want sqlite:PATH or postgres://USER@HOST/NAME", "database") // its value may hold a password
	}
	if err := hostPort(c.HTTP.Listen); err != nil {
		add(err.Error(), "http", "listen")
	}
	if c.HTTP.MaxConnections < 1 {
		add("must be at least 1", "http", "max_connections")
	}
	for i, name := range c.HTTP.Names {
		if net.ParseIP(name) == nil && !ValidHost(name) {
			add(fmt.Sprintf("%q is neither a host's name nor an address: leave out the scheme and the port", name), "http", "names", i)
		}
	}
	if err := hostPort(c.MQTT.Listen); err != nil {
		add(err.Error(), "mqtt", "listen")
	}
	if u, err := url.Parse(c.MQTT.Broker); c.MQTT.Broker != "" && (err != nil || u.Scheme != "ssl" || u.Port() == "") {
		add(fmt.Sprintf("%q: want ssl://HOST:PORT", c.MQTT.Broker), "mqtt", "broker")
	}
	for i, address := range c.MQTT.Addresses {
		if u, err := url.Parse(address); err != nil || u.Scheme != "ssl" || u.Port() == "" {
			add(fmt.Sprintf("%q: want ssl://HOST:PORT", address), "mqtt", "addresses", i)
		}
	}
	if c.Content.Dir == "" {
		add("is empty: name the folder that holds what gateways fetch", "content", "dir")
	}
	if c.Content.Keys == "" {
		add("is empty: name the folder that holds the online keys", "content", "keys")
	}
	if u, err := url.Parse(c.Content.URL); c.Content.URL != "" && (err != nil || u.Scheme != "https" || u.Host == "") {
		add(fmt.Sprintf("%q: want https://HOST/PATH", c.Content.URL), "content", "url")
	}
	if c.Usage.Keep < function.Duration(24*time.Hour) {
		add("must be at least 24h", "usage", "keep")
	}
	if c.Audit.Keep < function.Duration(24*time.Hour) {
		add("must be at least 24h", "audit", "keep")
	}
	return errors.Join(faults...)
}

func hostPort(s string) error {
	if _, _, err := net.SplitHostPort(s); err != nil {
		return fmt.Errorf("%q: want HOST:PORT, or :PORT for every interface", s)
	}
	return nil
}

// ValidHost reports whether s is a host's name (RFC 1123, section 2.1).
func ValidHost(s string) bool {
	if len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") != "" ||
			label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
	}
	return true
}

// DSN is the database's address, with a relative path below Dir.
func (c *Config) DSN() string {
	if path, ok := strings.CutPrefix(c.Database, "sqlite:"); ok {
		return "sqlite:" + c.in(path)
	}
	return c.Database
}

// ContentDir is the folder of the content.
func (c *Config) ContentDir() string { return c.in(c.Content.Dir) }

// KeysDir has the online keys of the content's repositories.
func (c *Config) KeysDir() string { return c.in(c.Content.Keys) }

func (c *Config) in(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(c.Dir, path)
}
