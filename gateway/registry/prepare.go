package registry

import (
	"context"
	"errors"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/grant"
	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/gateway/timer"
	"github.com/headgate-io/headgate/gateway/trigger"
	"github.com/headgate-io/headgate/sandbox"
	"github.com/headgate-io/headgate/sandbox/host"
	"github.com/headgate-io/headgate/sync/bundle"
)

// prepared is a function of which all was checked but its code, with its
// defaults.
type prepared struct {
	spec   function.Spec
	timers []store.Timer
	grant  *host.Grant
}

func prepare(spec function.Spec) (*prepared, error) {
	spec.Limits, spec.Retry = spec.Limits.WithDefaults(), spec.Retry.WithDefaults()
	timers, err := timer.Of(&spec)
	g, faults := grant.New(&spec)
	if err := errors.Join(spec.Validate(), trigger.Check(triggerFunction(&spec, 0)), err, faults); err != nil {
		return nil, err
	}
	return &prepared{spec: spec, timers: timers, grant: g}, nil
}

// compile makes the function's code ready to run; log has what it says while its
// clean state is made, and may be nil.
func (p *prepared) compile(ctx context.Context, engine *sandbox.Engine, files map[string][]byte, log func(function.LogLine)) (*sandbox.Module, error) {
	config, err := p.spec.ConfigJSON()
	if err != nil {
		return nil, err
	}
	code := sandbox.Code{Name: p.spec.Name, Main: p.spec.Main, Files: files, Export: p.spec.Export}
	return engine.Compile(ctx, code, p.spec.Limits, sandbox.Setup{Config: config, Log: log})
}

// Try does with a bundle what every gateway does before it takes it, and keeps
// nothing of it, so that whoever signs one hears first what gateways would
// refuse. What only one of them can say is left out: the buckets that it has,
// and the routes of its other functions.
func Try(ctx context.Context, engine *sandbox.Engine, raw []byte) error {
	b, err := bundle.Open(raw)
	if err != nil {
		return err
	}
	p, err := prepare(b.Spec)
	if err != nil {
		return err
	}
	m, err := p.compile(ctx, engine, b.Files, nil)
	if err != nil {
		return err
	}
	return m.Close(ctx)
}
