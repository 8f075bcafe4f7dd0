package server

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/headgate-io/headgate/controller/api"
	"github.com/headgate-io/headgate/controller/store"
)

func (s *Server) audit() {
	read(s, op("list-changes", http.MethodGet, "/v1/audit", "List who changed what, newest first"), readAudit,
		func(ctx context.Context, tx *store.Tx, w *who, in *Paging) (api.Page[api.Change], error) {
			names := named{}
			return listed(*in, func(p store.Page) ([]store.Change, error) {
				list, err := tx.Changes(ctx, w.tenant(), p)
				if err != nil {
					return nil, err
				}
				return list, names.find(ctx, tx, w.tenant(), list)
			}, func(c store.Change) string { return c.ID }, shown(func(c store.Change) api.Change {
				return api.Change{
					ID: c.ID, At: c.At, Actor: c.Actor, Token: c.Token, Address: c.Address, Action: c.Action, Object: c.Object, Name: names[c.ID],
					Before: raw(c.Before), After: raw(c.After),
				}
			}))
		})
}

// named is what people call the gateways and tenants that changes are about, by
// the ID of the change.
type named map[string]string

// find has each by the name that it had in the change, else by the one that it
// has.
func (n named) find(ctx context.Context, tx *store.Tx, tenant string, list []store.Change) error {
	tenants, gateways := map[string]string{}, map[string]string{}
	var ids []string
	for _, c := range list {
		switch kind, id, _ := object(c); kind {
		case "gateway":
			ids = append(ids, id)
		case "tenant":
			if _, known := tenants[id]; known {
				continue
			}
			t, err := tx.Tenant(ctx, id)
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
			tenants[id] = t.Name
		}
	}
	all, err := tx.GatewaysOf(ctx, ids)
	if err != nil {
		return err
	}
	for _, g := range all {
		if g.Tenant == tenant {
			gateways[g.ID] = g.Name
		}
	}
	for _, c := range list {
		kind, id, then := object(c)
		switch {
		case then != "":
			n[c.ID] = then
		case kind == "gateway":
			n[c.ID] = gateways[id]
		case kind == "tenant":
			n[c.ID] = tenants[id]
		}
	}
	return nil
}

// object is what a change is about, and what a gateway or tenant was called then
// where the change says it.
func object(c store.Change) (kind, id, name string) {
	kind, id, _ = strings.Cut(c.Object, "/")
	if kind != "gateway" && kind != "tenant" {
		return "", "", ""
	}
	id, _, part := strings.Cut(id, "/")
	if part { // it is about a part of it
		return kind, id, ""
	}
	for _, document := range []string{c.After, c.Before} {
		var had struct {
			Name string `json:"name"`
		}
		if json.Unmarshal([]byte(document), &had) == nil && had.Name != "" {
			return kind, id, had.Name
		}
	}
	return kind, id, ""
}

func raw(s string) any {
	if s == "" {
		return nil
	}
	return json.RawMessage(s)
}
