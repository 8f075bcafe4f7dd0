package rig

import (
	"bytes"
	"context"
	"strconv"
	"strings"
)

// Metrics are the gateway's figures that have no labels, by name.
func (g *Gateway) Metrics(ctx context.Context) (map[string]float64, error) {
	var text bytes.Buffer
	if err := g.Client.Download(ctx, "/metrics", &text); err != nil {
		return nil, err
	}
	out := map[string]float64{}
	for line := range strings.Lines(text.String()) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if v, err := strconv.ParseFloat(value, 64); err == nil {
			out[name] = v
		}
	}
	return out, nil
}
