// Package once runs a function on one event by itself, outside any gateway: for
// tests of recorded events and for replays.
package once

import (
	"context"
	"errors"
	"fmt"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/grant"
	"github.com/headgate-io/headgate/sandbox"
	"github.com/headgate-io/headgate/sandbox/host"
)

// Outside is what a function reaches beyond its state.
type Outside struct {
	Secrets host.Secrets
	Fetcher host.Fetcher
	Sensors host.Sensors
}

// Run compiles the function and runs it in a fresh instance. The result's
// output belongs to the calls.
func Run(ctx context.Context, engine *sandbox.Engine, spec *function.Spec, files map[string][]byte, out Outside, in host.Invocation) (*host.Calls, function.Result, error) {
	var r function.Result
	g, err := grant.New(spec)
	if err != nil {
		return nil, r, err
	}
	config, err := spec.ConfigJSON()
	if err != nil {
		return nil, r, fmt.Errorf("function %s: config: %w", spec.Name, err)
	}
	module, err := engine.Compile(ctx, sandbox.Code{Name: spec.Name, Main: spec.Main, Files: files, Export: spec.Export}, spec.Limits, sandbox.Setup{Config: config})
	if err != nil {
		return nil, r, err
	}
	pool := engine.NewPool(module, sandbox.PoolConfig{Concurrency: 1})
	calls := new(host.Calls)
	calls.Reset(g.WithSecrets(spec.Secrets, out.Secrets).WithFetcher(out.Fetcher).WithSensors(out.Sensors), in)
	r = pool.Invoke(ctx, calls)
	return calls, r, errors.Join(pool.Close(ctx), module.Close(ctx))
}
