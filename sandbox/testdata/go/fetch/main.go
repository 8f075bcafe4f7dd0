// Fetches as the other languages' fetch guests do.
package main

import (
	"fmt"

	headgate "github.com/headgate-io/headgate/sdk/go"
)

func init() { headgate.Handle(handle) }

func main() {}

func handle(ctx *headgate.Context) error {
	r, err := ctx.Fetch(headgate.Request{
		Method: "POST", URL: "https://api.example.org/v1?q=\"1\"", Header: map[string]string{"accept": "text/plain"}, Body: "hi\nthere",
	})
	if err != nil {
		return err
	}
	return ctx.Output(fmt.Sprintf("%d %s %d", r.Status, r.Get("Content-Type"), len(r.Body)))
}
