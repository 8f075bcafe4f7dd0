// Command wifi joins the network that the setup file names: it loads the
// drivers of the Raspberry Pi's radio, tells it the country, connects, and asks
// for an address. Where no network is named it waits until one is.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// networkFile is what the gateway makes of `wifi:` in the setup file.
	networkFile = "/perm/wifi.json"
	// every is how often the radio and the file are looked at.
	every = 5 * time.Second
)

// Network is the network to join.
type Network struct {
	SSID string `json:"ssid"`
	// PSK is the passphrase, empty for an open network.
	PSK string `json:"psk"`
	// Country is the one whose rules the radio obeys, ISO 3166 alpha-2; empty
	// leaves it to the firmware.
	Country string `json:"country"`
}

// readNetwork reads the file; false is that there is none.
func readNetwork(path string) (Network, bool, error) {
	var n Network
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return n, false, nil
	}
	if err != nil {
		return n, false, err
	}
	if err := json.Unmarshal(raw, &n); err != nil {
		return n, false, fmt.Errorf("%s: %w", path, err)
	}
	if n.SSID == "" {
		return n, false, fmt.Errorf("%s: it names no network: ssid is missing", path)
	}
	return n, true, nil
}

// modules are the driver, and what it asks for by name on boards of different
// makers: nothing else on the image would load that.
var modules = []string{
	"brcmutil/brcmutil.ko",
	"brcmfmac/brcmfmac.ko",
	"brcmfmac/wcc/brcmfmac-wcc.ko",
	"brcmfmac/cyw/brcmfmac-cyw.ko",
	"brcmfmac/bca/brcmfmac-bca.ko",
}

// loadDrivers loads the modules that this kernel has.
func loadDrivers() error {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return fmt.Errorf("uname: %w", err)
	}
	release, _, _ := bytes.Cut(uts.Release[:], []byte{0})
	dir := filepath.Join("/lib/modules", string(release), "kernel/drivers/net/wireless/broadcom/brcm80211")
	var errs []error
	for _, m := range modules {
		errs = append(errs, loadModule(filepath.Join(dir, m)))
	}
	return errors.Join(errs...)
}

func loadModule(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // built in, or of a kernel that does without
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("load %s: %w", path, err)
	}
	return nil
}

// dhcp asks for an address on an interface until ctx ends.
func dhcp(ctx context.Context, name string) {
	for ctx.Err() == nil {
		c := exec.CommandContext(ctx, "/gokrazy/dhcp", "-interface="+name)
		c.Stdout, c.Stderr = os.Stdout, os.Stderr
		err := c.Run()
		if ctx.Err() != nil {
			return
		}
		log.Printf("dhcp on %s ended: %v", name, err)
		select {
		case <-ctx.Done():
		case <-time.After(every):
		}
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	s := &station{open: openRadio, dhcp: dhcp, say: log.Printf}
	defer s.close()
	loaded := false
	for {
		n, named, err := readNetwork(networkFile)
		if err != nil {
			s.tell(err.Error())
		}
		if named && !loaded {
			loaded = true
			if err := loadDrivers(); err != nil {
				log.Print(err)
			}
		}
		if named {
			s.step(ctx, n)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(every):
		}
	}
}
