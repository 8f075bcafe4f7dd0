// Command headgate-controller is the cloud side of a fleet of gateways.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/headgate-io/headgate/controller/command"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := command.Execute(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
