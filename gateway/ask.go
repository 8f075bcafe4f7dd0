package gateway

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/klauspost/compress/zstd"

	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/sync/wire"
)

// Bounds of what is told of logs, before compression.
const (
	defaultAskedLines = 100
	maxAnswerRaw      = 4 << 20
)

// answerAsk answers a question of the controller.
func (g *Gateway) answerAsk(ctx context.Context, ask *wire.Ask) *wire.Answer {
	var a *wire.Answer
	var err error
	switch ask.What {
	case wire.AskDoctor:
		a, err = answerJSON(g.examine(ctx))
	case wire.AskLogs:
		a, err = g.answerLogs(ask)
	default:
		err = fmt.Errorf("this version (%s) does not know what %.40q is", Version(), ask.What)
	}
	if err != nil {
		return &wire.Answer{Error: cut(err.Error())}
	}
	return a
}

// answerLogs tells the newest lines of a function, or of all, as many as fit.
// What of them was a secret has been taken out where they were logged.
func (g *Gateway) answerLogs(ask *wire.Ask) (*wire.Answer, error) {
	limit := min(ask.Lines, keptLogs)
	if limit <= 0 {
		limit = defaultAskedLines
	}
	var keep func(*api.LogLine) bool
	if ask.Function != "" {
		keep = func(l *api.LogLine) bool { return l.Function == ask.Function }
	}
	lines := g.tails.Logs.Last(limit, keep)
	if lines == nil {
		lines = []api.LogLine{}
	}
	dropped := false
	for {
		a, err := answerJSON(lines)
		if err != nil || a != nil && len(a.Body) <= wire.MaxAnswerBytes {
			if a != nil {
				a.Cut = dropped
			}
			return a, err
		}
		lines, dropped = lines[(len(lines)+1)/2:], true // the newest say most
	}
}

// answerJSON is an answer of JSON, compressed; nil is one that is too long.
func answerJSON(v any) (*wire.Answer, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	if len(raw) > maxAnswerRaw {
		return nil, nil
	}
	z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(256<<10), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, err
	}
	return &wire.Answer{Body: z.EncodeAll(raw, nil)}, z.Close()
}
