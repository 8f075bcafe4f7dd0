package admin

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/sync/usage"
)

func (s *Server) usage(a huma.API) {
	huma.Register(a, op("list-usage", http.MethodGet, "/v1/usage", "Show what functions used"),
		func(ctx context.Context, in *struct {
			Function string    `query:"function"`
			Since    time.Time `query:"since"`
			Minutes  bool      `query:"minutes" doc:"one row a minute instead of one in all"`
		},
		) (*body[[]api.Usage], error) {
			list, err := s.readUsage(ctx, store.UsageQuery{Function: in.Function, From: in.Since}, in.Minutes)
			return answer(list, err)
		})
}

const usagePage = 10_000

// readUsage goes through the rollups a page at a time.
func (s *Server) readUsage(ctx context.Context, q store.UsageQuery, minutes bool) ([]api.Usage, error) {
	q.Limit = usagePage
	out := []api.Usage{}
	totals := map[usage.Key]*usage.Rollup{}
	for {
		page, err := s.deps.Store.Usage(ctx, q)
		if err != nil {
			return nil, err
		}
		// A full page may end inside a minute: that minute is read again.
		more := len(page) == usagePage
		if more {
			last := page[len(page)-1].Minute
			if page[0].Minute == last {
				return nil, fmt.Errorf("more than %d rollups in one minute", usagePage)
			}
			page = slices.DeleteFunc(page, func(r usage.Rollup) bool { return r.Minute == last })
			q.From = time.Unix(last*60, 0)
		}
		for i := range page {
			if minutes {
				out = append(out, usageRow(&page[i]))
			} else {
				sumUsage(totals, &page[i])
			}
		}
		if !more {
			break
		}
	}
	for _, r := range totals {
		out = append(out, usageRow(r))
	}
	if !minutes {
		slices.SortFunc(out, func(a, b api.Usage) int {
			return cmp.Or(cmp.Compare(a.Function, b.Function), cmp.Compare(a.Version, b.Version))
		})
	}
	return out, nil
}

func sumUsage(totals map[usage.Key]*usage.Rollup, r *usage.Rollup) {
	key := usage.Key{Function: r.Function, Version: r.Version}
	if t := totals[key]; t != nil {
		t.Merge(&r.Totals)
		return
	}
	first := *r
	totals[key] = &first
}

func usageRow(r *usage.Rollup) api.Usage {
	u := api.Usage{
		Function: r.Function, Version: r.Version, Minute: r.Time(), Requests: r.Requests(), Fuel: r.Fuel,
		Duration: time.Duration(r.DurationNanos), GBSeconds: r.GBSeconds(), ColdStarts: r.ColdStarts,
		BytesIn: r.BytesIn, BytesOut: r.BytesOut, BytesWritten: r.BytesWritten,
		TimeEstimated: r.TimeEstimated, TimeUnknown: r.TimeUnknown, Errors: map[string]uint64{},
	}
	for o, n := range r.Outcomes {
		if o := function.Outcome(o); o != function.OK && n > 0 {
			u.Errors[o.String()] = n
		}
	}
	return u
}
