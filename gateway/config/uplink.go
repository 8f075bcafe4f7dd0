package config

import (
	"fmt"
	"strings"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/mqtt/topic"
)

// Uplink is the connection with the controller that the gateway is enrolled at;
// without one it does nothing.
type Uplink struct {
	// Metered is a link whose bytes cost: usage goes every hour instead of every
	// quarter, and the keep alive is 20 minutes instead of one.
	Metered bool `yaml:"metered"`
	// Interval and KeepAlive replace those; 0 is as said.
	Interval  function.Duration `yaml:"interval"`
	KeepAlive function.Duration `yaml:"keep_alive"`
	// Grain is how many minutes share a row of usage: whole ones, a part of an
	// hour. 0 is 1, and 5 on a metered link.
	Grain function.Duration `yaml:"grain"`
	// BytesPerDay bounds what the link carries in a day of UTC, in IP bytes; 0 is
	// no bound. What does not fit waits.
	BytesPerDay function.ByteSize `yaml:"bytes_per_day"`
	// Outbox bounds the usage that waits for the controller. From half of it on
	// usage is counted by the hour, from three quarters on by the day: none is
	// lost.
	Outbox function.ByteSize `yaml:"outbox"`
	// Telemetry are messages that the controller gets to see.
	Telemetry Telemetry `yaml:"telemetry"`
}

// Telemetry are the messages of which the newest of each topic goes to the
// controller.
type Telemetry struct {
	// Topics are MQTT filters.
	Topics []string `yaml:"topics"`
	// Interval is how often; 0 is 15 minutes, or an hour on a metered link.
	Interval function.Duration `yaml:"interval"`
}

// maxTelemetryFilters bounds how many filters may be named.
const maxTelemetryFilters = 64

func (t *Telemetry) validate(add func(string, ...any)) {
	if t.Interval != 0 {
		atLeast(add, t.Interval, function.Duration(time.Second), "uplink", "telemetry", "interval")
	}
	if len(t.Topics) > maxTelemetryFilters {
		add(fmt.Sprintf("%d filters, %d at most", len(t.Topics), maxTelemetryFilters), "uplink", "telemetry", "topics")
	}
	for i, f := range t.Topics {
		if err := topic.DefaultLimits.CheckFilter(f); err != nil {
			add(err.Error(), "uplink", "telemetry", "topics", i)
		} else if strings.HasPrefix(f, "$share/") {
			add("cannot be shared", "uplink", "telemetry", "topics", i)
		}
	}
}

func (u *Uplink) validate(add func(string, ...any)) {
	if u.Interval != 0 {
		atLeast(add, u.Interval, function.Duration(time.Second), "uplink", "interval")
	}
	if u.KeepAlive != 0 {
		atLeast(add, u.KeepAlive, function.Duration(5*time.Second), "uplink", "keep_alive")
	}
	if u.KeepAlive > function.Duration(18*time.Hour) {
		add("is longer than MQTT allows: 18h at most", "uplink", "keep_alive")
	}
	if u.BytesPerDay != 0 {
		atLeast(add, u.BytesPerDay, 16<<10, "uplink", "bytes_per_day")
	}
	atLeast(add, u.Outbox, 1<<20, "uplink", "outbox")
	if g := u.Grain.Std(); g < 0 || g > maxGrain || g%time.Minute != 0 || g > 0 && time.Hour%g != 0 {
		add("is not a whole number of minutes that an hour is made of: 1m, 5m, 10m, 15m or 30m", "uplink", "grain")
	}
	u.Telemetry.validate(add)
}

// maxGrain leaves an hour to an outbox that is half full.
const maxGrain = 30 * time.Minute

// meteredGrain is what keeps a day of ten busy functions below 100 KB.
const meteredGrain = 5

// GrainMinutes is how many minutes share a row of usage.
func (u *Uplink) GrainMinutes() int64 {
	switch {
	case u.Grain > 0:
		return int64(u.Grain.Std() / time.Minute)
	case u.Metered:
		return meteredGrain
	}
	return 1
}
