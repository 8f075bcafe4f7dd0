package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/headgate-io/headgate/controller/api"
	"github.com/headgate-io/headgate/controller/store"
	"github.com/headgate-io/headgate/sync/ota"
)

var update = flag.Bool("update", false, "write the golden files")

// The API's description is what is committed: a change of it is seen in review.
func TestOpenAPI(t *testing.T) {
	r := newRig(t)
	raw, err := json.Marshal(r.server.OpenAPI())
	if err != nil {
		t.Fatal(err)
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, raw, "", "  "); err != nil {
		t.Fatal(err)
	}
	pretty.WriteByte('\n')
	golden := filepath.Join("testdata", "openapi.json")
	if *update {
		if err := os.WriteFile(golden, pretty.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, pretty.Bytes()) {
		t.Errorf("%s is not what the handlers say: go test ./controller/server -update", golden)
	}
	if v := r.server.OpenAPI().OpenAPI; !strings.HasPrefix(v, "3.1") {
		t.Errorf("OpenAPI %s", v)
	}
}

// open are the operations that need no token: they have checks of their own.
var open = []string{"enroll", "renew", "time"}

// bare are operations that need no body.
var bare = regexp.MustCompile(`\}/(revoke|pause|resume|abort|revert)$`)

var parameter = regexp.MustCompile(`\{(\w+)\}`)

// Every operation, with what is another tenant's: nothing is found, nothing is
// changed, and no byte of it is told.
func TestTenantsAreIsolated(t *testing.T) {
	r := newRig(t)
	const mark = "acme" // in every name below, and in that of its admin
	gateway := r.gateway("acme", "acme-gw", map[string]string{"acme-label": "acme-value"})
	token := must[api.EnrolmentSecret](r, 201, r.tokens["acme"], "POST", "/v1/enrolment-tokens", api.NewEnrolmentToken{Labels: map[string]string{"acme-batch": "7"}})
	must[api.User](r, 201, r.tokens["acme"], "POST", "/v1/users", api.NewUser{Name: "acme-ann", Role: "viewer"})
	must[api.TokenSecret](r, 201, r.tokens["acme"], "POST", "/v1/users/acme-ann/tokens", api.NewToken{Name: "acme-laptop"})
	r.signed[r.tenant("acme")] = []ota.Target{{Name: "acme-target", SHA256: strings.Repeat("ab", 32), Release: ota.Release{Kind: ota.Function, Function: "irrigate"}}}
	deployment := must[api.Deployment](r, 201, r.tokens["acme"], "POST", "/v1/deployments", api.NewDeployment{Function: "irrigate", Targets: []string{"acme-target"}, Selector: "acme-label"})
	must[api.ConfigLayer](r, 200, r.tokens["acme"], "POST", "/v1/config", api.ConfigChange{Function: "irrigate", Gateway: gateway, Values: map[string]any{"acme-key": 1}})
	set := must[api.Page[api.ConfigEntry]](r, 200, r.tokens["acme"], "GET", "/v1/config/history", nil).Items[0]
	question := must[api.Question](r, 201, r.tokens["acme"], "POST", "/v1/gateways/acme-gw/questions", api.NewQuestion{What: "logs"})
	values := map[string][]string{
		"deployment": {deployment.ID}, "change": {set.ID}, "question": {question.ID},
		"gateway": {gateway, "acme-gw"}, "user": {"acme-ann", "acme-admin"}, "tenant": {"acme"}, "token": {token.ID, "acme-laptop", "first"},
		"function": {"acme-fn"}, "plan": {"acme-plan"}, "month": {"2026-01"}, "batch": {"1"}, "stream": {"acme-stream"}, "sha256": {strings.Repeat("a", 64)},
	}
	bodies := map[string]any{
		"change-gateway": api.GatewayChange{Name: "stolen"}, "create-enrolment-token": api.NewEnrolmentToken{Replace: "acme-gw"},
		"create-user": api.NewUser{Name: "eve", Role: "admin"}, "change-user": api.UserChange{Role: "viewer"}, "create-token": api.NewToken{Name: "stolen"},
		"set-plan": map[string]any{"name": "free", "currency": "EUR", "rates": map[string]any{}}, "issue-invoice": map[string]any{},
		"create-tenant": api.NewTenant{Name: "mine"}, "change-tenant": api.NewTenant{Name: "mine"},
		"make-online-key": struct{}{}, "change-repository": api.RepositoryChange{Root: []byte("{}")}, "upload-target": "x",
		"create-deployment": api.NewDeployment{Function: "irrigate", Targets: []string{"acme-target"}},
		"set-config":        api.ConfigChange{Function: "irrigate", Gateway: gateway, Values: map[string]any{"stolen": 1}},
		"set-secrets":       api.SetSecrets{Function: "irrigate", Name: "stolen", Sealed: map[string][]byte{gateway: []byte("sealed")}},
		"ask-gateway":       api.NewQuestion{What: "doctor"},
	}
	r.use("acme", "acme-fn")
	before := snapshot(r)
	walked := 0
	for path, item := range r.server.OpenAPI().Paths {
		for method, o := range map[string]any{"GET": item.Get, "POST": item.Post, "PUT": item.Put, "PATCH": item.Patch, "DELETE": item.Delete} {
			op, id := operation(o)
			if !op || slices.Contains(open, id) {
				continue
			}
			if method != "GET" && method != "DELETE" && bodies[id] == nil && !bare.MatchString(path) {
				t.Errorf("%s has no body in this test", id)
			}
			for _, full := range fill(t, path, values) {
				walked++
				status, _, body := r.call(r.tokens["other"], method, full, bodies[id])
				for _, own := range []string{"acme-gw\\\" to replace", "\\\"acme-target\\\" is not signed", "ID \\\"" + gateway} { // what it asked for itself
					body = strings.ReplaceAll(body, own, "")
				}
				if strings.Contains(body, mark) || strings.Contains(body, gateway) {
					t.Errorf("%s %s tells of another tenant: %s", method, full, body)
				}
				if strings.Contains(path, "{") && id != "upload-target" && status != http.StatusNotFound && status != http.StatusForbidden {
					t.Errorf("%s %s: %d, want 404 or 403: %s", method, full, status, body)
				}
				if status, _, _ := r.call("", method, full, bodies[id]); status != http.StatusUnauthorized {
					t.Errorf("%s %s without a token: %d", method, full, status)
				}
			}
		}
	}
	if walked < 20 {
		t.Errorf("only %d operations were walked", walked)
	}
	if after := snapshot(r); after != before {
		t.Errorf("what is acme's was changed:\n%s\n%s", before, after)
	}
}

func operation(o any) (there bool, id string) {
	raw, err := json.Marshal(o)
	if err != nil || string(raw) == "null" {
		return false, ""
	}
	var v struct {
		OperationID string `json:"operationId"`
	}
	return json.Unmarshal(raw, &v) == nil, v.OperationID
}

// fill puts every value into every parameter of a path.
func fill(t *testing.T, path string, values map[string][]string) []string {
	t.Helper()
	out := []string{path}
	for _, p := range parameter.FindAllStringSubmatch(path, -1) {
		if len(values[p[1]]) == 0 {
			t.Fatalf("%s: no value for {%s} in this test", path, p[1])
		}
		var more []string
		for _, o := range out {
			for _, v := range values[p[1]] {
				more = append(more, strings.ReplaceAll(o, p[0], v))
			}
		}
		out = more
	}
	return out
}

// snapshot is everything that acme's admin sees, but when tokens were used.
func snapshot(r *rig) string {
	var b strings.Builder
	for _, path := range []string{"/v1/gateways", "/v1/enrolment-tokens", "/v1/users", "/v1/users/acme-ann/tokens", "/v1/audit", "/v1/usage?from=2026-01-01&to=2026-02-01", "/v1/deployments", "/v1/states", "/v1/config", "/v1/secrets", "/v1/gateways/acme-gw/questions"} {
		_, _, body := r.call(r.tokens["acme"], "GET", path, nil)
		fmt.Fprintln(&b, path, body)
	}
	return b.String()
}

func TestIdempotencyKeys(t *testing.T) {
	r := newRig(t)
	create := func(key string, uses int64) (int, string, string) {
		status, header, body := r.call(r.tokens["acme"], "POST", "/v1/enrolment-tokens", api.NewEnrolmentToken{Uses: uses}, "Idempotency-Key", key)
		return status, header.Get("Idempotency-Replayed"), body
	}
	var wg sync.WaitGroup
	answers := make([]string, 6)
	for i := range answers {
		wg.Go(func() { _, _, answers[i] = create("one", 5) })
	}
	wg.Wait()
	if len(slices.Compact(slices.Sorted(slices.Values(answers)))) != 1 || !strings.Contains(answers[0], "hge_") {
		t.Errorf("one key, several answers: %v", answers)
	}
	if status, replayed, _ := create("one", 5); status != 201 || replayed != "true" {
		t.Errorf("%d, replayed %q", status, replayed)
	}
	if status, _, body := create("one", 6); status != 422 {
		t.Errorf("the key with another body: %d: %s", status, body)
	}
	if status, _, _ := create(strings.Repeat("k", 300), 5); status != 422 {
		t.Errorf("a long key: %d", status)
	}
	// Another token's key is another key.
	if status, header, _ := r.call(r.tokens["other"], "POST", "/v1/enrolment-tokens", api.NewEnrolmentToken{Uses: 5}, "Idempotency-Key", "one"); status != 201 || header.Get("Idempotency-Replayed") != "" {
		t.Errorf("another tenant's key: %d, %v", status, header)
	}
	// What was refused has not used its key.
	if status, _, _ := create("two", 1<<40); status != 422 {
		t.Errorf("too many uses: %d", status)
	}
	if status, _, body := create("two", 1); status != 201 {
		t.Errorf("after a refusal: %d: %s", status, body)
	}
	list := must[api.Page[api.EnrolmentToken]](r, 200, r.tokens["acme"], "GET", "/v1/enrolment-tokens", nil)
	if len(list.Items) != 2 {
		t.Errorf("%d tokens, want 2", len(list.Items))
	}
}

func TestPagesAndSelectors(t *testing.T) {
	r := newRig(t)
	for i := range 7 {
		r.gateway("acme", fmt.Sprintf("gw-%d", i), map[string]string{"site": []string{"north", "south"}[i%2]})
	}
	walk := func(query string) (names []string) {
		cursor := ""
		for {
			p := must[api.Page[api.Gateway]](r, 200, r.tokens["acme"], "GET", "/v1/gateways?limit=2&"+query+"&cursor="+cursor, nil)
			for _, g := range p.Items {
				names = append(names, g.Name)
			}
			if cursor = p.Next; cursor == "" {
				return names
			}
		}
	}
	if got := strings.Join(walk(""), " "); got != "gw-0 gw-1 gw-2 gw-3 gw-4 gw-5 gw-6" {
		t.Error(got)
	}
	if got := strings.Join(walk("selector=site%3Dnorth"), " "); got != "gw-0 gw-2 gw-4 gw-6" {
		t.Error(got)
	}
	for _, query := range []string{"limit=0", "limit=100000", "cursor=%25", "selector=%3D"} {
		if status, _, body := r.call(r.tokens["acme"], "GET", "/v1/gateways?"+query, nil); status != 422 || !strings.Contains(body, "detail") {
			t.Errorf("%s: %d: %s", query, status, body)
		}
	}
}

// A gateway is renamed and labelled, and the audit log says who did it and what
// was before; no secret is in it.
func TestChangesAreAudited(t *testing.T) {
	r := newRig(t)
	id := r.gateway("acme", "gw-1", map[string]string{"site": "north", "old": "x"})
	south := "south"
	g := must[api.Gateway](r, 200, r.tokens["acme"], "PATCH", "/v1/gateways/gw-1", api.GatewayChange{Name: "gw-2", Labels: map[string]*string{"site": &south, "old": nil}})
	if g.ID != id || g.Name != "gw-2" || len(g.Labels) != 1 || g.Labels["site"] != "south" {
		t.Errorf("%+v", g)
	}
	revoked := must[api.Gateway](r, 200, r.tokens["acme"], "POST", "/v1/gateways/gw-2/revoke", nil)
	if revoked.Revoked.IsZero() {
		t.Error("not revoked")
	}
	must[api.TokenSecret](r, 201, r.tokens["acme"], "POST", "/v1/users/acme-admin/tokens", api.NewToken{Name: "ci"})
	must[struct{}](r, 204, r.tokens["acme"], "DELETE", "/v1/gateways/gw-2", nil)
	_, _, log := r.call(r.tokens["acme"], "GET", "/v1/audit", nil)
	var page api.Page[api.Change]
	if err := json.Unmarshal([]byte(log), &page); err != nil {
		t.Fatal(err)
	}
	var actions []string
	for _, c := range page.Items {
		actions = append(actions, c.Action)
		if c.Actor != "acme-admin" || c.Token != "first" {
			t.Errorf("%+v", c)
		}
	}
	if got := strings.Join(actions, " "); got != "gateway.delete token.create gateway.revoke gateway.change" {
		t.Error(got)
	}
	first := page.Items[3]
	if fmt.Sprint(first.Before) == fmt.Sprint(first.After) || !strings.Contains(fmt.Sprint(first.Before), "gw-1") || !strings.Contains(fmt.Sprint(first.After), "gw-2") {
		t.Errorf("%+v", first)
	}
	// By the name that it had then, which no gateway has any more.
	if names := []string{page.Items[0].Name, page.Items[1].Name, page.Items[2].Name, first.Name}; !slices.Equal(names, []string{"gw-2", "", "gw-2", "gw-2"}) {
		t.Errorf("names %q", names)
	}
	if strings.Contains(log, "hgc_") || strings.Contains(log, "hge_") {
		t.Error("a secret is in the audit log")
	}
}

func TestRights(t *testing.T) {
	r := newRig(t)
	admin := r.tokens["acme"]
	token := func(user, role string, scopes ...string) string {
		if status, _, body := r.call(admin, "POST", "/v1/users", api.NewUser{Name: user, Role: role}); status != 201 {
			t.Fatal(body)
		}
		return must[api.TokenSecret](r, 201, admin, "POST", "/v1/users/"+user+"/tokens", api.NewToken{Name: "t", Scopes: scopes}).Secret
	}
	viewer, operator := token("viewer", "viewer"), token("operator", "operator")
	narrow := token("narrow", "admin", "users:write")
	r.gateway("acme", "gw-1", nil)
	cases := []struct {
		name, token, method, path string
		body                      any
		want                      int
	}{
		{"a viewer reads", viewer, "GET", "/v1/gateways", nil, 200},
		{"a viewer changes", viewer, "PATCH", "/v1/gateways/gw-1", api.GatewayChange{Name: "x"}, 403},
		{"an operator changes", operator, "PATCH", "/v1/gateways/gw-1", api.GatewayChange{Name: "gw-1"}, 200},
		{"an operator reads users", operator, "GET", "/v1/users", nil, 403},
		{"an admin reads tenants", admin, "GET", "/v1/tenants", nil, 403},
		{"an admin reads metrics", admin, "GET", "/metrics", nil, 403},
		{"an admin makes a platform's operator", admin, "POST", "/v1/users", api.NewUser{Name: "root", Role: "platform"}, 403},
		{"an admin becomes one", admin, "PATCH", "/v1/users/acme-admin", api.UserChange{Role: "platform"}, 403},
		{"a narrowed token does what it may", narrow, "GET", "/v1/users", nil, 200},
		{"a narrowed token does more", narrow, "GET", "/v1/gateways", nil, 403},
		{"a narrowed token makes one that may all", narrow, "POST", "/v1/users/narrow/tokens", api.NewToken{Name: "all"}, 403},
		{"a narrowed token makes one that may other things", narrow, "POST", "/v1/users/narrow/tokens", api.NewToken{Name: "all", Scopes: []string{"gateways:read"}}, 422},
		{"the last admin is not demoted", r.tokens["other"], "PATCH", "/v1/users/other-admin", api.UserChange{Role: "viewer"}, 409},
		{"the last admin is not deleted", r.tokens["other"], "DELETE", "/v1/users/other-admin", nil, 409},
		{"a name that is none", admin, "POST", "/v1/users", api.NewUser{Name: "a/b", Role: "viewer"}, 422},
		{"a role that is none", admin, "POST", "/v1/users", api.NewUser{Name: "c", Role: "king"}, 422},
		{"a name that is taken", admin, "POST", "/v1/users", api.NewUser{Name: "viewer", Role: "viewer"}, 409},
		{"the platform lists tenants", r.tokens["platform"], "GET", "/v1/tenants", nil, 200},
		{"the platform's own tenant stays", r.tokens["platform"], "DELETE", "/v1/tenants/platform", nil, 409},
		{"a guessed token", "hgc_AAAAAAAAAAAAAAAAAAAAAAAAAA", "GET", "/v1/whoami", nil, 401},
		{"a huge token", strings.Repeat("x", 4000), "GET", "/v1/whoami", nil, 401},
	}
	for _, c := range cases {
		status, header, body := r.call(c.token, c.method, c.path, c.body)
		if status != c.want || status >= 400 && header.Get("Content-Type") != "application/problem+json" && c.path != "/metrics" {
			t.Errorf("%s: %d, want %d: %s", c.name, status, c.want, body)
		}
	}
	must[struct{}](r, 204, admin, "DELETE", "/v1/users/viewer/tokens/t", nil)
	if status, _, _ := r.call(viewer, "GET", "/v1/whoami", nil); status != 401 {
		t.Errorf("a revoked token: %d", status)
	}
}

func TestTenantLife(t *testing.T) {
	r := newRig(t)
	platform := r.tokens["platform"]
	made := must[api.TenantMade](r, 201, platform, "POST", "/v1/tenants", api.NewTenant{Name: "new"})
	if who := must[api.Whoami](r, 200, made.Admin.Secret, "GET", "/v1/whoami", nil); who.Tenant != "new" || who.Role != "admin" {
		t.Errorf("%+v", who)
	}
	must[api.Tenant](r, 200, platform, "PATCH", "/v1/tenants/new", api.NewTenant{Name: "newer"})
	must[struct{}](r, 204, platform, "DELETE", "/v1/tenants/newer", nil)
	if status, _, _ := r.call(made.Admin.Secret, "GET", "/v1/whoami", nil); status != 401 {
		t.Errorf("a token of a deleted tenant: %d", status)
	}
}

func TestHostileRequests(t *testing.T) {
	r := newRig(t)
	cases := []struct {
		name, method, path, body string
		want                     int
	}{
		{"a huge body", "POST", "/v1/enrolment-tokens", `{"labels":{"a":"` + strings.Repeat("x", 1<<20) + `"}}`, 413},
		{"a huge enrolment", "POST", "/v1/enroll", `{"token":"` + strings.Repeat("x", 1<<20) + `"}`, 413},
		{"no JSON", "POST", "/v1/enrolment-tokens", `{`, 400},
		{"an unknown field", "POST", "/v1/users", `{"name":"a","role":"viewer","admin":true}`, 422},
		{"a number for a name", "POST", "/v1/users", `{"name":1,"role":"viewer"}`, 422},
		{"a lifetime without end", "POST", "/v1/enrolment-tokens", `{"lifetime_seconds":9223372036854775807}`, 422},
		{"renewing without a certificate", "POST", "/v1/renew", `{"csr":"x"}`, 401},
		{"content without a certificate", "GET", "/content/root.json", ``, 401},
		{"another method", "PUT", "/v1/gateways", ``, 405},
		{"nothing there", "GET", "/v2", ``, 404},
		{"out of the folder", "GET", "/content/../../etc/passwd", ``, 307},
		{"not ready", "GET", "/readyz", ``, 503},
	}
	for _, c := range cases {
		status, header, body := r.call(r.tokens["acme"], c.method, c.path, c.body)
		if status != c.want || header.Get("Content-Type") != "application/problem+json" || strings.Contains(body, "secret") {
			t.Errorf("%s: %d, want %d: %s", c.name, status, c.want, body)
		}
	}
}

// What a gateway said of itself is in the list and beside it; one that never
// spoke has none.
func TestStatus(t *testing.T) {
	r := newRig(t)
	id := r.gateway("acme", "gw-1", nil)
	r.gateway("acme", "gw-2", nil)
	now := time.Now()
	r.update(func(ctx context.Context, tx *store.Tx) error {
		_, err := tx.SetHello(ctx, &store.Status{Gateway: id, Hello: now, Session: 1, Skew: 1500_000, Trust: 2})
		return err
	})
	list := must[api.Page[api.Gateway]](r, 200, r.tokens["acme"], "GET", "/v1/gateways", nil).Items
	one := must[api.Gateway](r, 200, r.tokens["acme"], "GET", "/v1/gateways/gw-1", nil)
	if len(list) != 2 || list[0].Status == nil || list[1].Status != nil || one.Status == nil {
		t.Fatalf("%+v, %+v", list, one)
	}
	for _, s := range []*api.GatewayStatus{list[0].Status, one.Status} {
		if s.ClockAhead != 1500 || s.ClockTrust != "synchronised" || s.Seen.UnixMicro() != now.UnixMicro() {
			t.Errorf("%+v", s)
		}
	}
}
