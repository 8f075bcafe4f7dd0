// Command headgate is the gateway and its command line.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/headgate-io/headgate/sensors/actuate/guard"
)

func main() {
	if guard.Is(os.Args[1:]) { // before anything else is set up
		os.Exit(guard.Main(os.Args[1:], os.Stderr))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := execute(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
