package server_test

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/headgate-io/headgate/controller/store/pgtest"
)

var postgres pgtest.Server

func TestMain(m *testing.M) {
	code := m.Run()
	postgres.Stop()
	os.Exit(code)
}

// No text that a client makes up is a failure of the controller, on either
// database: in paths, queries, cursors, headers and bodies.
func TestTextThatNoDatabaseTakes(t *testing.T) {
	test := func(t *testing.T, dsn string) {
		r := newRigOn(t, dsn)
		r.gateway("acme", "gw-1", map[string]string{"site": "north"})
		texts := []string{"a\x00b", "\xff\xfe", "%", "_", "' OR 1=1 --", `"}],"`, "\u202e", "~", strings.Repeat("x", 390)}
		paths := []string{
			"/v1/gateways/{x}", "/v1/gateways/{x}/state", "/v1/gateways/{x}/telemetry", "/v1/gateways/{x}/questions", "/v1/gateways/gw-1/questions/{x}",
			"/v1/gateways?cursor={c}", "/v1/gateways?selector={x}", "/v1/states?selector={x}", "/v1/states?cursor={c}", "/v1/gateways/gw-1/telemetry?cursor={c}",
			"/v1/gateways/gw-1/questions?cursor={c}", "/v1/deployments/{x}", "/v1/deployments?cursor={c}", "/v1/deployments?function={x}", "/v1/deployments/{x}/gateways?cursor={c}",
			"/v1/users?cursor={c}", "/v1/users/{x}", "/v1/users/acme-admin/tokens?cursor={c}", "/v1/users/acme-admin/tokens/{x}", "/v1/users/{x}/tokens", "/v1/audit?cursor={c}", "/v1/config?function={x}", "/v1/config/{x}",
			"/v1/secrets?cursor={c}", "/v1/secrets?function={x}", "/v1/targets?cursor={c}", "/v1/targets?function={x}", "/v1/findings?cursor={c}",
			"/v1/usage?from={x}", "/v1/usage?gateway={x}", "/v1/enrolment-tokens?cursor={c}", "/v1/enrolment-tokens/{x}", "/v1/invoices/{x}/csv", "/v1/invoices/{x}",
		}
		check := func(method, path string, in any, header ...string) {
			t.Helper()
			if status, _, body := r.call(r.tokens["acme"], method, path, in, header...); status >= 500 {
				t.Errorf("%s %s: %d %s", method, path, status, body)
			}
		}
		for _, text := range texts {
			for _, path := range paths {
				full := strings.NewReplacer("{x}", url.QueryEscape(text), "{c}", base64.RawURLEncoding.EncodeToString([]byte(text))).Replace(path)
				check("GET", full, nil)
				check("DELETE", full, nil)
			}
			word, err := json.Marshal(text)
			if err != nil {
				t.Fatal(err)
			}
			w := string(word)
			check("POST", "/v1/enrolment-tokens", `{"labels":{"a":`+w+`}}`, "Idempotency-Key", text)
			check("POST", "/v1/enrolment-tokens", `{"name":`+w+`}`)
			check("POST", "/v1/users", `{"name":`+w+`,"role":"viewer"}`)
			check("POST", "/v1/deployments", `{"function":`+w+`,"selector":`+w+`,"targets":[`+w+`]}`)
			check("PATCH", "/v1/gateways/gw-1", `{"name":`+w+`,"labels":{`+w+`:`+w+`}}`)
			check("POST", "/v1/gateways/gw-1/questions", `{"what":"logs","function":`+w+`}`)
			check("POST", "/v1/config", `{"function":"f","set":{`+w+`:`+w+`}}`)
			check("POST", "/v1/config", `{"function":"f","selector":`+w+`,"set":{"a":{"b":`+w+`}}}`)
			check("POST", "/v1/enroll", `{"token":`+w+`,"csr":`+w+`,"name":`+w+`}`)
		}
	}
	t.Run("sqlite", func(t *testing.T) { test(t, "sqlite:"+filepath.Join(t.TempDir(), "c.db")) })
	t.Run("postgres", func(t *testing.T) { test(t, postgres.Database(t)) })
}
