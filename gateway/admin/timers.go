package admin

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/headgate-io/headgate/gateway/admin/api"
)

func (s *Server) timers(a huma.API) {
	run := op("run-timer", http.MethodPost, "/v1/timers", "Fire a function's timer now, beside its schedule")
	huma.Register(a, run, func(ctx context.Context, in *struct{ Body api.TimerRun }) (*body[api.TimerRan], error) {
		return answer(s.deps.Timers.RunTimer(ctx, in.Body))
	})
}
