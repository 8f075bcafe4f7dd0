// Command conform makes every call of the ABI that a Go function can.
package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	headgate "github.com/headgate-io/headgate/sdk/go"
)

func init() { headgate.Handle(handle) }
func main() {}

func handle(ctx *headgate.Context) error {
	var in struct{ Value float64 }
	if err := ctx.JSON(&in); err != nil || in.Value != -275 {
		return fmt.Errorf("input %v: %w", in, err)
	}
	if ctx.Param("field") != "3" || ctx.Params()["field"] != "3" {
		return errors.New("param")
	}
	if _, ok := ctx.Meta("nothing"); ok {
		return errors.New("meta")
	}
	target := 0
	if ok, err := ctx.Config("target", &target); !ok || err != nil || target != 32 {
		return fmt.Errorf("config: %w", err)
	}
	if _, err := ctx.Get("missing"); !errors.Is(err, headgate.ErrNotFound) {
		return fmt.Errorf("missing: %w", err)
	}
	if _, err := ctx.Get("other:x"); !errors.Is(err, headgate.ErrDenied) {
		return fmt.Errorf("denied: %w", err)
	}
	runs := 0
	if _, err := ctx.GetJSON("runs", &runs); err != nil {
		return err
	}
	if err := errors.Join(ctx.Set("runs", runs+1), ctx.SetFor("soil-1", "1", time.Minute), ctx.Delete("old")); err != nil {
		return err
	}
	if v, err := ctx.Get("runs"); err != nil || string(v) != "42" {
		return fmt.Errorf("own write %q: %w", v, err)
	}
	keys, err := ctx.List("")
	if err != nil {
		return err
	}
	err = errors.Join(
		ctx.Publish("farm/3/valve", "open", headgate.QoS(1), headgate.Retain(), headgate.Expiry(90*time.Second)),
		ctx.Enqueue("jobs", map[string]int{"a": 1}, 5*time.Second),
		ctx.Invoke("other", "hi"),
		ctx.OutputMeta("kind", "test"))
	if err != nil {
		return err
	}
	if err := ctx.Publish("secret/x", ""); !errors.Is(err, headgate.ErrDenied) {
		return fmt.Errorf("publish: %w", err)
	}
	if v, err := ctx.Secret("k"); err != nil || string(v) != "s3cret" {
		return fmt.Errorf("secret %q: %w", v, err)
	}
	if _, err := ctx.Secret("unset"); !errors.Is(err, headgate.ErrNotFound) {
		return fmt.Errorf("unset secret: %w", err)
	}
	if _, err := ctx.Secret("other"); !errors.Is(err, headgate.ErrDenied) {
		return fmt.Errorf("undeclared secret: %w", err)
	}
	ctx.Metric("moisture", 27.5)
	ctx.Log(headgate.Info, "conform")
	return ctx.Output(strings.Join(keys, " ") + " ")
}
