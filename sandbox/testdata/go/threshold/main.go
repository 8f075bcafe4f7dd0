// Command threshold publishes an alarm when a reading is high.
package main

import (
	"encoding/json"

	headgate "github.com/headgate-io/headgate/sdk/go"
)

type reading struct{ Value float64 }

type alarm struct {
	V float64 `json:"v"`
}

func init() {
	headgate.HandleJSON(handle)
	headgate.Warm(func() { _, _ = json.Marshal(alarm{}) })
}

func main() {}

func handle(ctx *headgate.Context, r reading) error {
	if r.Value > 25 {
		return ctx.Publish("alarm/gw-17", alarm{r.Value})
	}
	return nil
}
