package functest

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/sandbox/abi"
	"github.com/headgate-io/headgate/sandbox/host"
)

// request is an event's HTTP, taken apart.
func (e *Event) request() (method string, u *url.URL, err error) {
	method, target, _ := strings.Cut(e.HTTP, " ")
	u, err = url.ParseRequestURI(strings.TrimSpace(target))
	if err != nil || method != strings.ToUpper(method) {
		return "", nil, fmt.Errorf("%q is not a request: write it as GET /fields/3?unit=mm", e.HTTP)
	}
	return method, u, nil
}

// fillRequest makes a request of an event, as the gateway does.
func (e *Event) fillRequest(ev *event.Event) {
	method, u, err := e.request()
	if err != nil {
		return // Read has said so
	}
	headers := map[string]string{"host": "test"}
	for k, v := range e.Headers {
		headers[strings.ToLower(k)] = v
	}
	ev.Source, ev.Type, ev.Subject, ev.DataContentType = "/http", event.TypeHTTP, u.Path, headers["content-type"]
	ev.Extensions = map[string]string{
		event.ExtHTTPMethod: method, event.ExtHTTPQuery: u.RawQuery, event.ExtHTTPHeaders: jsonText(headers), event.ExtHTTPRemote: "192.0.2.1",
	}
}

// judgeReply compares the status and the headers of the answer.
func (r *Report) judgeReply(calls *host.Calls) {
	want := &r.Case.Expect
	status, headers := http.StatusOK, map[string]string{}
	for _, a := range calls.OutputMeta() {
		switch name, ok := strings.CutPrefix(a.Key, abi.OutputHeaderPrefix); {
		case a.Key == abi.OutputStatus:
			status, _ = strconv.Atoi(a.Value) // 0 is as wrong as what is no number
		case a.Key == abi.MetaContentType:
			headers["content-type"] = a.Value
		case ok:
			headers[name] = a.Value
		}
	}
	if want.Status != nil && *want.Status != status {
		r.fault("status: want %d, got %d", *want.Status, status)
	}
	for _, name := range slices.Sorted(maps.Keys(want.Headers)) {
		if got := headers[strings.ToLower(name)]; got != want.Headers[name] {
			r.fault("header %s: want %q, got %q", name, want.Headers[name], got)
		}
	}
}

// Fetch is a request that the function sends, and the answer that it gets.
type Fetch struct {
	// URL and Method are what the request must have; the method is GET when it
	// is left out.
	URL    string `yaml:"url"`
	Method string `yaml:"method"`
	// Body, where given, is what it must send: JSON, or text as it is.
	Body any `yaml:"body"`
	// Status (200), Headers, and Data as JSON or Text are the answer; Error
	// in their place is that there is none, and why.
	Status  int               `yaml:"status"`
	Headers map[string]string `yaml:"headers"`
	Data    any               `yaml:"data"`
	Text    *string           `yaml:"text"`
	Error   string            `yaml:"error"`
}

// fetcher answers from a case, in its order.
type fetcher struct {
	r    *Report
	left []Fetch
}

var _ host.Fetcher = (*fetcher)(nil)

// Fetch answers one request. One that the case does not declare fails it.
func (f *fetcher) Fetch(_ context.Context, q *host.Fetch) (host.FetchResult, error) {
	method := strings.ToUpper(q.Request.Method)
	if method == "" {
		method = http.MethodGet
	}
	said := method + " " + q.URL.String()
	if len(f.left) == 0 {
		f.r.fault("fetch %s was not expected: declare it in the test, as fetch: [{url: %q, method: %s, status: 200, data: {}}]", said, q.URL, method)
		return host.FetchResult{}, fmt.Errorf("%s is not in the test", said)
	}
	a := f.left[0]
	f.left = f.left[1:]
	if want := strings.ToUpper(a.Method); want != method && (want != "" || method != http.MethodGet) || a.URL != q.URL.String() {
		f.r.fault("fetch: want %s %s, got %s", a.Method, a.URL, said)
		return host.FetchResult{}, fmt.Errorf("%s is not what the test expects now", said)
	}
	if a.Body != nil && !same(decode(q.Request.Body), a.Body) {
		f.r.fault("fetch %s: want the body %s, got %s", said, jsonText(a.Body), q.Request.Body)
	}
	if a.Error != "" {
		return host.FetchResult{}, fmt.Errorf("%s", a.Error)
	}
	body, err := payload(a.Data, a.Text)
	if err != nil {
		return host.FetchResult{}, err
	}
	answer := abi.FetchAnswer{Status: a.Status, URL: q.URL.String(), Body: body}
	if answer.Status == 0 {
		answer.Status = http.StatusOK
	}
	if _, ok := a.Headers["content-type"]; !ok && a.Data != nil {
		answer.Headers = append(answer.Headers, abi.Header{Name: "content-type", Value: "application/json"})
	}
	for _, name := range slices.Sorted(maps.Keys(a.Headers)) {
		answer.Headers = append(answer.Headers, abi.Header{Name: strings.ToLower(name), Value: a.Headers[name]})
	}
	return host.FetchResult{Answer: answer}, nil
}

// missing reports what the function was to fetch and has not.
func (f *fetcher) missing() {
	for _, a := range f.left {
		f.r.fault("fetch %s is missing", a.URL)
	}
}
