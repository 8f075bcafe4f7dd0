package recording

import (
	"context"
	"errors"
	"fmt"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/grant"
	"github.com/headgate-io/headgate/sandbox"
	"github.com/headgate-io/headgate/sandbox/host"
)

// Replay is one recording run again.
type Replay struct {
	Outcome Outcome
	// Unanswered is what the code asked that the recording does not say.
	Unanswered []string
	// Differences from the recorded outcome; none where all is the same.
	Differences []Difference
}

// Run runs code, as spec says, on the recording's event, with its answers.
// same says that it is the code that was recorded: then fuel is compared too.
func (r *Recording) Run(ctx context.Context, engine *sandbox.Engine, spec function.Spec, code sandbox.Code, secrets map[string]string, same bool) (*Replay, error) {
	p, err := r.Play(secrets)
	if err != nil {
		return nil, err
	}
	spec.Limits = spec.Limits.WithDefaults()
	g, err := grant.New(&spec)
	if err != nil {
		return nil, err
	}
	config, err := spec.ConfigJSON()
	if err != nil {
		return nil, fmt.Errorf("function %s: config: %w", spec.Name, err)
	}
	module, err := engine.Compile(ctx, code, spec.Limits, sandbox.Setup{Config: config})
	if err != nil {
		return nil, err
	}
	pool := engine.NewPool(module, sandbox.PoolConfig{Concurrency: 1})
	calls := new(host.Calls)
	calls.Reset(g.WithSecrets(spec.Secrets, p).WithFetcher(p), p.Invocation())
	result := pool.Invoke(ctx, calls)
	out := &Replay{Outcome: outcomeOf(calls, &result), Unanswered: p.Unanswered()}
	out.Differences = Compare(&r.Outcome, &out.Outcome, same)
	return out, errors.Join(pool.Close(ctx), module.Close(ctx))
}
