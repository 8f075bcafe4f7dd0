package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/headgate-io/headgate/firmware-tests/rig"
)

// failure is an error of a system call on the database's files.
type failure struct{ call, err string }

var failures = []failure{
	{"pwrite64", "ENOSPC"}, {"pwrite64", "EIO"}, {"fsync", "EIO"}, {"ftruncate", "ENOSPC"}, {"fsync", "ENOSPC"},
}

// injected lets calls fail, one site after the other: the n-th of its kind
// since the process began, and some after it.
func injected(ctx context.Context, binary string, sites int) error {
	if _, err := exec.LookPath("strace"); err != nil {
		return errors.New("strace is not installed: apt-get install strace")
	}
	dir, err := os.MkdirTemp("", "headgate-inject-")
	if err != nil {
		return err
	}
	c, err := newCrowd(ctx, binary, dir)
	if err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	err = c.sites(ctx, dir, sites)
	return errors.Join(err, c.end(), os.RemoveAll(dir))
}

func (c *crowd) sites(ctx context.Context, dir string, sites int) error {
	tried, refusedStart := map[failure]int{}, 0
	site := 1
	for i := range sites {
		f := failures[i%len(failures)]
		started, err := c.site(ctx, dir, f, site)
		if err != nil {
			return fmt.Errorf("%s %s from call %d on: %w", f.call, f.err, site, err)
		}
		tried[f]++
		if !started {
			refusedStart++
		}
		if len(c.judge.Violations) > 0 {
			c.judge.Violate("that was with %s %s from call %d on", f.call, f.err, site)
			return c.verdict()
		}
		if i%len(failures) == len(failures)-1 {
			site += 1 + site/3
		}
	}
	for _, f := range failures {
		fmt.Printf("%-46s %8d\n", fmt.Sprintf("sites where %s fails with %s", f.call, f.err), tried[f])
	}
	fmt.Printf("%-46s %8d\n", "of all, so early that the start was refused", refusedStart)
	fmt.Printf("%-46s %8d\n", "acknowledged events, each there once", c.judge.Acknowledged())
	return c.verdict()
}

// site starts the gateway with one failure, publishes, and starts it without
// to look. A start that fails is allowed: it says why, and loses nothing.
func (c *crowd) site(ctx context.Context, dir string, f failure, n int) (started bool, err error) {
	g := c.judge.Gateway
	if err := g.End(); err != nil {
		return false, err
	}
	state := filepath.Join(dir, "state", "headgate.db")
	g.Wrap = []string{
		"strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", "signal=none", "-e", "trace=" + f.call,
		"-P", state, "-P", state + "-wal", "-P", state + "-journal",
		"-e", fmt.Sprintf("inject=%s:error=%s:when=%d..%d", f.call, f.err, n, n+20),
	}
	err = g.Start(ctx)
	g.Wrap = nil
	switch {
	case err == nil:
		started = true
		c.publish(ctx)
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-time.After(700 * time.Millisecond):
		}
		c.rest()
		if g.Ended() {
			return started, fmt.Errorf("the gateway ended:\n%s", g.Log())
		}
		if err := g.Kill(); err != nil {
			return started, err
		}
	case !errors.Is(err, rig.ErrEnded):
		return started, err
	}
	if err := g.Start(ctx); err != nil {
		return started, fmt.Errorf("without the failure: %w", err)
	}
	when := fmt.Sprintf("after %s %s", f.call, f.err)
	return started, c.settle(ctx, when)
}
