package recording

import (
	"context"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/once"
	"github.com/headgate-io/headgate/sandbox"
)

// Replay is one recording run again.
type Replay struct {
	Outcome Outcome
	// Unanswered is what the code asked that the recording does not say.
	Unanswered []string
	// Differences from the recorded outcome; none where all is the same.
	Differences []Difference
}

// Run runs the files as spec says, on the recording's event, with its answers.
// same says that it is the code that was recorded: then fuel is compared too.
func (r *Recording) Run(ctx context.Context, engine *sandbox.Engine, spec function.Spec, files map[string][]byte, secrets map[string]string, same bool) (*Replay, error) {
	p, err := r.Play(secrets)
	if err != nil {
		return nil, err
	}
	spec.Limits = spec.Limits.WithDefaults()
	calls, result, err := once.Run(ctx, engine, &spec, files, once.Outside{Secrets: p, Fetcher: p, Sensors: p}, p.Invocation())
	if calls == nil {
		return nil, err
	}
	out := &Replay{Outcome: outcomeOf(calls, &result), Unanswered: p.Unanswered()}
	out.Differences = Compare(&r.Outcome, &out.Outcome, same)
	return out, err
}
