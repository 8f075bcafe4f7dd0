package client_test

import (
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

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
