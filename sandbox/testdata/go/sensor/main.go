// Reads sensors as the other languages' sensor guests do.
package main

import (
	"errors"
	"fmt"
	"time"

	headgate "github.com/headgate-io/headgate/sdk/go"
)

func init() { headgate.Handle(handle) }

func main() {}

func handle(ctx *headgate.Context) error {
	code := func(name string, maxAge time.Duration) string {
		_, err := ctx.SensorValue(name, maxAge)
		switch {
		case errors.Is(err, headgate.ErrUnavailable):
			return "UNAVAILABLE"
		case errors.Is(err, headgate.ErrNotFound):
			return "NOT_FOUND"
		case errors.Is(err, headgate.ErrDenied):
			return "DENIED"
		}
		return "?"
	}
	v, err := ctx.SensorValue("soil-1", time.Minute)
	if err != nil {
		return err
	}
	return ctx.Output(fmt.Sprint(v, " ", code("soil-old", 30*time.Second), " ", code("soil-bad", time.Hour), " ", code("soil-none", 1), " ", code("air", 1)))
}
