// Command reserve keeps the stock: what is delivered comes in, what is ordered
// goes out, and what could not be paid comes back.
package main

import (
	"fmt"

	headgate "github.com/headgate-io/headgate/sdk/go"
)

type order struct {
	ID     string `json:"id"`
	Item   string `json:"item"`
	Amount int    `json:"amount"`
	Total  int    `json:"total"`
	Card   string `json:"card"`
}

// failure is what on_failure and the trigger failure tell: the event that was
// given up, and why.
type failure struct {
	Error string
	Event struct{ Data order }
}

func init() { headgate.Handle(handle) }

func main() {}

// handle knows by the subject what it is about: a queue, a function that
// failed, or else a delivery's topic.
func handle(ctx *headgate.Context) error {
	var o order
	switch ctx.Subject() {
	case "orders/reserve":
		if err := ctx.JSON(&o); err != nil {
			return err
		}
		return reserve(ctx, o)
	case "orders/release":
		if err := ctx.JSON(&o); err != nil {
			return err
		}
		return restock(ctx, o.Item, o.Amount)
	case "charge":
		var f failure
		if err := ctx.JSON(&f); err != nil {
			return err
		}
		return compensate(ctx, f.Event.Data, f.Error)
	}
	var delivery struct{ Amount int }
	if err := ctx.JSON(&delivery); err != nil {
		return err
	}
	return restock(ctx, ctx.Param("item"), delivery.Amount)
}

func reserve(ctx *headgate.Context, o order) error {
	stock := 0
	if _, err := ctx.GetJSON("stock/"+o.Item, &stock); err != nil {
		return err
	}
	if stock < o.Amount {
		return tell(ctx, o, "out of stock", fmt.Sprintf("%d are left", stock))
	}
	if err := ctx.Set("stock/"+o.Item, stock-o.Amount); err != nil {
		return err
	}
	return ctx.Enqueue("orders/charge", o, 0)
}

// restock needs no lock: an invocation that read what another has changed
// meanwhile is run again.
func restock(ctx *headgate.Context, item string, amount int) error {
	stock := 0
	if _, err := ctx.GetJSON("stock/"+item, &stock); err != nil {
		return err
	}
	return ctx.Set("stock/"+item, stock+amount)
}

// compensate undoes an order whose payment has no answer: the goods come back,
// and the money too, should it have moved.
func compensate(ctx *headgate.Context, o order, why string) error {
	if err := restock(ctx, o.Item, o.Amount); err != nil {
		return err
	}
	if err := ctx.Enqueue("orders/void", o, 0); err != nil {
		return err
	}
	return tell(ctx, o, "failed", why)
}

func tell(ctx *headgate.Context, o order, status, why string) error {
	return ctx.Publish("orders/"+o.ID+"/status", map[string]string{"status": status, "why": why}, headgate.QoS(1))
}
