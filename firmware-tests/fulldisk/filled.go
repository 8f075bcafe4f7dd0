package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// filled fills a small tmpfs under a gateway.
func filled(ctx context.Context, binary string) (err error) {
	dir, err := os.MkdirTemp("", "headgate-full-")
	if err != nil {
		return err
	}
	if err := unix.Mount("headgate", dir, "tmpfs", 0, "size=96m"); err != nil {
		return errors.Join(fmt.Errorf("mount a tmpfs (this needs root): %w", err), os.Remove(dir))
	}
	c, err := newCrowd(ctx, binary, dir)
	if err == nil {
		err = errors.Join(c.fill(ctx, dir), c.end())
	}
	return errors.Join(err, unix.Unmount(dir, unix.MNT_DETACH), os.Remove(dir))
}

func (c *crowd) fill(ctx context.Context, dir string) error {
	g := c.judge.Gateway
	c.publish(ctx)
	if err := c.growing(ctx, "before the disk is full"); err != nil {
		return err
	}
	filler := filepath.Join(dir, "filler")
	size, err := writeFiller(filler)
	if err != nil {
		return err
	}
	fmt.Printf("%-46s %8d MB\n", "disk filled to the last byte, with", size>>20)

	if err := c.refused(ctx); err != nil {
		return err
	}
	// What was taken before has to settle now: that shrinks.
	c.rest()
	if err := g.Drain(ctx, patience); err != nil {
		return fmt.Errorf("on the full disk: %w", err)
	}
	fmt.Printf("%-46s %8s\n", "what waited has settled on the full disk", "yes")
	if err := c.judge.Check(ctx, "on the full disk", false); err != nil {
		return err
	}
	if err := g.Kill(); err != nil {
		return err
	}
	if err := g.Start(ctx); err != nil {
		return fmt.Errorf("start on the full disk: %w", err)
	}
	fmt.Printf("%-46s %8s\n", "killed, and started on the full disk", "yes")
	if err := c.judge.Check(ctx, "after a start on the full disk", false); err != nil {
		return err
	}
	c.publish(ctx)
	if err := c.refused(ctx); err != nil {
		return err
	}
	pid := g.Pid()
	if err := os.Remove(filler); err != nil {
		return err
	}
	if err := c.growing(ctx, "after there is room"); err != nil {
		return err
	}
	if g.Ended() || g.Pid() != pid {
		return errors.New("the gateway ended on the way")
	}
	fmt.Printf("%-46s %8s\n", "filler removed, publishing goes on by itself", "yes")
	c.rest()
	if err := c.settle(ctx, "at the end"); err != nil {
		return err
	}
	fmt.Printf("%-46s %8d\n", "acknowledged events, each there once", c.judge.Acknowledged())
	return c.verdict()
}

// growing waits until publishers get acknowledgements.
func (c *crowd) growing(ctx context.Context, when string) error {
	before := c.judge.Acknowledged()
	const more = 200
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if c.judge.Acknowledged() >= before+more {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	return fmt.Errorf("%s: only %d events are acknowledged in %v\n%s", when, c.judge.Acknowledged()-before, patience, c.judge.Gateway.Log())
}

// refused waits until a version 5 publisher is told 0x97, Quota exceeded, and
// the others get no acknowledgements.
func (c *crowd) refused(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	p := c.probe
	host, port, _ := strings.Cut(c.judge.Gateway.Address, ":")
	for {
		out, err := exec.CommandContext(ctx, "mosquitto_pub", "-V", "5", "-h", host, "-p", port, "-i", p.Name, "-u", p.Name, "-P", p.Password,
			"-q", "1", "-t", p.Topic, "-m", fmt.Sprintf(`{"n":%d}`, p.Events()+1), "-d").CombinedOutput()
		if ctx.Err() != nil {
			return fmt.Errorf("a version 5 publisher is not refused: %w\n%s", err, out)
		}
		if strings.Contains(string(out), "RC:151") { // 0x97
			break
		}
		if strings.Contains(string(out), "RC:0)") { // the gateway has not noticed yet
			p.Took()
		}
		time.Sleep(50 * time.Millisecond)
	}
	fmt.Printf("%-46s %8s\n", "a version 5 publisher gets", "0x97")
	if err := c.silent(ctx); err != nil {
		return err
	}
	fmt.Printf("%-46s %8d\n", "3.1.1 publishers get acknowledgements", 0)
	return nil
}

// silent waits for a second without an acknowledgement. What the gateway stored
// while there was room may still be acknowledged, and so may its redelivery
// after a kill; but these end.
func (c *crowd) silent(ctx context.Context) error {
	for {
		before := c.judge.Acknowledged()
		time.Sleep(time.Second)
		n := c.judge.Acknowledged() - before
		if n == 0 {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%d events of 3.1.1 publishers were acknowledged in a second, on a disk that is full for long", n)
		}
	}
}

// writeFiller takes all the room there is.
func writeFiller(path string) (size int64, err error) {
	f, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for _, block := range []int{1 << 20, 4096, 1} {
		for {
			n, err := f.Write(make([]byte, block))
			size += int64(n)
			if errors.Is(err, unix.ENOSPC) {
				break
			}
			if err != nil && !errors.Is(err, io.ErrShortWrite) {
				return size, err
			}
		}
	}
	return size, nil
}
