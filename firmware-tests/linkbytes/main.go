// Command linkbytes measures what a gateway's uplink costs on its link in a day:
// IP bytes, as a mobile network counts them, in both directions, read from a
// network interface of its own. Needs root and iproute2.
//
// A day is put together of what it is made of: 24 reports of 60 minutes each, of
// functions that are at work all the time, and a keep alive every 20 minutes.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/headgate-io/headgate/firmware-tests/rig"
)

// The aims, in bytes a day on a metered link.
const (
	maxBusy = 100_000
	maxIdle = 40_000
)

// A day of a metered link.
const (
	reports    = 24
	keepAlives = 72
)

var (
	binary    = flag.String("controller", "bin/headgate-controller", "the controller's binary")
	functions = flag.Int("functions", 10, "how many functions are at work")
)

func main() {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "linkbytes:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("run it as root: it makes a network interface")
	}
	w, err := openWire(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	dir, err := os.MkdirTemp("", "headgate-linkbytes-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	c, err := rig.NewControllerAt(w.here, *binary, filepath.Join(dir, "controller"), "")
	if err != nil {
		return err
	}
	if err := c.Start(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Stop()) }()
	return w.day(ctx, c)
}

// day measures the parts, and adds them up.
func (w *link) day(ctx context.Context, c *rig.Controller) error {
	const short, hour = 500 * time.Millisecond, "1h"
	lasts := time.Duration(reports)*short + short/2
	// Six of the hours are a quarter of the day.
	all := []string{"--minutes", "60", "--jitter", "1ms", "--metered", "--deployed", strconv.Itoa(*functions), "--repeat-report", (6 * short).String()}
	joined, err := w.simulate(ctx, c, append(all, "--functions", "0", "--interval", hour, "--for", "2s")...)
	if err != nil {
		return err
	}
	idle, err := w.simulate(ctx, c, append(all, "--functions", "0", "--interval", short.String(), "--for", lasts.String())...)
	if err != nil {
		return err
	}
	busy, err := w.simulate(ctx, c, append(all, "--functions", strconv.Itoa(*functions), "--interval", short.String(), "--for", lasts.String())...)
	if err != nil {
		return err
	}
	// paho asks every keep alive: as many as fit.
	const pings = 15
	alive, err := w.simulate(ctx, c, append(all, "--functions", "0", "--interval", hour, "--keep-alive", "2s", "--for", strconv.Itoa(2+2*pings)+"s")...)
	if err != nil {
		return err
	}
	ping := max(alive-joined, 0) / pings
	fmt.Printf("%-52s %8s\n", "IP bytes, both ways, on a wire of its own", "")
	fmt.Printf("%-52s %8d\n", "enrolment, a connection and its end", joined)
	fmt.Printf("%-52s %8d\n", "a keep alive and its answer", ping)
	fmt.Printf("%-52s %8d\n", fmt.Sprintf("a report of an hour, %d functions", *functions), (busy-joined)/reports)
	fmt.Printf("%-52s %8d\n", "a report without functions at work", (idle-joined)/reports)
	day := func(what string, part, most int64) error {
		sum := part + keepAlives*ping
		fmt.Printf("%-52s %8d of %d\n", "a day on a metered link, "+what, sum, most)
		if sum > most {
			return fmt.Errorf("%s: %d bytes a day, the aim is %d", what, sum, most)
		}
		return nil
	}
	return errors.Join(day("idle", idle, maxIdle), day(fmt.Sprintf("%d busy functions", *functions), busy, maxBusy))
}

// simulate is one gateway on the other side of the wire; the bytes are those of
// all it did.
func (w *link) simulate(ctx context.Context, c *rig.Controller, args ...string) (int64, error) {
	token, err := c.Token(ctx, 1)
	if err != nil {
		return 0, err
	}
	before, err := w.bytes()
	if err != nil {
		return 0, err
	}
	line := append([]string{"netns", "exec", w.space, *binary, "simulate", "--gateways", "1", "--controller", c.URL(), "--token", token}, args...)
	out, err := exec.CommandContext(ctx, "ip", line...).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("%s: %w\n%s", strings.Join(line, " "), err, out)
	}
	after, err := w.bytes()
	return after - before, err
}
