package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// link is a network of two: this side, and a namespace on the other.
type link struct {
	space, outer, inner string
	here, there         string
}

// Fixed, so that nobody has to ask for them.
const outerMAC, innerMAC = "02:00:0a:e7:4d:01", "02:00:0a:e7:4d:02"

// ethernetHeader is in the interface's count, and not in IP's.
const ethernetHeader = 14

// openWire makes the network. Packets leave as they would on a real link: no
// larger than its MTU, and nobody asks who has an address.
func openWire(ctx context.Context) (*link, error) {
	id := strconv.Itoa(os.Getpid())
	w := &link{space: "headgate-" + id, outer: "hgo" + id, inner: "hgi" + id, here: "10.231.77.1", there: "10.231.77.2"}
	for _, line := range []string{
		"netns add " + w.space,
		"link add " + w.outer + " mtu 1500 gso_max_segs 1 address " + outerMAC + " type veth peer name " + w.inner + " address " + innerMAC,
		"link set " + w.inner + " gso_max_segs 1 netns " + w.space,
		"addr add " + w.here + "/30 dev " + w.outer,
		"-n " + w.space + " addr add " + w.there + "/30 dev " + w.inner,
		"link set " + w.outer + " up",
		"-n " + w.space + " link set " + w.inner + " up",
		"neigh add " + w.there + " lladdr " + innerMAC + " dev " + w.outer,
		"-n " + w.space + " neigh add " + w.here + " lladdr " + outerMAC + " dev " + w.inner,
	} {
		if err := ip(ctx, line); err != nil {
			return nil, errors.Join(err, w.close())
		}
	}
	// IPv6 would look for neighbours on its own account; it is not there.
	_ = os.WriteFile(filepath.Join("/proc/sys/net/ipv6/conf", w.outer, "disable_ipv6"), []byte("1"), 0) // where it exists
	return w, nil
}

func ip(ctx context.Context, line string) error {
	out, err := exec.CommandContext(ctx, "ip", strings.Fields(line)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", line, err, out)
	}
	return nil
}

func (w *link) close() error { return ip(context.Background(), "netns del "+w.space) }

// bytes is what went through, in IP bytes.
func (w *link) bytes() (sum int64, err error) {
	for _, way := range []string{"rx", "tx"} {
		for name, factor := range map[string]int64{"bytes": 1, "packets": -ethernetHeader} {
			raw, err := os.ReadFile(filepath.Join("/sys/class/net", w.outer, "statistics", way+"_"+name))
			if err != nil {
				return 0, err
			}
			n, err := strconv.ParseInt(strings.TrimSpace(string(raw)), 10, 64)
			if err != nil {
				return 0, err
			}
			sum += factor * n
		}
	}
	return sum, nil
}
