// Package testmosquitto runs Mosquitto, the broker that most gateways meet, for
// tests of what speaks to another broker.
package testmosquitto

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/headgate-io/headgate/internal/testaddress"
	"github.com/headgate-io/headgate/internal/toolchain"
)

// Broker is a Mosquitto on loopback. It keeps its sessions over Stop and Start.
type Broker struct {
	testing.TB
	// Address is host:port.
	Address string

	dir     string
	process *exec.Cmd
}

// Start runs a broker until the test ends. settings are lines of its
// configuration, besides its one listener; without any it admits everybody.
func Start(tb testing.TB, settings ...string) *Broker {
	tb.Helper()
	toolchain.Need(tb, "mosquitto")
	b := &Broker{TB: tb, Address: free(tb), dir: tb.TempDir()}
	if len(settings) == 0 {
		settings = []string{"allow_anonymous true"}
	}
	_, port, _ := net.SplitHostPort(b.Address)
	text := fmt.Sprintf("listener %s 127.0.0.1\npersistence true\npersistence_location %s/\n", port, b.dir)
	if os.Getuid() == 0 {
		text += "user root\n" // or it becomes one who cannot read the test's files
	}
	for _, s := range settings {
		text += s + "\n"
	}
	b.write("mosquitto.conf", text)
	tb.Cleanup(b.Stop)
	b.Restart()
	return b
}

// Passwords writes a password file, user and password in turns, and returns the
// setting that names it.
func Passwords(tb testing.TB, pairs ...string) string {
	tb.Helper()
	toolchain.Need(tb, "mosquitto_passwd")
	file := filepath.Join(tb.TempDir(), "passwords")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		tb.Fatal(err)
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		if out, err := exec.CommandContext(tb.Context(), "mosquitto_passwd", "-b", file, pairs[i], pairs[i+1]).CombinedOutput(); err != nil {
			tb.Fatalf("mosquitto_passwd: %v: %s", err, out)
		}
	}
	return "allow_anonymous false\npassword_file " + file
}

func (b *Broker) write(name, text string) {
	b.Helper()
	if err := os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
}

// Restart starts it again where it was, after Stop.
func (b *Broker) Restart() {
	b.Helper()
	b.process = exec.Command("mosquitto", "-c", filepath.Join(b.dir, "mosquitto.conf")) //nolint:noctx // Stop ends it
	if err := b.process.Start(); err != nil {
		b.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		c, err := new(net.Dialer).DialContext(context.Background(), "tcp", b.Address)
		if err == nil {
			_ = c.Close()
			return
		}
		if time.Now().After(deadline) {
			b.Fatalf("mosquitto is not up: %v", err)
		}
	}
}

// Stop ends it; what it has to keep is on disk then.
func (b *Broker) Stop() {
	if b.process == nil {
		return
	}
	_ = b.process.Process.Signal(os.Interrupt)
	_ = b.process.Wait()
	b.process = nil
}

func free(tb testing.TB) string {
	tb.Helper()
	address, err := testaddress.Free("127.0.0.1")
	if err != nil {
		tb.Fatal(err)
	}
	return address
}
