package gateway_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/admin/api"
)

// scrape returns /metrics as Prometheus would get it.
func (r *rig) scrape() string {
	r.Helper()
	c := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", r.cfg.SocketPath())
	}}}
	defer c.CloseIdleConnections()
	resp, err := c.Get("http://headgate/metrics")
	if err != nil {
		r.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		r.Fatal(err)
	}
	return string(text)
}

// A function that keeps failing says so where people and Prometheus look.
func TestBreakerIsVisible(t *testing.T) {
	r := start(t, t.TempDir())
	r.script("bad", "in", `export default () => { throw new Error("always"); };`, func(s *function.Spec) { s.Retry.Attempts = 1 })
	for range 33 {
		r.publish(api.Message{Topic: "in", QoS: 1})
	}
	var f api.FunctionDetail
	for end := time.Now().Add(30 * time.Second); f.Counters.Breaker.State != "open" && time.Now().Before(end); {
		r.publish(api.Message{Topic: "in", QoS: 1})
		r.call(http.MethodGet, "/v1/functions/bad", nil, &f)
	}
	b := f.Counters.Breaker
	if b.State != "open" || b.Failures < 32 || !strings.Contains(b.Reason, "always") || b.Since.IsZero() || b.NextTrial.IsZero() {
		t.Errorf("breaker %+v", b)
	}
	text := r.scrape()
	for _, want := range []string{`headgate_function_breaker_open{function="bad"} `, `headgate_function_pauses_total{function="bad"} `, `headgate_function_dead_letters_total{function="bad"} `} {
		if i := strings.Index(text, want); i < 0 || strings.HasPrefix(text[i+len(want):], "0\n") {
			t.Errorf("/metrics lacks %s or it is 0", want)
		}
	}
}
