// Command counter keeps a global counter and answers with it.
package main

import (
	"crypto/rand"
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
	case "random":
		var b [16]byte
		_, _ = rand.Read(b[:])
		return ctx.Output(b[:])
	case "rand":
		return ctx.Output(ctx.Rand().Uint64())
	case "fail":
		return errors.New("asked to fail")
	}
	return ctx.Output(counter)
}
