package main

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"

	"github.com/headgate-io/headgate/firmware-tests/rig"
	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/admin/client"
)

// project is what the gateway runs: see project/*.js.
//
//go:embed project
var project embed.FS

// gateway is the binary under test. Its state outlives it.
type gateway struct{ *rig.Gateway }

// newGateway prepares a gateway whose offline sessions may keep all that a
// trial sends.
func newGateway(binary, dir string) (*gateway, error) {
	g, err := rig.New(binary, dir, "max_queued_messages: 1000000", "max_queued_bytes: 512MiB", "max_queued_bytes_total: 1GiB")
	return &gateway{g}, err
}

func (g *gateway) deploy(ctx context.Context) error {
	dir := filepath.Join(g.Dir, "project")
	files, err := fs.Sub(project, "project")
	if err != nil {
		return err
	}
	if err := os.CopyFS(dir, files); err != nil {
		return err
	}
	_, err = g.Run(ctx, "deploy", dir)
	return err
}

// seen is what a function keeps of one publisher: how often it ran, and the
// numbers it ran for, as ranges.
type seen struct {
	Count    int      `json:"count"`
	Disorder int      `json:"disorder"`
	Ranges   [][2]int `json:"ranges"`
}

func (s seen) has(n int) bool {
	for _, r := range s.Ranges {
		if n >= r[0] && n <= r[1] {
			return true
		}
	}
	return false
}

func (s seen) distinct() (n int) {
	for _, r := range s.Ranges {
		n += r[1] - r[0] + 1
	}
	return n
}

func (g *gateway) seen(ctx context.Context, function, publisher string) (s seen, err error) {
	err = g.state(ctx, function, publisher, &s)
	return s, err
}

// state reads one key; one that is not there leaves v alone.
func (g *gateway) state(ctx context.Context, function, key string, v any) error {
	var e api.StateEntry
	err := g.Client.Do(ctx, http.MethodGet, "/v1/state/"+function+"/"+url.PathEscape(key), nil, &e)
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
	for _, function := range []string{"counter", "flaky"} {
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
