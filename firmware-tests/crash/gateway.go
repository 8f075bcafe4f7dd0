package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"

	"github.com/headgate-io/headgate/firmware-tests/observer"
	"github.com/headgate-io/headgate/firmware-tests/rig"
	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/admin/client"
)

// gateway is the binary under test. Its state outlives it.
type gateway struct{ *rig.Gateway }

// newGateway prepares a gateway whose offline sessions may keep all that a
// trial sends.
func newGateway(binary, dir string) (*gateway, error) {
	g, err := rig.New(binary, dir, "max_queued_messages: 1000000", "max_queued_bytes: 512MiB", "max_queued_bytes_total: 1GiB")
	return &gateway{g}, err
}

func (g *gateway) seen(ctx context.Context, function, publisher string) (s observer.Seen, err error) {
	err = g.state(ctx, function, publisher, &s)
	return s, err
}

// state reads one key; one that is not there leaves v alone.
func (g *gateway) state(ctx context.Context, function, key string, v any) error {
	var e api.StateEntry
	err := g.Client.Do(ctx, http.MethodGet, "/v1/state/"+function+"/entry?key="+url.QueryEscape(key), nil, &e)
	var refused *client.Error
	if errors.As(err, &refused) && refused.Status == http.StatusNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(e.Value, v)
}

// checkClean looks for instances that were not clean and for events that were
// given up.
func (g *gateway) checkClean(ctx context.Context, violate func(string, ...any)) error {
	for _, function := range observer.Functions {
		dirty := 0
		if err := g.state(ctx, function, "dirty", &dirty); err != nil {
			return err
		}
		if dirty > 0 {
			violate("%s: a variable of the guest was %d at the start of an invocation: its instance was not restored", function, dirty)
		}
	}
	var dead []api.DeadLetter
	if err := g.Client.Do(ctx, http.MethodGet, "/v1/deadletters", nil, &dead); err != nil {
		return err
	}
	for _, d := range dead {
		violate("%s: event %s became a dead letter: %s", d.Function, d.EventID, d.Error)
	}
	return nil
}
