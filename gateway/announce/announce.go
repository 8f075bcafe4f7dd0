// Package announce makes the gateway's listeners known in the local network, by
// multicast DNS (RFC 6762) and DNS service discovery (RFC 6763): devices find
// their broker without an address in their firmware.
package announce

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/brutella/dnssd"
	dnssdlog "github.com/brutella/dnssd/log"
)

// Types of services, as IANA has registered them.
const (
	MQTT       = "_mqtt._tcp"
	SecureMQTT = "_secure-mqtt._tcp"
	HTTP       = "_http._tcp"
	HTTPS      = "_https._tcp"
)

// Service is one listener.
type Service struct {
	// Type is one of the types.
	Type string
	// Address is host:port; only interfaces that have the host's address, and
	// all where it is none, hear of it.
	Address string
	// Text is what is told besides, as key and value.
	Text map[string]string
}

// Config is who announces what.
type Config struct {
	// Name is what people read. Where another has it in the network, a number
	// follows.
	Name string
	// Host is the first label of the host's name in .local, which has to be the
	// gateway's own: that of the machine may be another responder's.
	Host     string
	Services []Service
	Logger   *slog.Logger
}

// Announcer announces until its Run ends. Names may be called from any
// goroutine.
type Announcer struct {
	cfg Config

	mu    sync.Mutex // leaf
	names []string
	err   error
}

// New makes an announcer. Services on loopback alone are left out.
func New(cfg Config) *Announcer {
	cfg.Services = slices.DeleteFunc(slices.Clone(cfg.Services), func(s Service) bool { return len(interfaces(s.Address)) == 0 })
	return &Announcer{cfg: cfg}
}

// Pauses between attempts, where the network is not up yet.
const (
	firstPause   = 5 * time.Second
	longestPause = 5 * time.Minute
)

// Run announces until ctx ends. What goes wrong is tried again.
func (a *Announcer) Run(ctx context.Context) {
	if len(a.cfg.Services) == 0 {
		return
	}
	dnssdlog.Info.Disable() // it writes to standard output
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		err := a.respond(ctx)
		if ctx.Err() != nil {
			return
		}
		a.set(nil, err)
		a.cfg.Logger.Warn("the gateway is not announced in the local network", "error", err, "retry_in", pause.String())
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// respond announces once: it probes for names that nobody has, which takes a
// second for each, and answers from then on.
func (a *Announcer) respond(ctx context.Context) error {
	r, err := dnssd.NewResponder()
	if err != nil {
		return fmt.Errorf("multicast DNS: %w", err)
	}
	var names []string
	for _, s := range a.cfg.Services {
		port, err := portOf(s.Address)
		if err != nil {
			return err
		}
		service, err := dnssd.NewService(dnssd.Config{
			Name: a.cfg.Name, Type: s.Type, Host: a.cfg.Host, Text: s.Text, Port: port, Ifaces: interfaces(s.Address),
		})
		if err != nil {
			return fmt.Errorf("announce %s: %w", s.Type, err)
		}
		if service, err = dnssd.ProbeService(ctx, service); err != nil {
			return fmt.Errorf("announce %s: %w", s.Type, err)
		}
		if _, err = r.Add(service); err != nil {
			return fmt.Errorf("announce %s: %w", s.Type, err)
		}
		names = append(names, service.Name+"."+s.Type)
	}
	if a.set(names, nil) {
		a.cfg.Logger.Info("announced in the local network", "names", names)
	}
	return r.Respond(ctx)
}

// set reports whether the names are other than before.
func (a *Announcer) set(names []string, err error) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	changed := !slices.Equal(a.names, names)
	a.names, a.err = names, err
	return changed && len(names) > 0
}

// Services is how many there are to announce.
func (a *Announcer) Services() int { return len(a.cfg.Services) }

// Names are those under which the services are announced now, in their order,
// and why there are none.
func (a *Announcer) Names() ([]string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.names), a.err
}

var errNoPort = errors.New("no port")

func portOf(address string) (int, error) {
	a, err := net.ResolveTCPAddr("tcp", address)
	if err != nil || a.Port == 0 {
		return 0, fmt.Errorf("announce %s: %w", address, errors.Join(errNoPort, err))
	}
	return a.Port, nil
}

// interfaces are the names of those on which an address is reached from the
// local network.
func interfaces(address string) []string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil
	}
	ip := net.ParseIP(host)
	var out []string
	for _, i := range dnssd.MulticastInterfaces() {
		if i.Flags&net.FlagLoopback == 0 && (host == "" || ip != nil && (ip.IsUnspecified() || has(i, ip))) {
			out = append(out, i.Name)
		}
	}
	return out
}

func has(i *net.Interface, ip net.IP) bool {
	all, err := i.Addrs()
	return err == nil && slices.ContainsFunc(all, func(a net.Addr) bool {
		n, ok := a.(*net.IPNet)
		return ok && n.IP.Equal(ip)
	})
}
