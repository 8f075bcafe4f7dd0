package server

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/headgate-io/headgate/controller/api"
	"github.com/headgate-io/headgate/controller/fleet"
	"github.com/headgate-io/headgate/controller/label"
	"github.com/headgate-io/headgate/controller/store"
	"github.com/headgate-io/headgate/sync/ota"
)

func (s *Server) states() {
	read(s, op("get-gateway-state", http.MethodGet, "/v1/gateways/{gateway}/state", "Show what is wanted of a gateway, and how it is"), readFleet,
		func(ctx context.Context, tx *store.Tx, w *who, in *GatewayPath) (api.GatewayState, error) {
			g, err := tx.GatewayOf(ctx, w.tenant(), in.Gateway)
			if err != nil {
				return api.GatewayState{}, err
			}
			list, err := s.deps.Fleet.States(ctx, tx, w.tenant(), []store.Gateway{g})
			if err != nil {
				return api.GatewayState{}, err
			}
			return list[0], nil
		})
	read(s, op("list-states", http.MethodGet, "/v1/states", "List what is wanted of the gateways, and how they are, by name"), readFleet, s.listStates)
	read(s, op("list-telemetry", http.MethodGet, "/v1/gateways/{gateway}/telemetry", "List the newest message of each topic that a gateway sends, by topic"), readFleet, s.listTelemetry)
}

// stateBatch is how many gateways' states are made at once.
const stateBatch = 100

func (s *Server) listStates(ctx context.Context, tx *store.Tx, w *who, in *struct {
	Paging
	Selector string `query:"selector" maxLength:"1024" doc:"As site=north,batch!=7,!retired"`
	Drift    bool   `query:"drift" doc:"Only gateways that are not as they shall be"`
},
) (api.Page[api.GatewayState], error) {
	out := api.Page[api.GatewayState]{Items: []api.GatewayState{}}
	p, err := in.page()
	if err != nil {
		return out, err
	}
	selector, err := label.Parse(in.Selector)
	if err != nil {
		return out, refusal(err.Error())
	}
	var matching []api.GatewayState
	for most := p.Limit; len(matching) < most; {
		list, err := tx.Gateways(ctx, w.tenant(), store.Page{After: p.After, Limit: stateBatch})
		if err != nil {
			return out, err
		}
		var chosen []store.Gateway
		for _, g := range list {
			if selector.Match(g.Labels) {
				chosen = append(chosen, g)
			}
		}
		states, err := s.deps.Fleet.States(ctx, tx, w.tenant(), chosen)
		if err != nil {
			return out, err
		}
		for _, v := range states {
			if (v.Drift || !in.Drift) && len(matching) < most {
				matching = append(matching, v)
			}
		}
		if len(list) < stateBatch {
			break
		}
		p.After = list[len(list)-1].Name
	}
	matching, out.Next = next(in.Paging, matching, func(v api.GatewayState) string { return v.Name })
	out.Items = append(out.Items, matching...)
	return out, nil
}

func (s *Server) listTelemetry(ctx context.Context, tx *store.Tx, w *who, in *struct {
	GatewayPath
	Paging
},
) (api.Page[api.TelemetryValue], error) {
	return listed(in.Paging, func(p store.Page) ([]store.Telemetry, error) {
		g, err := tx.GatewayOf(ctx, w.tenant(), in.Gateway)
		if err != nil {
			return nil, err
		}
		return tx.TelemetryOf(ctx, g.ID, p)
	}, func(v store.Telemetry) string { return v.Topic }, shown(apiTelemetry))
}

func apiTelemetry(v store.Telemetry) api.TelemetryValue {
	out := api.TelemetryValue{Gateway: v.Gateway, Topic: v.Topic, Time: v.At, Payload: v.Payload}
	if json.Valid(v.Payload) {
		out.JSON = json.RawMessage(v.Payload)
	}
	return out
}

// targets lists what is signed.
func (s *Server) targets() {
	read(s, op("list-targets", http.MethodGet, "/v1/targets", "List what is signed in the tenant's repository, by name"), readFleet,
		func(_ context.Context, _ *store.Tx, w *who, in *struct {
			Paging
			Function string `query:"function" maxLength:"64" doc:"Of this function, or system; all when left out"`
		},
		) (api.Page[api.Target], error) {
			out := api.Page[api.Target]{Items: []api.Target{}}
			p, err := in.page()
			if err != nil {
				return out, err
			}
			all, err := s.deps.Targets(w.tenant())
			if err != nil {
				return out, err
			}
			var matching []ota.Target
			for _, t := range all {
				of := in.Function == "" || in.Function == t.Function && t.Kind == ota.Function || in.Function == fleet.System && t.Kind == ota.System
				if of && t.Name > p.After && len(matching) < p.Limit {
					matching = append(matching, t)
				}
			}
			matching, out.Next = next(in.Paging, matching, func(t ota.Target) string { return t.Name })
			for _, t := range matching {
				out.Items = append(out.Items, api.Target{
					Name: t.Name, Kind: string(t.Kind), Function: t.Function, Arch: t.Arch, Version: t.Version, SHA256: t.SHA256, Digest: t.Digest,
					Bytes: t.Bytes, Published: t.Published, Aliases: t.Aliases,
				})
			}
			return out, nil
		})
}
