package doctor

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"
)

// Listener is one that the configuration asks for.
type Listener struct {
	Name, Network string
	// Address is where it is open; empty when it is not.
	Address string
}

// soon is how long before its end a certificate is called to attention.
const soon = 21 * 24 * time.Hour

// Listeners connects to each.
func Listeners(list func() []Listener) Probe {
	return Probe{"listeners", func(ctx context.Context) Check {
		var good []string
		for _, l := range list() {
			if l.Address == "" {
				return fail("see the gateway's log for why it did not open", "%s (%s) is not open", l.Name, l.Network)
			}
			conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", l.Address)
			if err != nil {
				return fail("restart the gateway", "%s does not accept: %v", l.Name, err)
			}
			_ = conn.Close()
			good = append(good, fmt.Sprintf("%s (%s) on %s", l.Name, l.Network, l.Address))
		}
		if len(good) == 0 {
			return warn("name one under mqtt.listeners", "no MQTT listener is configured")
		}
		return ok("%s", strings.Join(good, ", "))
	}}
}
