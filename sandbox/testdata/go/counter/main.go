// Command counter keeps a global counter and answers with it.
package main

import (
	"errors"

	headgate "github.com/headgate-io/headgate/sdk/go"
)

var counter int

func init() { headgate.Handle(handle) }
func main() {}

func handle(ctx *headgate.Context) error {
	counter++
	switch string(ctx.Data()) {
	case "trap":
		panic("asked to")
	case "fail":
		return errors.New("asked to fail")
	}
	return ctx.Output(counter)
}
