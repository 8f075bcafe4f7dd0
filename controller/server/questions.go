package server

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/headgate-io/headgate/controller/api"
	"github.com/headgate-io/headgate/controller/fleet"
	"github.com/headgate-io/headgate/controller/store"
	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sync/wire"
)

// maxOpenQuestions bounds how many questions of a gateway may wait for answers.
const maxOpenQuestions = 16

// QuestionPath names a question to a gateway.
type QuestionPath struct {
	GatewayPath
	Question string `path:"question" maxLength:"64"`
}

func (s *Server) questions() {
	create := op("ask-gateway", http.MethodPost, "/v1/gateways/{gateway}/questions", "Ask a gateway for its logs, or what its doctor says")
	create.DefaultStatus = http.StatusCreated
	change(s, create, writeFleet, s.ask)
	read(s, op("list-questions", http.MethodGet, "/v1/gateways/{gateway}/questions", "List what a gateway was asked, newest first, without the answers"), readFleet,
		func(ctx context.Context, tx *store.Tx, w *who, in *struct {
			GatewayPath
			Paging
		},
		) (api.Page[api.Question], error) {
			return listed(in.Paging, func(p store.Page) ([]store.Question, error) {
				g, err := tx.GatewayOf(ctx, w.tenant(), in.Gateway)
				if err != nil {
					return nil, err
				}
				return tx.Questions(ctx, g.ID, p)
			}, func(q store.Question) string { return q.ID }, shown(apiQuestion))
		})
	read(s, op("get-question", http.MethodGet, "/v1/gateways/{gateway}/questions/{question}", "Show a question and its answer"), readFleet,
		func(ctx context.Context, tx *store.Tx, w *who, in *QuestionPath) (api.Question, error) {
			g, err := tx.GatewayOf(ctx, w.tenant(), in.Gateway)
			if err != nil {
				return api.Question{}, err
			}
			q, err := tx.Question(ctx, g.ID, in.Question)
			if err != nil {
				return api.Question{}, err
			}
			out := apiQuestion(q)
			if len(q.Answer) > 0 {
				out.Answer, err = fleet.Unpack(q.Answer)
			}
			return out, err
		})
}

func (s *Server) ask(ctx context.Context, tx *store.Tx, w *who, in *struct {
	GatewayPath
	Body api.NewQuestion
},
) (out api.Question, e effect, err error) {
	b := in.Body
	if b.Function != "" && (b.What != wire.AskLogs || !function.ValidName(b.Function)) {
		return out, e, refusal(fmt.Sprintf("function: %q: it is a function's name, and for logs alone", b.Function))
	}
	g, err := tx.GatewayOf(ctx, w.tenant(), in.Gateway)
	if err != nil {
		return out, e, err
	}
	if !g.Revoked.IsZero() {
		return out, e, huma.Error409Conflict("the gateway is revoked: nothing is said to it")
	}
	now := s.deps.Now().UTC().Truncate(time.Microsecond)
	open, err := tx.OpenQuestions(ctx, g.ID, now)
	if err != nil {
		return out, e, err
	}
	if len(open) >= maxOpenQuestions {
		return out, e, huma.Error409Conflict(fmt.Sprintf("%d questions to this gateway wait for answers: wait for them, or until they expire", len(open)))
	}
	q := store.Question{
		Gateway: g.ID, What: b.What, Function: b.Function, Lines: b.Lines, Asked: now, AskedBy: w.Account.Name, Expires: now.Add(seconds(b.Seconds)),
	}
	if q.ID, err = tx.AddQuestion(ctx, q); err != nil {
		return out, e, err
	}
	w.then = func(ctx context.Context) { s.deps.Fleet.Ask(ctx, q) }
	out = apiQuestion(q)
	return out, effect{"gateway.ask", "gateway/" + g.ID, nil, out}, nil
}

func apiQuestion(q store.Question) api.Question {
	return api.Question{ID: q.ID, Gateway: q.Gateway, What: q.What, Asked: q.Asked, Expires: q.Expires, Answered: q.Answered, Error: q.Error, Cut: q.Cut}
}
