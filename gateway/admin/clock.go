package admin

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/headgate-io/headgate/gateway/admin/api"
)

// Clock is the gateway's idea of the time.
type Clock interface {
	Show() api.Clock
	// Set takes a person's word for the time.
	Set(ctx context.Context, now time.Time) error
}

// Bounds of what a person may say that it is.
var earliest, latest = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)

func (s *Server) clock(a huma.API) {
	huma.Register(a, op("show-clock", http.MethodGet, "/v1/clock", "Say what time it is and how far that can be relied on"),
		func(context.Context, *struct{}) (*body[api.Clock], error) {
			return answer(s.deps.Clock.Show(), nil)
		})
	huma.Register(a, op("set-clock", http.MethodPut, "/v1/clock", "Confirm the time, where no time server does"),
		func(ctx context.Context, in *struct{ Body api.SetClock }) (*body[api.Clock], error) {
			if t := in.Body.Time; t.Before(earliest) || t.After(latest) {
				return nil, problem(Refusal(fmt.Errorf("%s cannot be the time now", t.UTC().Format(time.RFC3339))))
			}
			if err := s.deps.Clock.Set(ctx, in.Body.Time); err != nil {
				return nil, problem(err)
			}
			return answer(s.deps.Clock.Show(), nil)
		})
}
