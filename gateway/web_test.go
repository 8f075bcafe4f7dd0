package gateway_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/config"
	"github.com/headgate-io/headgate/sync/bundle"
)

// served runs a gateway with a listener for routes on loopback.
func served(t *testing.T, change ...func(*config.Config)) (*rig, string) {
	t.Helper()
	r := start(t, t.TempDir(), append([]func(*config.Config){func(c *config.Config) { c.HTTP.Listen = "127.0.0.1:0" }}, change...)...)
	return r, "http://" + r.httpAddress()
}

func (r *rig) httpAddress() string {
	r.Helper()
	var about api.About
	r.call(http.MethodGet, "/v1/about", nil, &about)
	return about.Listeners["http"]
}

// key makes a key for functions.
func (r *rig) key(name string, functions ...string) string {
	r.Helper()
	in := api.NewToken{Name: name}
	for _, f := range functions {
		in.Scopes = append(in.Scopes, "call:"+f)
	}
	var out api.TokenSecret
	r.call(http.MethodPost, "/v1/tokens", in, &out)
	return out.Secret
}

// got is an answer.
type got struct {
	status int
	header http.Header
	body   string
}

// ask sends a request; header lines are "Name: value".
func (r *rig) ask(method, url, body string, header ...string) got {
	r.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		r.Fatal(err)
	}
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		q.Header.Add(name, value)
	}
	resp, err := http.DefaultTransport.RoundTrip(q)
	if err != nil {
		r.Fatalf("%s %s: %v", method, url, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.Fatal(err)
	}
	return got{resp.StatusCode, resp.Header, string(b)}
}

func public(http string) function.Trigger { return function.Trigger{HTTP: http, Public: true} }

// TestRoutes finds the function of a route, gives it all there is of the
// request, and answers with what it says.
func TestRoutes(t *testing.T) {
	r, url := served(t)
	r.script("shop", "", `export default (event) => {
	  const { method, path, query, queries, headers, remote, params } = event.request;
	  return Response.json({ method, path, q: query.q, all: queries("q"), agent: headers["user-agent"], cookie: headers.cookie, te: headers.te, remote, params,
	    data: event.data, source: event.source, type: event.type, content: event.datacontenttype }, { status: 201, headers: { "X-Shop": "1", "Cache-Control": "no-store" } });
	};`, takes(public("POST /orders/{id}/lines/{rest...}")))
	a := r.ask("POST", url+"/orders/a%20b/lines/1/2?q=x+y&q=%26", `{"n":1}`, "User-Agent: test", "Cookie: a=b", "Content-Type: application/json", "Te: trailers", "Connection: X-Hop", "X-Hop: 1")
	want := `{"method":"POST","path":"/orders/a b/lines/1/2","q":"x y","all":["x y","&"],"agent":"test","remote":"127.0.0.1","params":{"id":"a b","rest":"1/2"},` +
		`"data":{"n":1},"source":"/http","type":"io.headgate.http.request","content":"application/json"}`
	if a.status != 201 || a.body != want || a.header.Get("X-Shop") != "1" || a.header.Get("Content-Type") != "application/json" || a.header.Get("Headgate-Event") == "" {
		t.Errorf("%d %v\n%s\n%s", a.status, a.header, a.body, want)
	}

	r.script("any", "", `export default (event) => event.request.method + " " + event.subject`, takes(public("ANY"), public("GET /")))
}

// TestRouteLookUp meets each request with the one route that means it most, and
// says what there is where there is none.
func TestRouteLookUp(t *testing.T) {
	r, url := served(t)
	say := func(what string) string {
		return `export default (event) => "` + what + ` " + event.request.method + " " + event.subject`
	}
	r.script("any", "", say("any"), takes(public("ANY"), public("GET /")))
	r.script("list", "", say("list"), takes(public("GET /orders/{id}"), public("DELETE /orders/{id}")))
	r.script("latest", "", say("latest"), takes(public("GET /orders/latest")))
	r.script("odd", "", say("odd"), takes(function.Trigger{HTTP: "/odd/{n}", Public: true, When: `params.n in ["1", "3"]`}))
	for _, x := range []struct {
		method, path string
		status       int
		want         string
	}{
		{"GET", "/", 200, "any GET /"},
		{"PATCH", "/fn/any", 200, "any PATCH /fn/any"},
		{"GET", "/orders/7", 200, "list GET /orders/7"},
		{"HEAD", "/orders/7", 200, ""},
		{"GET", "/orders/latest", 200, "latest GET /orders/latest"},
		{"DELETE", "/orders/latest", 200, "list DELETE /orders/latest"},
		{"GET", "/orders/a+b%23c", 200, "list GET /orders/a+b#c"},
		{"POST", "/orders/7", 405, "this path takes GET, HEAD, DELETE"},
		{"GET", "/orders", 404, "no function has this route"},
		{"GET", "/orders/7/", 404, "no function has this route"},
		{"GET", "/odd/3", 200, "odd GET /odd/3"},
		{"GET", "/odd/2", 404, "condition does not hold"},
		{"GET", "/orders/a%2Fb", 400, "escaped slash"},
		{"GET", "/orders/%2e%2e", 400, ". or .."},
		{"GET", "/orders//", 400, "empty part"},
	} {
		a := r.ask(x.method, url+x.path, "")
		if a.status != x.status || !strings.Contains(a.body, x.want) {
			t.Errorf("%s %s: %d %s, want %d %s", x.method, x.path, a.status, a.body, x.status, x.want)
		}
		if x.status == 405 && a.header.Get("Allow") != "GET, HEAD, DELETE" {
			t.Errorf("Allow: %q", a.header.Get("Allow"))
		}
	}
	r.call(http.MethodDelete, "/v1/functions/latest", nil, nil)
	if a := r.ask("GET", url+"/orders/latest", ""); !strings.HasPrefix(a.body, "list") {
		t.Errorf("after its function is gone: %s", a.body)
	}
}

// TestRouteConflicts refuses at the deploy what two functions could both be
// meant by, and changes nothing.
func TestRouteConflicts(t *testing.T) {
	r, _ := served(t)
	source := []byte(`export default () => 1`)
	r.script("a", "", string(source), takes(public("GET /x/{y}")))
	for route, want := range map[string]string{
		"GET /x/{z}":   "GET /x/{z} and GET /x/{y} of function a are both meant",
		"GET /{x}/new": "GET /{x}/new and GET /x/{y} of function a are both meant",
	} {
		spec := function.Spec{Name: "b", Main: "b.js", Triggers: []function.Trigger{public(route)}}
		if why := r.refused(http.MethodPost, "/v1/functions", packed(t, spec, source)); !strings.Contains(why, want) {
			t.Errorf("%s: %s", route, why)
		}
	}
	r.script("b", "", string(source), takes(public("GET /x/new"), public("POST /x/{z}")))
}

func packed(t *testing.T, spec function.Spec, source []byte) []byte {
	t.Helper()
	spec.Limits, spec.Retry = spec.Limits.WithDefaults(), spec.Retry.WithDefaults()
	raw, err := bundle.Pack(spec, map[string][]byte{spec.Main: source}, authorKey)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestRouteKeys opens a route to its keys alone, holds up who guesses, and ends
// with the key.
func TestRouteKeys(t *testing.T) {
	r, url := served(t)
	who := `export default (event) => [event.meta("httpkey"), event.source, event.request.headers.authorization ?? null, event.request.headers["x-api-key"] ?? null]`
	r.script("orders", "", who, takes(function.Trigger{HTTP: "GET /orders"}, function.Trigger{HTTP: "GET /named", Keys: []string{"phone"}}))
	r.script("open", "", who, takes(public("GET /open")))
	phone, tablet, other, all := r.key("phone", "orders"), r.key("tablet", "orders"), r.key("other", "open"), r.key("all", "*")
	var admin api.TokenSecret
	r.call(http.MethodPost, "/v1/tokens", api.NewToken{Name: "root", Scopes: []string{"admin"}}, &admin)
	for _, x := range []struct {
		path, header string
		status       int
		want         string
	}{
		{"/orders", "", 401, "needs a key"},
		{"/orders", "Authorization: Bearer " + phone, 200, `["phone","/http/phone",null,null]`},
		{"/orders", "X-Api-Key: " + tablet, 200, `["tablet","/http/tablet",null,null]`},
		{"/orders", "X-Api-Key: " + all, 200, `["all"`},
		{"/orders", "Authorization: Bearer " + other, 403, "key other may not call"},
		{"/orders", "Authorization: Bearer " + admin.Secret, 403, "key root may not call"},
		{"/named", "Authorization: Bearer " + phone, 200, `["phone"`},
		{"/named", "Authorization: Bearer " + tablet, 403, "key tablet may not call"},
		{"/orders?key=" + phone, "", 400, "revoke that one"},
		{"/open", "Authorization: Bearer its-own", 200, `[null,"/http","Bearer its-own",null]`},
	} {
		var header []string
		if x.header != "" {
			header = []string{x.header}
		}
		if a := r.ask("GET", url+x.path, "", header...); a.status != x.status || !strings.Contains(a.body, x.want) {
			t.Errorf("%.20s %.30s: %d %s, want %d %s", x.path, x.header, a.status, a.body, x.status, x.want)
		}
	}
	r.call(http.MethodDelete, "/v1/tokens/tablet", nil, nil)
	if a := r.ask("GET", url+"/orders", "", "X-Api-Key: "+tablet); a.status != 401 {
		t.Errorf("a revoked key: %d", a.status)
	}
	held := false
	for range 20 {
		if a := r.ask("GET", url+"/orders", "", "X-Api-Key: wrong"); a.status == 429 && a.header.Get("Retry-After") != "" {
			held = true
		}
	}
	if !held {
		t.Error("guesses are not held up")
	}
	if a := r.ask("GET", url+"/orders", "", "Authorization: Bearer "+phone); a.status != 200 {
		t.Errorf("who was right before is held up with the guesser: %d", a.status)
	}
}

// TestRouteFailures hides what went wrong inside, and says with the status what
// a caller may do.
func TestRouteFailures(t *testing.T) {
	r, url := served(t)
	r.script("bad", "", `export default (event) => {
	  const { what } = event.data;
	  if (what === "throw") throw new Error("inner secret");
	  if (what === "loop") for (;;);
	  if (what === "status") return new Response("", {status: 200, headers: {"X-Y": "1"}}), { statusCode: 99 };
	  if (what === "lambda") return { statusCode: 404, headers: { "X-A": "1", "Content-Type": "text/html", "Transfer-Encoding": "chunked", "Set-Cookie": "a=b" }, multiValueHeaders: { "X-B": ["1", "2"] }, body: btoa("hé"), isBase64Encoded: true };
	  if (what === "empty") return new Response(null, { status: 204 });
	};`, takes(function.Trigger{HTTP: "POST /bad", Public: true, MaxBody: 100}), func(s *function.Spec) {
		s.Limits.Timeout, s.Limits.Fuel = function.Duration(300*time.Millisecond), 1e12
	})
	for _, x := range []struct {
		what   string
		status int
		want   string
	}{
		{"throw", 500, `"the function failed"`},
		{"loop", 504, "did not answer in time"},
		{"status", 500, "cannot be sent"},
		{"lambda", 404, "h\xe9"},
		{"empty", 204, ""},
		{strings.Repeat("x", 100), 413, "over 100"},
	} {
		a := r.ask("POST", url+"/bad", `{"what":"`+x.what+`"}`)
		if a.status != x.status || !strings.Contains(a.body, x.want) || strings.Contains(a.body, "secret") {
			t.Errorf("%s: %d %q, want %d %q", x.what, a.status, a.body, x.status, x.want)
		}
		if x.what == "lambda" && (a.header.Get("Content-Type") != "text/html" || strings.Join(a.header.Values("X-B"), " ") != "1 2" || a.header.Get("Set-Cookie") != "") {
			t.Errorf("headers %v", a.header)
		}
	}
	r.script("slow", "", `export default () => "ok"`, takes(public("GET /slow")), func(s *function.Spec) { s.Limits.Rate = 0.01 })
	first, second := r.ask("GET", url+"/slow", ""), r.ask("GET", url+"/slow", "")
	if first.status != 200 || second.status != 429 || second.header.Get("Retry-After") == "" {
		t.Errorf("over the rate: %d, then %d %v", first.status, second.status, second.header)
	}
	r, url = served(t, func(c *config.Config) { c.HTTP.Errors = true })
	r.script("bad", "", `export default () => { throw new Error("inner") }`, takes(public("GET /bad")))
	if a := r.ask("GET", url+"/bad", ""); a.status != 500 || !strings.Contains(a.body, "Error: inner at") {
		t.Errorf("with http.errors: %s", a.body)
	}
}

// TestDurableRoute answers when the event is on disk, and knows it again by its
// Idempotency-Key.
func TestDurableRoute(t *testing.T) {
	r, url := served(t)
	r.script("orders", "", `export default (event, { state }) => { state.set("n", (state.get("n") ?? 0) + event.data.n); state.set("id", event.id) }`,
		takes(function.Trigger{HTTP: "POST /orders", Public: true, Durable: true, OrderBy: "data.n"}))
	first := r.ask("POST", url+"/orders", `{"n":1}`, "Idempotency-Key: k1")
	again := r.ask("POST", url+"/orders", `{"n":1}`, "Idempotency-Key: k1")
	if first.status != 202 || again.status != 202 || first.body != again.body || !strings.Contains(first.body, `"id":"http-`) {
		t.Errorf("%d %s, then %d %s", first.status, first.body, again.status, again.body)
	}
	if a := r.ask("POST", url+"/orders", `{"n":10}`, "Idempotency-Key: k2"); a.status != 202 || a.body == first.body {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := r.ask("POST", url+"/orders", `{"n":100}`); a.status != 202 {
		t.Errorf("%d %s", a.status, a.body)
	}
	// A client that uses its key again for something else loses nothing.
	if a := r.ask("POST", url+"/orders", `{"n":1000}`, "Idempotency-Key: k1"); a.status != 202 || a.body == first.body {
		t.Errorf("another body: %d %s", a.status, a.body)
	}
	if a := r.ask("POST", url+"/orders?of=2", `{"n":1}`, "Idempotency-Key: k1"); a.status != 202 || a.body == first.body {
		t.Errorf("another address: %d %s", a.status, a.body)
	}
	r.eventually("orders", "n", "1112")
	if a := r.ask("POST", url+"/orders", "{}", "Idempotency-Key: "+strings.Repeat("k", 300)); a.status != 400 {
		t.Errorf("a long key: %d", a.status)
	}
}

// TestCrossOrigin lets the pages read that a route names, and no others.
func TestCrossOrigin(t *testing.T) {
	r, url := served(t)
	const page, stranger = "https://app.example.org", "https://evil.example.org"
	r.script("a", "", `export default () => new Response("1", { headers: { "Access-Control-Allow-Origin": "*" } })`,
		takes(function.Trigger{HTTP: "PUT /a", CORS: []string{page}}))
	key := r.key("k", "a")
	for origin, want := range map[string]string{page: page, stranger: ""} {
		a := r.ask("OPTIONS", url+"/a", "", "Origin: "+origin, "Access-Control-Request-Method: PUT", "Access-Control-Request-Headers: x-api-key, content-type")
		if a.status != 204 || a.header.Get("Access-Control-Allow-Origin") != want || (want != "") != (a.header.Get("Access-Control-Allow-Headers") == "x-api-key, content-type") {
			t.Errorf("preflight from %s: %d %v", origin, a.status, a.header)
		}
		a = r.ask("PUT", url+"/a", "", "Origin: "+origin, "X-Api-Key: "+key)
		if a.status != 200 || a.header.Get("Access-Control-Allow-Origin") != want {
			t.Errorf("from %s: %d %v", origin, a.status, a.header)
		}
	}
	if a := r.ask("OPTIONS", url+"/a", ""); a.status != 405 {
		t.Errorf("OPTIONS without a question: %d", a.status)
	}
}

// raw writes a request as it is and returns the answer's first line.
func (r *rig) raw(request string) string {
	r.Helper()
	c, err := net.DialTimeout("tcp", r.httpAddress(), time.Minute)
	if err != nil {
		r.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		r.Fatal(err)
	}
	if _, err := io.WriteString(c, request); err != nil {
		r.Fatal(err)
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(line)
}

// TestHostileRequests are refused, whatever a proxy in front makes of them.
func TestHostileRequests(t *testing.T) {
	r, url := served(t, func(c *config.Config) { c.HTTP.MaxConnections = 4 })
	r.script("a", "", `export default (e) => e.text()`, takes(public("POST /a")))
	for name, x := range map[string]struct{ request, want string }{
		"two lengths":      {"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "400"},
		"chunks and more":  {"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", "501"},
		"no host":          {"POST /a HTTP/1.1\r\n\r\n", "400"},
		"long head":        {"GET /a HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("a", 30<<10) + "\r\n\r\n", "431"},
		"long path":        {"GET /" + strings.Repeat("a/", 20<<10) + " HTTP/1.1\r\nHost: x\r\n\r\n", "431"},
		"connect":          {"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", "400"},
		"blank in a name":  {"GET /a HTTP/1.1\r\nHost : x\r\n\r\n", "400"},
		"body that breaks": {"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "408"},
		"absolute":         {"POST http://y/a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi", "200"},
	} {
		if got := r.raw(x.request); !strings.Contains(got, " "+x.want+" ") {
			t.Errorf("%s: %q, want %s", name, got, x.want)
		}
	}
	// Those who say nothing keep no one else out for longer than they last.
	var idle []net.Conn
	for range 6 {
		c, err := net.DialTimeout("tcp", r.httpAddress(), time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		idle = append(idle, c)
	}
	r.until("2 of 6 are refused, with room for 4", func() bool { return r.counter("headgate_http_connections_refused_total") >= 2 })
	for _, c := range idle {
		c.Close()
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		resp, err := http.Post(url+"/a", "text/plain", strings.NewReader("hi"))
		if err == nil {
			resp.Body.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// TestRoutesDrain lets a request that is under way end when the gateway stops.
func TestRoutesDrain(t *testing.T) {
	r, url := served(t, func(c *config.Config) { c.Fetch.Allow = []string{"127.0.0.1/32"} })
	came, release := make(chan struct{}), make(chan struct{})
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(came)
		<-release
		_, _ = io.WriteString(w, "late")
	}))
	defer other.Close()
	r.script("wait", "", `export default async () => (await fetch("`+other.URL+`")).text()`, takes(public("GET /wait")),
		func(s *function.Spec) { s.Permissions.Fetch = []string{other.URL} })
	answer := make(chan got, 1)
	go func() { answer <- r.ask("GET", url+"/wait", "") }()
	<-came
	stopped := make(chan struct{})
	go func() { r.stop(); close(stopped) }()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://")); err != nil {
			break // it takes no more
		} else {
			c.Close()
		}
	}
	close(release)
	if a := <-answer; a.status != 200 || a.body != "late" {
		t.Errorf("%d %s", a.status, a.body)
	}
	<-stopped
}
