package client_test

import (
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/admin/client"
)

// Who cannot reach a gateway is told what to do, for each way of failing.
func TestUnreachableSaysWhatToDo(t *testing.T) {
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	for _, c := range []struct{ host, want string }{
		{secure.URL, "SSL_CERT_FILE=gateway.crt"},
		{"unix://" + t.TempDir() + "/admin.sock", "start it with 'headgate run'"},
	} {
		gw, err := client.New(c.host, "")
		if err != nil {
			t.Fatal(err)
		}
		err = gw.Do(t.Context(), http.MethodGet, "/readyz", nil, nil)
		if !errors.Is(err, client.ErrUnreachable) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %q", c.host, err, c.want)
		}
		gw.Close()
	}
}

// What an answer leaves out is gone from what it is read into: who asks again and
// again with one variable sees each answer by itself.
func TestAnswersDoNotMix(t *testing.T) {
	answers := []string{`{"aliases": [{"name": "live", "version": 2, "split": 3, "percent": 50}]}`, `{"aliases": [{"name": "live", "version": 2}]}`}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, answers[0])
		answers = answers[1:]
	}))
	defer s.Close()
	gw, err := client.New(s.URL, "")
	if err != nil {
		t.Fatal(err)
	}
	defer gw.Close()
	var f api.FunctionDetail
	for _, split := range []int{3, 0} {
		if err := gw.Do(t.Context(), http.MethodGet, "/v1/functions/count", nil, &f); err != nil {
			t.Fatal(err)
		}
		if len(f.Aliases) != 1 || f.Aliases[0].Split != split {
			t.Errorf("aliases %+v; want one, split to %d", f.Aliases, split)
		}
	}
}
