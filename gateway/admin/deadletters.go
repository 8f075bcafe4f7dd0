package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/store"
)

// Undertaker moves dead letters. What it returns after an error is done.
type Undertaker interface {
	Redrive(ctx context.Context, q store.DeadLetterQuery) (int, error)
	DropDeadLetters(ctx context.Context, q store.DeadLetterQuery) (int, error)
}

func (s *Server) deadLetters(a huma.API) {
	huma.Register(a, op("list-dead-letters", http.MethodGet, "/v1/deadletters", "List the events that were given up, oldest first, a page at a time"),
		func(ctx context.Context, in *struct {
			Function string `query:"function" maxLength:"64"`
			After    int64  `query:"after" doc:"the last id of the page before"`
			Limit    int    `query:"limit" minimum:"1" maximum:"1000" default:"1000"`
		},
		) (*body[[]api.DeadLetter], error) {
			letters, err := s.deps.Store.DeadLetters(ctx, in.Function, in.After, in.Limit)
			out := make([]api.DeadLetter, 0, len(letters))
			for i := range letters {
				out = append(out, deadLetter(&letters[i]))
			}
			return answer(out, err)
		})
	huma.Register(a, op("show-dead-letter", http.MethodGet, "/v1/deadletters/{id}", "Show a dead letter with its event"),
		func(ctx context.Context, in *struct {
			ID int64 `path:"id" minimum:"1"`
		},
		) (*body[api.DeadLetterDetail], error) {
			l, err := s.deps.Store.DeadLetter(ctx, in.ID)
			if err != nil {
				return nil, problem(err)
			}
			return answer(deadLetterDetail(l), nil)
		})
	type choice struct{ Body api.DeadLetterChoice }
	huma.Register(a, op("redrive-dead-letters", http.MethodPost, "/v1/deadletters/redrive", "Put dead letters at the tails of their functions' queues"),
		func(ctx context.Context, in *choice) (*body[api.DeadLettersDone], error) {
			return answer(chosen(ctx, &in.Body, s.deps.Undertaker.Redrive))
		})
	huma.Register(a, op("drop-dead-letters", http.MethodPost, "/v1/deadletters/drop", "Delete dead letters"),
		func(ctx context.Context, in *choice) (*body[api.DeadLettersDone], error) {
			return answer(chosen(ctx, &in.Body, s.deps.Undertaker.DropDeadLetters))
		})
}

// chosen does something with the dead letters that are meant.
func chosen(ctx context.Context, c *api.DeadLetterChoice, do func(context.Context, store.DeadLetterQuery) (int, error)) (api.DeadLettersDone, error) {
	ways := 0
	for _, named := range []bool{len(c.IDs) > 0, c.Function != "", c.All} {
		if named {
			ways++
		}
	}
	if ways != 1 {
		return api.DeadLettersDone{}, Refusal(errors.New("say which dead letters: give ids, a function, or all"))
	}
	queries := []store.DeadLetterQuery{{Function: c.Function}}
	if len(c.IDs) > 0 {
		queries = queries[:0]
		for _, id := range c.IDs {
			if id < 1 {
				return api.DeadLettersDone{}, Refusal(fmt.Errorf("%d is no dead letter's id", id))
			}
			queries = append(queries, store.DeadLetterQuery{ID: id})
		}
	}
	var out api.DeadLettersDone
	for _, q := range queries {
		n, err := do(ctx, q)
		out.Letters += n
		if err == nil {
			continue
		}
		if out.Letters > 0 {
			err = fmt.Errorf("%w (%d before it are done)", err, out.Letters)
		}
		var full *store.QuotaError
		if errors.As(err, &full) {
			err = Refusal(err)
		}
		return out, err
	}
	return out, nil
}

func deadLetter(d *store.DeadLetter) api.DeadLetter {
	out := api.DeadLetter{
		ID: d.ID, Function: d.Function, Version: d.Version, Key: d.Key, Blocks: d.Blocks, Attempts: d.Attempt,
		Reason: d.Reason, Error: d.Error, Time: d.Died,
	}
	if d.Event != nil {
		out.EventID, out.Subject = d.Event.ID, d.Event.Subject
	}
	if out.Error == "" {
		out.Error = d.Reason
	}
	return out
}

func deadLetterDetail(d *store.DeadLetter) api.DeadLetterDetail {
	e := d.Event
	out := api.DeadLetterDetail{
		DeadLetter: deadLetter(d), Arrived: d.Arrived, Source: e.Source, Type: e.Type, EventTime: e.Time, ContentType: e.DataContentType,
		Hops: e.Hops, Extensions: e.Extensions, Data: e.Data,
	}
	if len(d.Params) > 0 {
		out.Params = make(map[string]string, len(d.Params))
		for _, p := range d.Params {
			out.Params[p.Name] = p.Value
		}
	}
	return out
}
