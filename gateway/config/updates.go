package config

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sync/ota"
)

// Updates says where the gateway takes what its owner signed.
type Updates struct {
	// URL is the repository: https://host/folder or file:///folder. Empty asks
	// none.
	URL string `yaml:"url"`
	// Root is the repository's root.json, which the gateway pins. It may be
	// empty where enrolment brought one.
	Root string `yaml:"root"`
	// CA is a PEM file of CAs that the server may have besides the well-known
	// ones.
	CA string `yaml:"ca"`
	// Interval is how often the repository is asked.
	Interval function.Duration `yaml:"interval"`
	// AllowDirect takes bundles and binaries that are handed over directly
	// although a root is pinned.
	AllowDirect bool `yaml:"allow_direct"`
	// AskPermissions has a version that may do more than the one before wait
	// for 'headgate update allow'.
	AskPermissions bool `yaml:"ask_permissions"`
	// Reserve of the disk is left free.
	Reserve function.ByteSize `yaml:"reserve"`
	Canary  Canary            `yaml:"canary"`
}

// Canary says how a new version is tried on traffic.
type Canary struct {
	// Percent is its part of the traffic; 0 makes it live at once.
	Percent float64 `yaml:"percent"`
	// For is how long it has that part, and how long it is watched when it has
	// all.
	For function.Duration `yaml:"for"`
	// Sample is how many events it must have had by then.
	Sample int `yaml:"sample"`
	// Within is when it goes live though it had fewer, and none went wrong.
	Within function.Duration `yaml:"within"`
	// Slower is how many times as long an event may take as before; 0 does not
	// look.
	Slower float64 `yaml:"slower"`
}

func defaultUpdates() Updates {
	return Updates{
		Interval: function.Duration(time.Hour), Reserve: 64 << 20,
		Canary: Canary{Percent: 10, For: function.Duration(10 * time.Minute), Sample: 20, Within: function.Duration(24 * time.Hour), Slower: 3},
	}
}

// UpdatesDir is where the gateway keeps whom it believes about updates.
func (c *Config) UpdatesDir() string { return filepath.Join(c.StateDir, "updates") }

func (u *Updates) validate(add func(string, ...any)) {
	if u.URL != "" {
		if _, err := ota.NewSource(u.URL, nil); err != nil {
			add(err.Error(), "updates", "url")
		}
	}
	if u.Root != "" && u.URL == "" {
		add("is empty: name the repository that updates.root is the root of", "updates", "url")
	}
	atLeast(add, u.Interval, function.Duration(time.Second), "updates", "interval")
	if u.Canary.Percent < 0 || u.Canary.Percent >= 100 {
		add(fmt.Sprintf("%v: a part of the traffic is less than 100, and 0 is none", u.Canary.Percent), "updates", "canary", "percent")
	}
	if u.Canary.Slower != 0 && u.Canary.Slower < 1 {
		add(fmt.Sprintf("%v: a version may take at least as long as the one before; 0 does not look", u.Canary.Slower), "updates", "canary", "slower")
	}
	atLeast(add, u.Canary.For, function.Duration(time.Second), "updates", "canary", "for")
	atLeast(add, u.Canary.Within, u.Canary.For, "updates", "canary", "within")
	atLeast(add, u.Canary.Sample, 1, "updates", "canary", "sample")
}
