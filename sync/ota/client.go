package ota

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/trustedmetadata"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/internal/durable"
)

// The bounds of metadata. A signature over more bytes is not even looked at.
const (
	maxRootBytes      = 64 << 10
	maxTimestampBytes = 16 << 10
	maxSnapshotBytes  = 64 << 10
	maxTargetsBytes   = 4 << 20
	// maxRotations is how many roots one refresh goes through. What is
	// left the next one does.
	maxRotations = 64
)

// The files of what is trusted, below Config.Dir. Each is replaced by one
// rename, in this order: whatever a power cut leaves is a set to go on from,
// because what does not fit to the file before it is fetched anew.
const (
	pinnedFile    = "pinned.json"
	rootFile      = "root.json"
	timestampFile = "timestamp.json"
	snapshotFile  = "snapshot.json"
	targetsFile   = "targets.json"
)

// Clock says what time it is and how far that can be relied on.
type Clock interface {
	Now() time.Time
	Trust() event.Trust
}

// Config configures a Client.
type Config struct {
	// Dir keeps what is trusted, and what is on its way in.
	Dir string
	// Root is the root metadata that the owner pins. It may be empty where one
	// was pinned before; a new one is a new beginning.
	Root   []byte
	Source Source
	Clock  Clock
	Logger *slog.Logger
	// ReserveBytes of the disk are left free.
	ReserveBytes int64
}

// Client knows what is signed. Its methods may be used from any goroutine;
// they take their turns.
type Client struct {
	cfg Config
	// replace writes what is trusted, create what is on its way in.
	replace func(file string, content []byte) error
	create  func(file string) (sink, error)
	pause   time.Duration // before what failed is asked for again

	mu sync.Mutex // held through a whole refresh

	fetching sync.Mutex // held through a whole fetch

	statsMu sync.Mutex
	stats   Stats
}

// Open reads what is trusted. No network is asked.
func Open(cfg Config) (*Client, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Client{cfg: cfg, replace: durable.Replace, create: openSink, pause: defaultPause}
	if err := os.MkdirAll(filepath.Join(cfg.Dir, incomingDir), 0o700); err != nil {
		return nil, fmt.Errorf("updates: %w", err)
	}
	return c, c.pin()
}

// Pin makes root the one that a gateway believes, where it believes none yet:
// at its enrolment. The same again is no change.
func Pin(dir string, root []byte) error {
	if err := checkRoot(root); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("updates: %w", err)
	}
	pinned, err := os.ReadFile(filepath.Join(dir, pinnedFile))
	switch {
	case err == nil && bytes.Equal(pinned, root):
		return nil
	case err == nil:
		return ErrPinned
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("updates: %w", err)
	}
	return begin(dir, root, durable.Replace)
}

// Pinned reports whether a gateway believes a root.
func Pinned(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, pinnedFile))
	return err == nil
}

// begin forgets what was trusted, and trusts root. That it is pinned is written
// last: a power cut before begins anew.
func begin(dir string, root []byte, replace func(string, []byte) error) error {
	for _, name := range []string{timestampFile, snapshotFile, targetsFile} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("updates: %w", err)
		}
	}
	for _, name := range []string{rootFile, pinnedFile} {
		if err := replace(filepath.Join(dir, name), root); err != nil {
			return fmt.Errorf("updates: pin the root: %w", err)
		}
	}
	return nil
}

// pin makes the owner's root the beginning of what is trusted.
func (c *Client) pin() error {
	pinned, err := os.ReadFile(filepath.Join(c.cfg.Dir, pinnedFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("updates: %w", err)
	}
	if len(c.cfg.Root) == 0 {
		if pinned == nil {
			return ErrNoRoot
		}
		return nil
	}
	if bytes.Equal(pinned, c.cfg.Root) {
		return nil
	}
	if err := checkRoot(c.cfg.Root); err != nil {
		return err
	}
	if pinned != nil {
		c.cfg.Logger.Warn("another root is pinned from now on: what was trusted before is not any more")
	}
	return begin(c.cfg.Dir, c.cfg.Root, c.replace)
}

func checkRoot(root []byte) error {
	if len(root) > maxRootBytes {
		return fmt.Errorf("root: %w", ErrTooLarge)
	}
	return guarded("root", func() error {
		_, err := trustedmetadata.New(root)
		return err
	})
}

// guarded calls the library, and makes an error of what it did not expect.
func guarded(what string, call func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%s: %w: %v", what, ErrMalformed, p)
		}
	}()
	if err := call(); err != nil {
		return refused(what, err)
	}
	return nil
}

// Stats returns the counters.
func (c *Client) Stats() Stats {
	c.statsMu.Lock()
	defer c.statsMu.Unlock()
	return c.stats
}

func (c *Client) counted(err error) error {
	if err != nil {
		c.statsMu.Lock()
		defer c.statsMu.Unlock()
		c.stats.count(err)
	}
	return err
}

// Refresh takes in what the repository has that is new and signed. Where that
// ends with an error what was trusted before still is, keys that were changed
// count from now on, and no new code is to be fetched.
func (c *Client) Refresh(ctx context.Context) (*Targets, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.statsMu.Lock()
	c.stats.Refreshes++
	c.statsMu.Unlock()
	t, err := c.walk(ctx, c.cfg.Source)
	return t, c.counted(err)
}

// Trusted is what was found signed before, if it still counts: what a refresh
// would find without a repository.
func (c *Client) Trusted(ctx context.Context) (*Targets, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.walk(ctx, nowhere{})
}

// nowhere is a repository that has nothing new.
type nowhere struct{}

func (nowhere) Open(context.Context, string, int64) (Content, error) { return Content{}, ErrNotFound }

// walk is one refresh from a source.
func (c *Client) walk(ctx context.Context, from Source) (*Targets, error) {
	w, err := c.workflow(from)
	if err != nil {
		return nil, err
	}
	t, err := w.run(ctx)
	if err == nil && c.cfg.Clock.Trust() == event.TimeUnknown {
		return nil, ErrClock
	}
	return t, err
}

// workflow begins with the newest root that is trusted.
func (c *Client) workflow(from Source) (*workflow, error) {
	raw, err := os.ReadFile(filepath.Join(c.cfg.Dir, rootFile))
	if err != nil {
		return nil, fmt.Errorf("updates: %w", err)
	}
	w := &workflow{c: c, from: from}
	err = guarded(rootFile, func() (err error) { w.set, err = trustedmetadata.New(raw); return err })
	if err != nil {
		// The disk has lost it: the pinned one leads to it again.
		c.cfg.Logger.Error("the trusted root is damaged: from the pinned one anew", "error", err)
		if raw, err = os.ReadFile(filepath.Join(c.cfg.Dir, pinnedFile)); err != nil {
			return nil, fmt.Errorf("updates: %w", err)
		}
		if err := guarded(pinnedFile, func() (err error) { w.set, err = trustedmetadata.New(raw); return err }); err != nil {
			return nil, err
		}
	}
	// With an unknown clock nothing is past its end, and nothing is fresh.
	w.set.RefTime = time.Time{}
	if c.cfg.Clock.Trust() != event.TimeUnknown {
		w.set.RefTime = c.cfg.Clock.Now().UTC()
	}
	return w, nil
}

// expires is the first end of a set's metadata.
func expires(set *trustedmetadata.TrustedMetadata) time.Time {
	first := set.Root.Signed.Expires
	for _, t := range []time.Time{set.Timestamp.Signed.Expires, set.Snapshot.Signed.Expires, set.Targets[metadata.TARGETS].Signed.Expires} {
		if t.Before(first) {
			first = t
		}
	}
	return first
}
