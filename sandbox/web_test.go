package sandbox_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/internal/slow"
	"github.com/headgate-io/headgate/sandbox"
	"github.com/headgate-io/headgate/sandbox/abi"
	"github.com/headgate-io/headgate/sandbox/host"
)

// echo answers every fetch with what it was asked.
type echo struct {
	asked []host.Fetch
	err   error
}

func (e *echo) Fetch(_ context.Context, f *host.Fetch) (host.FetchResult, error) {
	e.asked = append(e.asked, *f)
	if e.err != nil {
		return host.FetchResult{}, e.err
	}
	text := fmt.Sprintf(`{"call":%d,"method":%q,"body":%q,"type":%q}`, f.Call, f.Request.Method, f.Request.Body, header(f.Request.Headers, "content-type"))
	return host.FetchResult{Answer: abi.FetchAnswer{
		Status: 201, URL: f.URL.String(), Headers: abi.Headers{{Name: "content-type", Value: "application/json"}, {Name: "x-a", Value: "1"}, {Name: "x-a", Value: "2"}}, Body: []byte(text),
	}, Sent: 10, Received: 20}, nil
}

func header(all abi.Headers, name string) string {
	for _, h := range all {
		if strings.EqualFold(h.Name, name) {
			return h.Value
		}
	}
	return ""
}

// script runs a JavaScript function once.
func script(t *testing.T, source string, f host.Fetcher, in host.Invocation) (function.Result, *host.Calls) {
	t.Helper()
	e := testEngine(t, sandbox.Config{})
	perms := function.Permissions{Fetch: []string{"https://api.example.org"}}
	u := load(t, e, "f.js", []byte(source), testOptions{perms: perms, config: map[string][]byte{"target": []byte("32"), "mode": []byte(`"on"`)}})
	u.grant = u.grant.WithFetcher(f)
	r := u.invoke(in)
	return r, &u.calls
}

// TestFetchInJavaScript sends a request and reads its answer in every way.
func TestFetchInJavaScript(t *testing.T) {
	f := &echo{}
	r, calls := script(t, `
export default async (event, ctx) => {
  const r = await fetch("https://api.example.org/v1/things?x=1", {
    method: "post", headers: { "Content-Type": "application/json", "X-Key": "k" }, body: JSON.stringify({ a: "ü" }), timeout: "2s",
  });
  const again = await ctx.fetch(new URL("/v2", "https://api.example.org"));
  const copy = r.clone();
  return [r.status, r.ok, r.headers.get("Content-Type"), r.headers.get("x-a"), r.headers.get("none"), r.url, r.redirected, await r.json(),
    (await copy.bytes()).length, r.bodyUsed, JSON.parse(new TextDecoder().decode(await again.arrayBuffer())).call];
};`, f, host.Invocation{Meta: metaMap{"id": "7", "source": "/mqtt/soil-3"}})
	const want = `[201,true,"application/json","1, 2",null,"https://api.example.org/v1/things?x=1",false,{"call":0,"method":"POST","body":"{\"a\":\"ü\"}","type":"application/json"},76,true,1]`
	if r.Outcome != function.OK || string(r.Output) != want {
		t.Fatalf("%s %s\n%s\n%s\n%v", r.Outcome, r.Error, r.Output, want, calls.Logs())
	}
	if a := f.asked; len(a) != 2 || a[0].Source != "/mqtt/soil-3" || a[0].ID != "7" || a[0].Request.TimeoutMillis != 2000 || header(a[0].Request.Headers, "x-key") != "k" {
		t.Errorf("asked %+v", a)
	}
	if sent, received := calls.Fetched(); sent != 20 || received != 40 {
		t.Errorf("metered %d and %d", sent, received)
	}
}

// TestFetchFailsInJavaScript with the errno as its code and the reason in
// words, which the author may catch.
func TestFetchFailsInJavaScript(t *testing.T) {
	slow.Emulated(t, slow.LargeGuests)
	for _, c := range []struct {
		call string
		err  error
		want string
	}{
		{`fetch("https://elsewhere.org/a?key=1")`, nil, "DENIED http_fetch: https://elsewhere.org/a: permissions.fetch allows https://api.example.org: add the origin to it"},
		{`fetch("ftp://api.example.org")`, nil, "INVALID http_fetch: the URL must be absolute, with http:// or https://"},
		{`fetch("https://api.example.org", {body: {a: 1}})`, nil, "undefined Request: the body is of type object: pass a string, bytes or URLSearchParams, or JSON.stringify it"},
		{`fetch("https://api.example.org")`, errors.New("no route"), "UNAVAILABLE http_fetch: https://api.example.org: no route"},
		{`fetch("https://api.example.org")`, &host.FetchError{Errno: abi.Limit, Reason: "too much"}, "LIMIT http_fetch: https://api.example.org: too much"},
	} {
		r, _ := script(t, `export default async () => { try { await `+c.call+` } catch (e) { return e.code + " " + e.message } }`, &echo{err: c.err}, host.Invocation{})
		if string(r.Output) != c.want {
			t.Errorf("%s: %s %q %s", c.call, r.Outcome, r.Output, r.Error)
		}
	}
}

// TestWebInJavaScript tries what scripts know from browsers. Expected values
// are those of the WHATWG standards.
func TestWebInJavaScript(t *testing.T) {
	slow.Both(t, slow.LargeGuests)
	for expression, want := range map[string]string{
		`new URL("HTTPS://User:pa%20ss@Example.ORG:443/a/./b/../c d?q=ü&r#top").href`: "https://User:pa%20ss@example.org/a/c%20d?q=%C3%BC&r#top",
		`new URL("../x?y", "https://a.org/b/c/d?z").href`:                             "https://a.org/b/x?y",
		`new URL("//b.org/c", "https://a.org").href`:                                  "https://b.org/c",
		`new URL("?q", "https://a.org/b#c").href`:                                     "https://a.org/b?q",
		`new URL("#h", "https://a.org/b?q").href`:                                     "https://a.org/b?q#h",
		`new URL("https:\\\\a.org\\b").href`:                                          "https://a.org/b",
		`new URL("https://a.org/%2e%2e/b").pathname`:                                  "/b",
		`new URL("http://[::1]:8080/").host`:                                          "[::1]:8080",
		`new URL("mailto:a@b.org").pathname`:                                          "a@b.org",
		`new URL("https://a.org").origin + new URL("https://a.org").pathname`:         "https://a.org/",
		`(() => { const u = new URL("https://a.org/p?x=1"); u.searchParams.append("y", "a b&c"); u.pathname = "/q r"; u.port = 8443; u.hash = "z"; return u.href })()`: "https://a.org:8443/q%20r?x=1&y=a+b%26c#z",
		`(() => { const u = new URL("https://a.org/p"); u.host = "b.org:99"; u.search = "?k=v"; return u.toString() + u.searchParams.get("k") })()`:                    "https://b.org:99/p?k=vv",
		`URL.canParse("nonsense") + " " + URL.canParse("x", "https://a.org")`:                                                                                          "false true",
		`(() => { try { new URL("/a") } catch (e) { return e.name } })()`:                                                                                              "TypeError",
		`(() => { try { new URL("https://a b/") } catch (e) { return e.name } })()`:                                                                                    "TypeError",
		`[...new URLSearchParams("?a=1&a=2&b=%20+x&c")].join("|")`:                                                                                                     "a,1|a,2|b,  x|c,",
		`(() => { const p = new URLSearchParams({b: "2", a: "1"}); p.sort(); p.set("b", 3); p.delete("x"); return p + "" + p.size + p.has("a") + p.getAll("b") })()`:   "a=1&b=32true3",
		`new URLSearchParams([["ü", "*'()~"]]).toString()`:                                                                                                             "%C3%BC=*%27%28%29%7E",
		`new TextEncoder().encode("aü€😀").join()`:                                                                                                                      "97,195,188,226,130,172,240,159,152,128",
		`new TextDecoder().decode(new Uint8Array([0xef, 0xbb, 0xbf, 104, 0xff]))`:                                                                                      "h\ufffd",
		`(() => { try { new TextDecoder("utf8", {fatal: true}).decode(new Uint8Array([255])) } catch (e) { return e.name } })()`:                                       "TypeError",
		`JSON.stringify(new TextEncoder().encodeInto("aü€", new Uint8Array(4)))`:                                                                                       `{"read":2,"written":3}`,
		`atob(btoa("hi"))`: "hi",
		`(() => { const h = new Headers({A: "1"}); h.append("a", " 2 "); h.append("Set-Cookie", "x"); h.append("set-cookie", "y"); return [...h].join("|") + h.has("A") + h.getSetCookie() })()`: "a,1, 2|set-cookie,x|set-cookie,ytruex,y",
		`(() => { try { new Headers({"a b": "1"}) } catch (e) { return e.name } })()`:                                                                                                            "TypeError",
		`(() => { try { new Headers({a: "1\r\nb: 2"}) } catch (e) { return e.name } })()`:                                                                                                        "TypeError",
		`await Response.json({a: 1}, {status: 201}).text() + Response.json(1).headers.get("content-type")`:                                                                                       `{"a":1}application/json`,
		`new Response("x").headers.get("content-type")`:                                                                                                                                          "text/plain;charset=UTF-8",
		`(() => { const r = Response.redirect("https://a.org/"); return r.status + r.headers.get("location") })()`:                                                                               "302https://a.org/",
		`(() => { try { new Response("", {status: 99}) } catch (e) { return e.name } })()`:                                                                                                       "RangeError",
		`new Request("https://a.org", {method: "put", body: new URLSearchParams("a=b")}).headers.get("content-type")`:                                                                            "application/x-www-form-urlencoded;charset=UTF-8",
	} {
		r, _ := script(t, "export default async () => "+expression, nil, host.Invocation{})
		if string(r.Output) != want {
			t.Errorf("%s\n got %s\nwant %s %s", expression, r.Output, want, r.Error)
		}
	}
}

// TestLambdaHandlers runs what people have written for AWS Lambda, unchanged.
func TestLambdaHandlers(t *testing.T) {
	slow.Emulated(t, slow.LargeGuests)
	in := host.Invocation{Input: []byte(`{"n":2}`), Meta: metaMap{"id": "7", "function": "f", "version": "3"}}
	web := host.Invocation{Input: []byte(`{"n":2}`), Meta: metaMap{
		"id": "7", "function": "f", "version": "3", "subject": "/a", "time": "2026-05-01T08:00:00Z", "params": `{"id":"9"}`,
		"httpmethod": "POST", "httpquery": "name=World&x=1", "httpheaders": `{"user-agent":"t"}`, "httpremote": "192.0.2.1",
	}}
	for _, c := range []struct {
		name, source string
		in           host.Invocation
		want         string
	}{
		{"async", `exports.handler = async (event, context) => ({ n: event.n + 1, id: context.awsRequestId, name: context.functionName, left: context.getRemainingTimeInMillis() > 0 });`, in, `{"n":3,"id":"7","name":"f","left":true}`},
		{"module", `const twice = (n) => 2 * n; module.exports.handler = async function (event) { return twice(event.n); };`, in, "4"},
		{"named export", `export const handler = async (event) => event.n;`, in, "2"},
		{"callback", `exports.handler = (event, context, callback) => { callback(null, { n: event.n }); };`, in, `{"n":2}`},
		{"plain", `module.exports = (event, ctx) => event.data.n + ctx.config.target;`, in, "34"},
		{"default", `export default function handler(event) { return event.data.n; }`, in, "2"},
		{"environment", `exports.handler = async () => process.env.mode + process.env.target;`, in, "on32"},
		{"http", `exports.handler = async (event) => [event.httpMethod, event.rawPath, event.queryStringParameters.name, event.pathParameters.id, JSON.parse(event.body).n, event.requestContext.http.sourceIp];`, web, `["POST","/a","World","9",2,"192.0.2.1"]`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if r, calls := script(t, c.source, nil, c.in); r.Outcome != function.OK || string(r.Output) != c.want {
				t.Errorf("%s %s %q, want %s %v", r.Outcome, r.Error, r.Output, c.want, calls.Logs())
			}
		})
	}
	for source, want := range map[string]string{
		"exports.handler = async (event) => {\n  throw new Error('broken');\n};":                         "Error: broken at <anonymous> (f.js:2",
		"exports.handler = (event, context, callback) => callback(new TypeError('late'));":               "TypeError: late",
		"exports.handler = async () => {\n  const fs = require('fs');\n};":                               `require("fs"): there are no packages here`,
		"export default async () => {\n  const r = await fetch('https://elsewhere.org');\n  return 1\n}": "f.js:2",
	} {
		if r, _ := script(t, source, &echo{}, in); r.Outcome != function.Failed || !strings.Contains(r.Error, want) {
			t.Errorf("%s\n%s %s, want %s", source, r.Outcome, r.Error, want)
		}
	}
}

// TestReplies turns what a handler returns into the attributes of an answer.
func TestReplies(t *testing.T) {
	web := host.Invocation{Meta: metaMap{"httpmethod": "GET", "subject": "/a", "httpheaders": "{}", "time": "2026-05-01T08:00:00Z"}}
	for source, want := range map[string]string{
		`export default () => new Response("hi", { status: 418, headers: { "X-A": "1" } })`: `[{status 418} {header.x-a 1} {datacontenttype text/plain;charset=UTF-8}] hi`,
		`export default () => Response.json({ a: 1 })`:                                      `[{status 200} {datacontenttype application/json}] {"a":1}`,
		`export default () => ({ statusCode: 404, headers: { A: "1" }, body: "none" })`:     `[{status 404} {header.a 1}] none`,
		`export default () => ({ a: 1 })`:                                                   `[{datacontenttype application/json}] {"a":1}`,
		`export default () => "text"`:                                                       `[] text`,
	} {
		r, calls := script(t, source, nil, web)
		if got := fmt.Sprint(calls.OutputMeta()) + " " + string(r.Output); got != want {
			t.Errorf("%s\n got %s %s\nwant %s", source, got, r.Error, want)
		}
	}
	r, calls := script(t, `export default () => ({ statusCode: 404, body: "x" })`, nil, host.Invocation{})
	if string(r.Output) != `{"statusCode":404,"body":"x"}` || len(calls.OutputMeta()) != 1 {
		t.Errorf("of no request: %s %v", r.Output, calls.OutputMeta())
	}
}
