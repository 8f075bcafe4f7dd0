package announce

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/headgate-io/headgate/internal/toolchain"
)

// asker is another implementation of multicast DNS, as little as is needed to
// ask: one legacy query (RFC 6762, 6.7), whose answer comes to its own port.
type asker struct{ *net.UDPConn }

func newAsker(t *testing.T) asker {
	t.Helper()
	c, err := net.ListenUDP("udp4", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return asker{c}
}

// ask returns the records of the first answer that has one of the type, or nil.
func (a asker) ask(t *testing.T, name string, kind dnsmessage.Type, within time.Duration) []dnsmessage.Resource {
	t.Helper()
	q := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 7},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET}},
	}
	packet, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(within); time.Now().Before(deadline); {
		if _, err := a.WriteTo(packet, &net.UDPAddr{IP: net.IPv4(224, 0, 0, 251), Port: 5353}); err != nil {
			t.Fatal(err)
		}
		_ = a.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		buffer := make([]byte, 9000)
		for {
			n, _, err := a.ReadFrom(buffer)
			if err != nil {
				break
			}
			var m dnsmessage.Message
			if m.Unpack(buffer[:n]) != nil || !m.Response {
				continue
			}
			all := append(m.Answers, m.Additionals...)
			for _, r := range m.Answers {
				if r.Header.Type == kind && strings.EqualFold(r.Header.Name.String(), name) {
					return all
				}
			}
		}
	}
	return nil
}

// reachable is a listener beyond loopback, where there is an interface for it.
func reachable(t *testing.T) string {
	t.Helper()
	if len(interfaces("0.0.0.0:1")) == 0 {
		toolchain.Skip(t, "no interface has multicast")
	}
	l, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

// run announces until the end of the test, and returns once it is out.
func run(t *testing.T, cfg Config) (*Announcer, context.CancelFunc) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cfg.Logger = slog.New(slog.DiscardHandler)
	a := New(cfg)
	done := make(chan struct{})
	go func() { defer close(done); a.Run(ctx) }()
	stop := func() { cancel(); <-done }
	t.Cleanup(stop)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		names, err := a.Names()
		if len(names) == len(cfg.Services) {
			return a, stop
		}
		if time.Now().After(deadline) {
			t.Fatalf("not announced: %v", err)
		}
	}
}

// Another implementation finds the service, its port, its text and its host.
// A second gateway of the same name takes another.
func TestAnnounce(t *testing.T) {
	address := reachable(t)
	port, err := portOf(address)
	if err != nil {
		t.Fatal(err)
	}
	_, stop := run(t, Config{Name: "Test field", Host: "headgate-test-a", Services: []Service{{MQTT, address, map[string]string{"id": "k7q2"}}}})
	a := newAsker(t)
	all := a.ask(t, "_mqtt._tcp.local.", dnsmessage.TypePTR, 30*time.Second)
	var instance string
	for _, r := range all {
		if p, ok := r.Body.(*dnsmessage.PTRResource); ok && strings.Contains(p.PTR.String(), "Test") {
			instance = p.PTR.String()
		}
	}
	if instance == "" {
		t.Fatalf("no service among %v", all)
	}
	var srv *dnsmessage.SRVResource
	for _, r := range a.ask(t, instance, dnsmessage.TypeSRV, 10*time.Second) {
		if s, ok := r.Body.(*dnsmessage.SRVResource); ok {
			srv = s
		}
	}
	if srv == nil || int(srv.Port) != port || srv.Target.String() != "headgate-test-a.local." {
		t.Fatalf("the service is at %v, not port %d", srv, port)
	}
	text := ""
	for _, r := range a.ask(t, instance, dnsmessage.TypeTXT, 10*time.Second) {
		if x, ok := r.Body.(*dnsmessage.TXTResource); ok {
			text = strings.Join(x.TXT, ";")
		}
	}
	if !strings.Contains(text, "id=k7q2") {
		t.Errorf("its text is %q", text)
	}
	if a.ask(t, srv.Target.String(), dnsmessage.TypeA, 10*time.Second) == nil {
		t.Error("its host has no address")
	}

	second, _ := run(t, Config{Name: "Test field", Host: "headgate-test-b", Services: []Service{{MQTT, address, nil}}})
	names, err := second.Names()
	if err != nil || names[0] == "Test field._mqtt._tcp" || !strings.HasPrefix(names[0], "Test field") {
		t.Errorf("the second of the name is %v: %v", names, err)
	}
	stop()
}

// What only this machine reaches is not told of.
func TestLoopbackIsNotAnnounced(t *testing.T) {
	a := New(Config{Name: "x", Host: "x", Services: []Service{{MQTT, "127.0.0.1:1883", nil}, {HTTP, "[::1]:80", nil}, {HTTP, "nonsense", nil}}})
	if len(a.cfg.Services) != 0 {
		t.Errorf("%v", a.cfg.Services)
	}
	a.Run(t.Context()) // returns at once
}
