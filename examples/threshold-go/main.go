// Command threshold publishes {"high":true} when a reading passes config.high,
// {"high":false} when it is config.hysteresis below it again, and nothing in
// between.
package main

import (
	"encoding/json"
	"errors"

	headgate "github.com/headgate-io/headgate/sdk/go"
)

type reading struct {
	Value *float64 `json:"value"`
}

type alarm struct {
	High  bool    `json:"high"`
	Value float64 `json:"value"`
}

func init() {
	headgate.HandleJSON(handle)
	// What the encoder learns about alarm it learns before the clean state is
	// taken, and not in every event.
	headgate.Warm(func() { _, _ = json.Marshal(alarm{}) })
}

func main() {}

func handle(ctx *headgate.Context, r reading) error {
	if r.Value == nil {
		return errors.New("no value in the event")
	}
	var high, hysteresis float64
	if ok, err := ctx.Config("high", &high); !ok || err != nil {
		return errors.Join(errors.New("config.high is missing"), err)
	}
	if _, err := ctx.Config("hysteresis", &hysteresis); err != nil {
		return err
	}

	sensor := ctx.Param("sensor")
	_, err := ctx.Get(sensor) // there is a key while it is high
	was := err == nil
	if !was && !errors.Is(err, headgate.ErrNotFound) {
		return err
	}
	if was {
		high -= hysteresis
	}
	is := *r.Value > high
	if is == was {
		return nil
	}
	if is {
		err = ctx.Set(sensor, 1)
	} else {
		err = ctx.Delete(sensor)
	}
	if err != nil {
		return err
	}
	return ctx.Publish("alarms/"+sensor, alarm{is, *r.Value}, headgate.QoS(1), headgate.Retain())
}
