package metrics_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/metrics"
)

func scrape(r *metrics.Registry) string {
	w := httptest.NewRecorder()
	r.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return w.Body.String()
}

func TestMetricNames(t *testing.T) {
	type stats struct {
		Uptime        time.Duration
		QueuedBytes   int64
		BytesReceived uint64
		WALBytes      int64
		LowDisk       bool
		Name          string
	}
	r := metrics.New()
	r.Add(metrics.Stats("test", func() any {
		return stats{Uptime: 1500 * time.Millisecond, QueuedBytes: 3, BytesReceived: 4, WALBytes: 5, LowDisk: true}
	}))
	f := r.Function("irrigate")
	f.Count(function.OutOfFuel, 7, time.Millisecond, true)
	text := scrape(r)
	for _, want := range []string{
		"headgate_test_uptime_seconds 1.5\n", "headgate_test_queued_bytes 3\n", "# TYPE headgate_test_received_bytes_total counter\n",
		"headgate_test_wal_bytes 5\n", "headgate_test_low_disk 1\n",
		`headgate_function_invocations_total{function="irrigate",outcome="out_of_fuel"} 1`,
		`headgate_function_fuel_total{function="irrigate"} 7`, `headgate_function_cold_starts_total{function="irrigate"} 1`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("/metrics lacks %q", want)
		}
	}
	r.Forget("irrigate")
	if strings.Contains(scrape(r), "irrigate") {
		t.Error("a removed function is still shown")
	}
}
