package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/headgate-io/headgate/firmware-tests/rig"
	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/admin/client"
)

// gateway is the running binary and what the demo asks of it.
type gateway struct{ *rig.Gateway }

func startGateway(ctx context.Context, binary, dir string) (*gateway, error) {
	g, err := rig.New(binary, dir)
	if err != nil {
		return nil, err
	}
	return &gateway{g}, g.Start(ctx)
}

// deploy uses the command line, as an author would.
func (g *gateway) deploy(ctx context.Context, project string) error {
	out, err := g.Run(ctx, "deploy", project)
	for line := range strings.Lines(out) {
		if strings.Contains(line, " is live") {
			fmt.Print(line)
		}
	}
	return err
}

func (g *gateway) invocations(ctx context.Context, limit int) (list []api.Invocation, err error) {
	path := fmt.Sprintf("/v1/invocations?limit=%d", limit)
	for i, err := range client.Stream[api.Invocation](ctx, g.Client, path) {
		if err != nil {
			return nil, err
		}
		list = append(list, i)
	}
	return list, nil
}

func (g *gateway) usage(ctx context.Context) (list []api.Usage, err error) {
	return list, g.Client.Do(ctx, http.MethodGet, "/v1/usage", nil, &list)
}
