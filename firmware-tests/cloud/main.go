// Command cloud shows a fleet on one machine: a controller and three gateways,
// each with a tank whose readings start a function. They enrol, get the function
// by a deployment to a group, and are metered; one loses its link while a second
// release is deployed, and gets it when it is back; a third release is bad, and
// is stopped and taken back by itself. Everything is done with the two programs
// that a user has. It exits with 1 where anything is not as it shall be.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

var (
	headgate   = flag.String("headgate", "bin/headgate", "the gateway's binary")
	controller = flag.String("controller", "bin/headgate-controller", "the controller's binary")
	verbose    = flag.Bool("v", false, "show what the commands print")
)

func main() {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "cloud-demo:", err)
		os.Exit(1)
	}
	fmt.Println("The fleet is as its owner wants it")
}

func run(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "headgate-cloud-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s := &story{dir: dir, began: time.Now().UTC()}
	defer func() { err = errors.Join(err, s.close()) }()
	for _, chapter := range []struct {
		title string
		tell  func(context.Context) error
	}{
		{"a controller, and the keys of its owner", s.begin},
		{"three gateways enrol", s.enrol},
		{"release 1, to the group site=north", s.first},
		{"usage and an invoice, while it runs", s.meter},
		{"release 2, while gw-north-2 has no link", s.offline},
		{"the link is back", s.online},
		{"release 3 is bad", s.bad},
		{"a good one after it", s.after},
		{"every reading is on the invoice", s.account},
	} {
		fmt.Printf("\n== %s\n", chapter.title)
		if err := chapter.tell(ctx); err != nil {
			return fmt.Errorf("%s: %w\n%s", chapter.title, err, s.logs())
		}
	}
	return nil
}
