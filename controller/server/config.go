package server

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/headgate-io/headgate/controller/api"
	"github.com/headgate-io/headgate/controller/fleet"
	"github.com/headgate-io/headgate/controller/label"
	"github.com/headgate-io/headgate/controller/store"
	"github.com/headgate-io/headgate/function"
)

// Bounds of one change of configuration.
const (
	maxKeys     = 256
	maxKeyBytes = 128
)

func (s *Server) config() {
	change(s, op("set-config", http.MethodPost, "/v1/config", "Set configuration of a function everywhere, for a selector or for one gateway"), writeFleet, s.setConfig)
	read(s, op("list-config", http.MethodGet, "/v1/config", "List where configuration is set"), readFleet,
		func(ctx context.Context, tx *store.Tx, w *who, in *ConfigQuery) (api.Page[api.ConfigLayer], error) {
			return listed(in.Paging, func(p store.Page) ([]store.ConfigLayer, error) {
				return tx.ConfigLayers(ctx, w.tenant(), in.Function, p)
			}, func(l store.ConfigLayer) string { return l.ID }, shown(apiLayer))
		})
	read(s, op("list-config-history", http.MethodGet, "/v1/config/history", "List the changes of configuration, newest first"), readFleet,
		func(ctx context.Context, tx *store.Tx, w *who, in *ConfigQuery) (api.Page[api.ConfigEntry], error) {
			return listed(in.Paging, func(p store.Page) ([]store.ConfigChange, error) {
				return tx.ConfigChanges(ctx, w.tenant(), in.Function, p)
			}, func(c store.ConfigChange) string { return c.ID }, shown(apiEntry))
		})
	change(s, op("revert-config", http.MethodPost, "/v1/config/{change}/revert", "Take a change of configuration back"), writeFleet, s.revertConfig)
}

// ConfigQuery narrows configuration down.
type ConfigQuery struct {
	Paging
	Function string `query:"function" maxLength:"63" doc:"All when left out"`
}

func (s *Server) setConfig(ctx context.Context, tx *store.Tx, w *who, in *struct{ Body api.ConfigChange }) (out api.ConfigLayer, e effect, err error) {
	b := in.Body
	if !function.ValidName(b.Function) {
		return out, e, refusal(fmt.Sprintf("function: %q is not a function's name", b.Function))
	}
	if b.Selector != "" && b.Gateway != "" {
		return out, e, refusal("set it for a selector or for a gateway, not for both")
	}
	if len(b.Values) == 0 || len(b.Values) > maxKeys {
		return out, e, refusal(fmt.Sprintf("values: want 1 to %d keys", maxKeys))
	}
	selector, err := label.Parse(b.Selector)
	if err != nil {
		return out, e, refusal(err.Error())
	}
	c := store.ConfigChange{Function: b.Function, Selector: selector.String(), After: map[string]json.RawMessage{}}
	if b.Gateway != "" {
		g, err := tx.GatewayOf(ctx, w.tenant(), b.Gateway)
		if err != nil {
			return out, e, err
		}
		c.Gateway = g.ID
	}
	for key, value := range b.Values {
		if key == "" || len(key) > maxKeyBytes {
			return out, e, refusal(fmt.Sprintf("values: a key has 1 to %d bytes", maxKeyBytes))
		}
		if c.After[key], err = json.Marshal(value); err != nil {
			return out, e, err
		}
	}
	return s.applyConfig(ctx, tx, w, c)
}

var null = json.RawMessage("null")

// applyConfig makes a change, of which Before is not known yet.
func (s *Server) applyConfig(ctx context.Context, tx *store.Tx, w *who, c store.ConfigChange) (out api.ConfigLayer, e effect, err error) {
	l, err := s.layer(ctx, tx, w, c)
	if err != nil {
		return out, e, err
	}
	now := s.deps.Now().UTC().Truncate(time.Microsecond)
	c.ID, c.Tenant, c.At, c.ChangedBy, c.Before = store.NewConfigChange(now), w.tenant(), now, w.Account.Name, map[string]json.RawMessage{}
	for key, value := range c.After {
		c.Before[key] = null
		if old, had := l.Settings[key]; had {
			c.Before[key] = old.Value
		}
		if bytes.Equal(value, null) {
			delete(l.Settings, key)
		} else {
			l.Settings[key] = store.Setting{Value: value, Change: c.ID}
		}
	}
	l.Changed, l.ChangedBy = now, c.ChangedBy
	if text, err := json.Marshal(l.Settings); err != nil || len(text) > fleet.MaxConfigBytes {
		return out, e, refusal(fmt.Sprintf("values: more than %d bytes would be set there", fleet.MaxConfigBytes))
	}
	if err := tx.SetConfigLayer(ctx, l); err != nil {
		return out, e, err
	}
	if err := tx.AddConfigChange(ctx, c); err != nil {
		return out, e, err
	}
	w.then = s.kick
	entry := apiEntry(c)
	return apiLayer(l), effect{"config.set", "config/" + c.Function, entry.Before, entry}, tx.ChangeFleet(ctx, w.tenant())
}

// layer is the layer that a change is of, as it is.
func (s *Server) layer(ctx context.Context, tx *store.Tx, w *who, c store.ConfigChange) (store.ConfigLayer, error) {
	list, err := tx.ConfigLayers(ctx, w.tenant(), "", store.Page{Limit: fleet.MaxLayers})
	if err != nil {
		return store.ConfigLayer{}, err
	}
	i := slices.IndexFunc(list, func(l store.ConfigLayer) bool {
		return l.Function == c.Function && l.Selector == c.Selector && l.Gateway == c.Gateway
	})
	switch {
	case i >= 0:
		l := list[i]
		l.Settings = maps.Clone(l.Settings)
		if l.Settings == nil {
			l.Settings = map[string]store.Setting{}
		}
		return l, nil
	case len(list) >= fleet.MaxLayers:
		return store.ConfigLayer{}, huma.Error409Conflict(fmt.Sprintf("configuration is set at %d places already: use labels, so that fewer do", len(list)))
	}
	return store.ConfigLayer{
		ID: store.NewID(), Tenant: w.tenant(), Function: c.Function, Selector: c.Selector, Gateway: c.Gateway, Settings: map[string]store.Setting{},
	}, nil
}

func (s *Server) revertConfig(ctx context.Context, tx *store.Tx, w *who, in *struct {
	Change string `path:"change" maxLength:"64"`
},
) (out api.ConfigLayer, e effect, err error) {
	c, err := tx.ConfigChange(ctx, w.tenant(), in.Change)
	if err != nil {
		return out, e, err
	}
	if c.Gateway != "" {
		if _, err := tx.GatewayOf(ctx, w.tenant(), c.Gateway); err != nil {
			return out, e, huma.Error409Conflict("the gateway that the change was for is not there any more")
		}
	}
	l, err := s.layer(ctx, tx, w, c)
	if err != nil {
		return out, e, err
	}
	for key, value := range c.After {
		is := null
		if present, there := l.Settings[key]; there {
			is = present.Value
		}
		if !bytes.Equal(is, value) {
			return out, e, huma.Error409Conflict(fmt.Sprintf("%s is %s by now, and not %s: take the later change back first, or set what it shall be", key, is, value))
		}
	}
	out, e, err = s.applyConfig(ctx, tx, w, store.ConfigChange{Function: c.Function, Selector: c.Selector, Gateway: c.Gateway, After: c.Before, Reverts: c.ID})
	e.action = "config.revert"
	return out, e, err
}

func apiLayer(l store.ConfigLayer) api.ConfigLayer {
	out := api.ConfigLayer{
		ID: l.ID, Function: l.Function, Selector: l.Selector, Gateway: l.Gateway, Values: map[string]any{}, Changed: l.Changed, ChangedBy: l.ChangedBy,
	}
	for key, s := range l.Settings {
		out.Values[key] = s.Value
	}
	return out
}

func apiEntry(c store.ConfigChange) api.ConfigEntry {
	out := api.ConfigEntry{
		ID: c.ID, Function: c.Function, Selector: c.Selector, Gateway: c.Gateway, Before: map[string]any{}, After: map[string]any{},
		Changed: c.At, ChangedBy: c.ChangedBy, Reverts: c.Reverts,
	}
	for key, v := range c.Before {
		out.Before[key] = v
	}
	for key, v := range c.After {
		out.After[key] = v
	}
	return out
}
