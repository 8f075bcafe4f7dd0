package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/headgate-io/headgate/controller/client"
	"github.com/headgate-io/headgate/controller/simulate"
	"github.com/headgate-io/headgate/firmware-tests/rig"
)

// reporting is how many gateways report to the controller.
const reporting = 5

// controlling fills a small tmpfs under a controller to which gateways report.
func controlling(ctx context.Context, binary string) (err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	dir, err := os.MkdirTemp("", "headgate-full-controller-")
	if err != nil {
		return err
	}
	if err := unix.Mount("headgate", dir, "tmpfs", 0, "size=24m"); err != nil {
		return errors.Join(fmt.Errorf("mount a tmpfs (this needs root): %w", err), os.Remove(dir))
	}
	defer func() { err = errors.Join(err, unix.Unmount(dir, unix.MNT_DETACH), os.Remove(dir)) }()
	c := &controlled{filler: filepath.Join(dir, "filler")}
	if c.Controller, err = rig.NewController(binary, filepath.Join(dir, "controller"), ""); err != nil {
		return err
	}
	if err := c.start(ctx); err != nil {
		c.Kill()
		return err
	}
	return errors.Join(c.story(ctx), c.Stop())
}

// controlled is a controller on a small disk.
type controlled struct {
	*rig.Controller
	filler string
	api    *client.Client
	fleet  *simulate.Fleet
}

// start runs it, and makes a fleet that reports to it.
func (c *controlled) start(ctx context.Context) error {
	if err := c.Start(ctx); err != nil {
		return err
	}
	operator, err := c.Operator(ctx)
	if err != nil {
		return err
	}
	token, err := c.Token(ctx, reporting)
	if err != nil {
		return err
	}
	if c.api, err = client.New(c.URL(), operator); err != nil {
		return err
	}
	c.fleet, err = simulate.New(simulate.Config{
		Controller: c.URL(), Token: token, Gateways: reporting, Functions: 10,
		Interval: 200 * time.Millisecond, Jitter: 100 * time.Millisecond, Minutes: 60, Retry: 100 * time.Millisecond, AnswerWithin: 500 * time.Millisecond,
	})
	if err != nil {
		return err
	}
	return c.fleet.Enrol(ctx)
}

func (c *controlled) story(ctx context.Context) error {
	living, rest := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() { defer close(ended); c.fleet.Run(living) }()
	defer func() { rest(); <-ended }()
	acknowledged := func() uint64 { s := c.fleet.Stats(); return s.Sealed - uint64(s.Waiting) }
	if err := until(ctx, "batches are acknowledged", func() bool { return acknowledged() > 2*reporting }); err != nil {
		return err
	}
	size, err := writeFiller(c.filler)
	if err != nil {
		return err
	}
	fmt.Printf("%-46s %8d MB\n", "the controller's disk filled, with", size>>20)
	if err := until(ctx, "gateways keep what they have", func() bool { return c.fleet.Stats().Waiting > 4*reporting }); err != nil {
		return err
	}
	fmt.Printf("%-46s %8d\n", "batches that the gateways keep meanwhile", c.fleet.Stats().Waiting)
	if err := c.refuses(ctx); err != nil {
		return err
	}
	if err := unix.Kill(c.Pid(), 0); err != nil {
		return fmt.Errorf("the controller ended: %w\n%s", err, c.Log())
	}
	if err := os.Remove(c.filler); err != nil {
		return err
	}
	before := acknowledged()
	if err := until(ctx, "batches are acknowledged again", func() bool { return acknowledged() > before+2*reporting }); err != nil {
		return err
	}
	c.fleet.Rest()
	if err := until(ctx, "everything is acknowledged", func() bool { return c.fleet.Stats().Waiting == 0 }); err != nil {
		return err
	}
	return c.exact(ctx)
}

// refuses looks at what the full controller answers.
func (c *controlled) refuses(ctx context.Context) error {
	full := func(err error) bool {
		var refused *client.Error
		return errors.As(err, &refused) && refused.Status == http.StatusInsufficientStorage && strings.Contains(refused.Detail, "makes room")
	}
	var last error
	change := func() bool {
		last = c.api.Do(ctx, http.MethodPost, "/v1/config", map[string]any{"function": "f", "values": map[string]any{"a": strings.Repeat("x", 8<<10)}}, nil)
		return full(last)
	}
	if err := until(ctx, "a change is refused with 507", change); err != nil {
		return fmt.Errorf("%w: %w", err, last)
	}
	content := bytes.Repeat([]byte("x"), 1<<20)
	path := fmt.Sprintf("/v1/repository/targets/%x", sha256.Sum256(content))
	if err := c.api.Upload(ctx, path, bytes.NewReader(content), int64(len(content))); !full(err) {
		return fmt.Errorf("an upload onto the full disk: %w", err)
	}
	left, err := filepath.Glob(filepath.Join(c.Dir, "content", "*", "staged", "uploads", "*"))
	if hidden, errHidden := filepath.Glob(filepath.Join(c.Dir, "content", "*", "staged", "uploads", ".part-*")); err != nil || errHidden != nil || len(left)+len(hidden) > 0 {
		return fmt.Errorf("the refused upload has left %v%v: %w", left, hidden, errors.Join(err, errHidden))
	}
	fmt.Printf("%-46s %8d\n", "changes and uploads get, and leave nothing", http.StatusInsufficientStorage)
	return nil
}

// exact compares the controller's sums with what was metered.
func (c *controlled) exact(ctx context.Context) error {
	var got struct {
		Total map[string]string `json:"total"`
	}
	if err := c.api.Do(ctx, http.MethodGet, "/v1/usage?from=2020-01-01&to=2100-01-01", nil, &got); err != nil {
		return err
	}
	want := c.fleet.Stats().Metered
	if got.Total["requests"] != fmt.Sprint(want.Requests) || got.Total["fuel"] != fmt.Sprint(want.Fuel) {
		return fmt.Errorf("the controller counts %s requests and %s fuel, the gateways %d and %d", got.Total["requests"], got.Total["fuel"], want.Requests, want.Fuel)
	}
	var findings struct {
		Items []any `json:"items"`
	}
	if err := c.api.Do(ctx, http.MethodGet, "/v1/findings", nil, &findings); err != nil || len(findings.Items) > 0 {
		return fmt.Errorf("findings %v: %w", findings.Items, err)
	}
	fmt.Printf("%-46s %8d\n", "with room all is acknowledged; requests, exact", want.Requests)
	return nil
}

// until waits until something is so.
func until(ctx context.Context, what string, so func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for !so() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("not in 30 s: %s", what)
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}
