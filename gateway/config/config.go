// Package config is the gateway's configuration: one struct, strictly decoded,
// with a complete set of defaults and environment overrides.
package config

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/headgate-io/headgate/function"
)

// DefaultPath is where a gateway looks for its configuration.
const DefaultPath = "/etc/headgate/config.yaml"

// Config is everything that an installer may decide about a gateway.
type Config struct {
	// StateDir holds the database, the compile cache and the admin socket.
	StateDir string   `yaml:"state_dir"`
	Log      Log      `yaml:"log"`
	MQTT     MQTT     `yaml:"mqtt"`
	Admin    Admin    `yaml:"admin"`
	HTTP     HTTP     `yaml:"http"`
	Store    Store    `yaml:"store"`
	Secrets  Secrets  `yaml:"secrets"`
	Memory   Memory   `yaml:"memory"`
	Sandbox  Sandbox  `yaml:"sandbox"`
	Dispatch Dispatch `yaml:"dispatch"`
	Fetch    Fetch    `yaml:"fetch"`
	Objects  Objects  `yaml:"objects"`
	Watchdog Watchdog `yaml:"watchdog"`
	// Uplink is the connection with a controller.
	Uplink  Uplink  `yaml:"uplink"`
	System  System  `yaml:"system"`
	Updates Updates `yaml:"updates"`
	// Sensors are the sensors by name.
	Sensors map[string]*Sensor `yaml:"sensors"`
	// Bridges are connections with other brokers, by name.
	Bridges       map[string]Bridge `yaml:"bridges"`
	MDNS          MDNS              `yaml:"mdns"`
	HomeAssistant HomeAssistant     `yaml:"home_assistant"`
	// Actuators are what the gateway moves, by name.
	Actuators map[string]Actuator `yaml:"actuators"`
}

// Log is what the gateway itself logs, to standard error.
type Log struct {
	// Level is debug, info, warn or error.
	Level string `yaml:"level"`
	// Format is text or json.
	Format string `yaml:"format"`
}

// MQTT is the broker's configuration.
type MQTT struct {
	Listeners []Listener `yaml:"listeners"`
	// Anonymous admits clients without a user name and lets them publish and
	// subscribe to everything. For development.
	Anonymous bool `yaml:"anonymous"`
	// SysInterval is how often $SYS/# is published; 0 turns it off.
	SysInterval function.Duration `yaml:"sys_interval"`
	// MaxPacket caps one MQTT packet.
	MaxPacket function.ByteSize `yaml:"max_packet"`
	// MaxConnections caps the connections in all, MaxConnectionsPerAddress
	// those from one address.
	MaxConnections           int `yaml:"max_connections"`
	MaxConnectionsPerAddress int `yaml:"max_connections_per_address"`
	// MaxQueuedMessages and MaxQueuedBytes cap what waits for one session,
	// MaxQueuedBytesTotal what waits for all.
	MaxQueuedMessages   int               `yaml:"max_queued_messages"`
	MaxQueuedBytes      function.ByteSize `yaml:"max_queued_bytes"`
	MaxQueuedBytesTotal function.ByteSize `yaml:"max_queued_bytes_total"`
	// ClientRate caps the publishes of one client; unset is unlimited.
	ClientRate function.Rate `yaml:"client_rate"`
}

// Listener is an address on which MQTT is spoken.
type Listener struct {
	Name string `yaml:"name"`
	// Network is tcp, tls, ws (WebSocket) or wss.
	Network string `yaml:"network"`
	// Address is host:port; without a host it is every interface.
	Address string `yaml:"address"`
	TLS     TLS    `yaml:"tls"`
	// Identity says who may connect here: certificate admits devices by their
	// client certificates alone, password by their passwords alone. Empty
	// admits each device by what it was added with.
	Identity string `yaml:"identity"`
}

// Identities of a listener.
const (
	IdentityPassword    = "password"
	IdentityCertificate = "certificate"
)

// TLS names PEM files. They are read again when they change.
type TLS struct {
	Certificate string `yaml:"certificate"`
	Key         string `yaml:"key"`
	// ClientCA, when set, verifies client certificates; RequireClient makes
	// them mandatory.
	ClientCA      string `yaml:"client_ca"`
	RequireClient bool   `yaml:"require_client"`
	// CRL is a list of revoked client certificates, in PEM or DER.
	CRL string `yaml:"crl"`
}

// Admin is where the admin API listens.
type Admin struct {
	// Socket is the Unix socket; relative paths are below StateDir.
	Socket string `yaml:"socket"`
	// Listen is an optional TCP address, open only to bearers of a token.
	Listen string `yaml:"listen"`
	// TokenFile holds a token that may do everything, to start with; it is
	// made when missing.
	TokenFile string `yaml:"token_file"`
	// TLS serves Listen over TLS; beyond loopback it is required.
	TLS TLS `yaml:"tls"`
}

// Store is how the database trades speed against safety.
type Store struct {
	// Durability is full (every commit is synced before it is acknowledged)
	// or relaxed (the last moments before a power cut may be lost).
	Durability string `yaml:"durability"`
}

// Memory bounds what the gateway takes of the machine.
type Memory struct {
	// Budget is for everything together; 0 is half the machine's memory, or
	// nearly all that its control group may take. The other bounds of memory
	// are cut to their shares of it.
	Budget function.ByteSize `yaml:"budget"`
}

// Watchdog is the board's own, which resets it when nobody writes to it.
type Watchdog struct {
	// Device is /dev/watchdog or empty; Timeout is when it resets the board.
	Device  string            `yaml:"device"`
	Timeout function.Duration `yaml:"timeout"`
}

// System is what stands around the gateway.
type System struct {
	// Dir is where the launcher of the image keeps the gateway's binaries and
	// what it knows of the board's setup; it says so itself. Empty is a gateway
	// whose binary is somebody else's affair: a package's, a container's.
	Dir string `yaml:"dir"`
	// Base is the binary that came with the board.
	Base string `yaml:"base"`
}

// Secrets is where the key of the functions' secrets is.
type Secrets struct {
	// KeyFile is made when the first secret is set; relative paths are below
	// StateDir. On another medium than the database it protects from who has
	// only one of them.
	KeyFile string `yaml:"key_file"`
}

// Sandbox bounds the functions together.
type Sandbox struct {
	// Memory caps the memory of all instances.
	Memory function.ByteSize `yaml:"memory"`
	// Interpreter runs functions without compiling them: 20 to 60 times
	// slower, for machines without a compiler.
	Interpreter bool `yaml:"interpreter"`
}

// Dispatch bounds the events under way.
type Dispatch struct {
	// SpillAfter is how long an event may run before it is written to disk
	// and acknowledged.
	SpillAfter function.Duration `yaml:"spill_after"`
	// MaxQueued and MaxQueuedBytes cap the durable events on disk;
	// publishers are refused beyond.
	MaxQueued      int               `yaml:"max_queued"`
	MaxQueuedBytes function.ByteSize `yaml:"max_queued_bytes"`
	// MaxVolatile caps the volatile events of one function that wait; the
	// oldest are dropped beyond.
	MaxVolatile int `yaml:"max_volatile"`
	// DeadLetters bounds the events that were given up.
	DeadLetters DeadLetters `yaml:"dead_letters"`
}

// DeadLetters bounds the dead letters; the oldest go first.
type DeadLetters struct {
	// Max caps how many there are, MaxBytes their events.
	Max      int               `yaml:"max"`
	MaxBytes function.ByteSize `yaml:"max_bytes"`
	// MaxAge is how long one is kept; 0 is until another bound is met.
	MaxAge function.Duration `yaml:"max_age"`
}

// Default is the complete default configuration.
func Default() Config {
	return Config{
		StateDir: "/var/lib/headgate",
		Log:      Log{Level: "info", Format: "text"},
		MQTT: MQTT{
			Listeners:                []Listener{{Name: "local", Network: "tcp", Address: "127.0.0.1:1883"}},
			SysInterval:              function.Duration(30 * time.Second),
			MaxPacket:                1 << 20,
			MaxConnections:           4096,
			MaxConnectionsPerAddress: 4096,
			MaxQueuedMessages:        10_000,
			MaxQueuedBytes:           8 << 20,
			MaxQueuedBytesTotal:      64 << 20,
		},
		Admin:   Admin{Socket: "admin.sock", TokenFile: "admin.token"},
		Store:   Store{Durability: "full"},
		Secrets: Secrets{KeyFile: "secret.key"},
		Sandbox: Sandbox{Memory: 128 << 20},
		Dispatch: Dispatch{
			SpillAfter: function.Duration(20 * time.Millisecond), MaxQueued: 100_000, MaxQueuedBytes: 64 << 20, MaxVolatile: 4096,
			DeadLetters: DeadLetters{Max: 10_000, MaxBytes: 32 << 20},
		},
		Fetch:   defaultFetch(),
		Updates: defaultUpdates(),
		Objects: defaultObjects(),
		Bridges: map[string]Bridge{}, HomeAssistant: defaultHomeAssistant(), MDNS: MDNS{Enabled: true},
		HTTP:    HTTP{MaxConnections: 256},
		Uplink:  Uplink{Outbox: 64 << 20, Telemetry: Telemetry{Topics: []string{}}},
		Sensors: map[string]*Sensor{},

		Actuators: map[string]Actuator{},
		Watchdog:  Watchdog{Timeout: function.Duration(15 * time.Second)},
	}
}

// Load reads the file over the defaults c, then the environment over both, and
// validates. With required false a missing file is no fault.
func Load(c Config, file string, required bool, environ []string) (Config, error) {
	src, err := os.ReadFile(file)
	if err != nil && (required || !errors.Is(err, os.ErrNotExist)) {
		return c, fmt.Errorf("read configuration: %w", err)
	}
	at, err := function.DecodeFile(file, src, &c)
	if err != nil {
		return c, err
	}
	overridden, err := override(&c, environ)
	if err != nil {
		return c, err
	}
	err = c.validate(func(message string, path ...any) error {
		if variable, ok := overridden[dotted(path)]; ok {
			return fmt.Errorf("environment variable %s: %s", variable, message)
		}
		return at(message, path...)
	})
	if err != nil {
		return c, err
	}
	return c, nil
}

// Validate joins every fault, each with its field path.
func (c *Config) Validate() error {
	return c.validate(func(message string, path ...any) error {
		return fmt.Errorf("%s: %s", dotted(path), message)
	})
}

// dotted is a field path as people write it: store.durability.
func dotted(path []any) string {
	var b strings.Builder
	for i, p := range path {
		if i > 0 {
			b.WriteByte('.')
		}
		fmt.Fprint(&b, p)
	}
	return b.String()
}

// SocketPath is the admin socket's absolute path.
func (c *Config) SocketPath() string { return c.inStateDir(c.Admin.Socket) }

// TokenPath is the admin token file's absolute path.
func (c *Config) TokenPath() string { return c.inStateDir(c.Admin.TokenFile) }

// SecretKeyPath is the absolute path of the secrets' key file.
func (c *Config) SecretKeyPath() string { return c.inStateDir(c.Secrets.KeyFile) }

func (c *Config) inStateDir(p string) string {
	if filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(c.StateDir, p)
}

// Loopback reports whether address can be reached from this machine alone.
func Loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
