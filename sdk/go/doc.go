// Package headgate is the SDK for functions written in Go.
//
//	package main
//
//	import headgate "github.com/headgate-io/headgate/sdk/go"
//
//	func init() { headgate.Handle(handle) }
//	func main() {}
//
//	func handle(ctx *headgate.Context) error {
//		var reading struct{ Moisture float64 }
//		if err := ctx.JSON(&reading); err != nil {
//			return err
//		}
//		if reading.Moisture < 30 {
//			return ctx.Publish("farm/"+ctx.Param("field")+"/valve", "open")
//		}
//		return nil
//	}
//
// Build it with GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared.
//
// Every event starts from the same memory: what a handler keeps in variables
// is gone when it returns, and package initialisation runs once, before that
// memory is kept. For the same reason the top-level functions of math/rand and
// math/rand/v2 repeat themselves; use Context.Rand or crypto/rand.
//
// On every other platform the package runs against a host in memory, so that
// handlers have ordinary tests: see Run.
package headgate
