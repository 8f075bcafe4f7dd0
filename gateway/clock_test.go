package gateway_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/headgate-io/headgate/gateway/admin/api"
)

// Events, usage and /metrics say how far the time can be relied on, and a
// person may confirm it.
func TestClockIsVisible(t *testing.T) {
	r := start(t, t.TempDir())
	r.script("f", "in", `export default (event, { state }) => state.set("trust", event.meta("timetrust"));`)
	if err := r.client.Do(t.Context(), http.MethodPut, "/v1/clock", api.SetClock{Time: time.Unix(10, 0)}, nil); err == nil || !strings.Contains(err.Error(), "cannot be the time") {
		t.Errorf("1970 was taken: %v", err)
	}
	var c api.Clock
	r.call(http.MethodPut, "/v1/clock", api.SetClock{Time: time.Now().Add(time.Hour)}, &c)
	if c.Trust != "synchronised" {
		t.Errorf("confirmed, it is %+v", c)
	}
	r.publish(api.Message{Topic: "in", QoS: 1})
	r.eventually("f", "trust", `"synchronised"`)
	var usage []api.Usage
	r.call(http.MethodGet, "/v1/usage", nil, &usage)
	if len(usage) != 1 || usage[0].TimeEstimated+usage[0].TimeUnknown != 0 {
		t.Errorf("usage %+v", usage)
	}
	if text := r.scrape(); !strings.Contains(text, "headgate_clock_trust 2") {
		t.Error("/metrics lacks the trust in the clock")
	}
}
