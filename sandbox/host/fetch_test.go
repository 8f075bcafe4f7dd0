package host_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sandbox/abi"
	"github.com/headgate-io/headgate/sandbox/host"
)

// counted answers every fetch with how many there were.
type counted struct {
	calls []int
	body  []byte
	err   error
}

func (c *counted) Fetch(_ context.Context, f *host.Fetch) (host.FetchResult, error) {
	c.calls = append(c.calls, f.Call)
	body := c.body
	if body == nil {
		body = fmt.Appendf(nil, "answer %d", len(c.calls))
	}
	return host.FetchResult{Answer: abi.FetchAnswer{Status: 200, URL: f.URL.String(), Body: body}, Sent: 100, Received: int64(len(body))}, c.err
}

func fetching(f host.Fetcher, in host.Invocation) *host.Calls {
	g := host.NewGrant("irrigate", function.Permissions{Fetch: []string{"https://api.example.org/v1"}}, function.Limits{}, nil, nil)
	if f != nil {
		g = g.WithFetcher(f)
	}
	c := &host.Calls{}
	c.Reset(g, in)
	return c
}

const enough = 32 << 20

func get(t *testing.T, c *host.Calls, url string, room int) (string, abi.Errno) {
	t.Helper()
	raw, e := c.Fetch(t.Context(), []byte(`{"url":"`+url+`"}`), room)
	if e != 0 {
		return c.Reason(), e
	}
	a, err := abi.ParseFetchAnswer(raw)
	if err != nil {
		t.Fatal(err)
	}
	return string(a.Body), 0
}

const there = "https://api.example.org/v1/a"

// TestFetchAnswersThatDoNotFit are kept, and asked for again without a second
// request; the same request after that is another.
func TestFetchAnswersThatDoNotFit(t *testing.T) {
	f := &counted{}
	c := fetching(f, host.Invocation{})
	for _, step := range []struct {
		url  string
		room int
		want string
	}{
		{there, 4, "answer 1"},
		{there, 10, "answer 1"},
		{there, enough, "answer 1"},
		{there, enough, "answer 2"},
		{there, 4, "answer 3"},
		{there + "/b", enough, "answer 4"},
		{there, enough, "answer 5"},
	} {
		if got, e := get(t, c, step.url, step.room); got != step.want || e != 0 {
			t.Errorf("%s with room for %d: %q %d, want %q", step.url, step.room, got, e, step.want)
		}
	}
}

// TestFetchJournal lets a rerun hear what the run before it heard, as long as
// it asks for the same.
func TestFetchJournal(t *testing.T) {
	f := &counted{}
	c := fetching(f, host.Invocation{})
	for _, url := range []string{there + "/1", there + "/2", there + "/3"} {
		_, _ = get(t, c, url, enough)
	}
	for run, want := range []struct{ urls, answers []string }{
		{[]string{"/1", "/2", "/3", "/4"}, []string{"answer 1", "answer 2", "answer 3", "answer 4"}},
		{[]string{"/1", "/other", "/3"}, []string{"answer 1", "answer 5", "answer 6"}}, // what follows is new
		{[]string{"/1", "/other", "/3", "/4"}, []string{"answer 1", "answer 5", "answer 6", "answer 7"}},
	} {
		c.Rewind(nil)
		var got []string
		for _, url := range want.urls {
			a, _ := get(t, c, there+url, enough)
			got = append(got, a)
		}
		if !slices.Equal(got, want.answers) {
			t.Errorf("run %d: %v, want %v", run+2, got, want.answers)
		}
	}
	// The index of a call is what it is in its run.
	if want := []int{0, 1, 2, 3, 1, 2, 3}; !slices.Equal(f.calls, want) {
		t.Errorf("indexes %v, want %v", f.calls, want)
	}
	if sent, received := c.Fetched(); sent != 700 || received != 56 {
		t.Errorf("metered %d, %d", sent, received)
	}
	f.err = &host.FetchError{Errno: abi.Unavailable, Reason: "gone"}
	_, first := get(t, c, there+"/5", enough)
	f.err = nil
	c.Rewind(nil)
	for _, url := range []string{"/1", "/other", "/3", "/4"} {
		_, _ = get(t, c, there+url, enough)
	}
	if why, again := get(t, c, there+"/5", enough); again != first || !strings.Contains(why, "gone") {
		t.Errorf("a failure was %d, in the rerun %d %s", first, again, why)
	}
	c.Reset(c.Grant(), host.Invocation{})
	if a, _ := get(t, c, there+"/1", enough); a != "answer 9" {
		t.Errorf("the next event hears %q", a)
	}
}

func TestFetchBounds(t *testing.T) {
	f := &counted{}
	c := fetching(f, host.Invocation{})
	for range host.MaxFetches {
		if why, e := get(t, c, there, enough); e != 0 {
			t.Fatal(why)
		}
	}
	if why, e := get(t, c, there, enough); e != abi.Limit || !strings.Contains(why, "64 times") {
		t.Errorf("%d %s", e, why)
	}
	c = fetching(&counted{body: make([]byte, host.MaxFetchedBytes/3)}, host.Invocation{})
	var last abi.Errno
	for range 3 {
		_, last = get(t, c, there, enough)
	}
	if last != abi.Limit {
		t.Errorf("three thirds and their heads: %d", last)
	}
}

func TestFetchPermissions(t *testing.T) {
	for url, want := range map[string]abi.Errno{
		there:                                                  0,
		"https://api.example.org/v1":                           0,
		"https://API.example.org:443/v1?x#y":                   0,
		"https://api.example.org/v10":                          abi.Denied,
		"https://api.example.org/":                             abi.Denied,
		"http://api.example.org/v1":                            abi.Denied,
		"https://api.example.org:444/v1":                       abi.Denied,
		"https://api.example.org.evil.org/v1":                  abi.Denied,
		"https://evil.org/api.example.org/v1":                  abi.Denied,
		"https://api.example.org/v1/../admin":                  abi.Invalid,
		"https://api.example.org/v1/%2e%2e/admin":              abi.Invalid,
		"https://api.example.org/v1/..%2fadmin":                abi.Invalid,
		"https://api.example.org/v1/..%5cadmin":                abi.Invalid,
		"https://api.example.org@evil.org/v1":                  abi.Invalid,
		"https://user:pass@api.example.org/v1":                 abi.Invalid,
		"file:///etc/passwd":                                   abi.Invalid,
		"//api.example.org/v1":                                 abi.Invalid,
		"https://":                                             abi.Invalid,
		"https://api.example.org/" + strings.Repeat("a", 9000): abi.Invalid,
	} {
		if why, e := get(t, fetching(&counted{}, host.Invocation{}), url, enough); e != want {
			t.Errorf("%.60s: %d %s, want %d", url, e, why, want)
		}
	}
	if why, e := get(t, fetching(nil, host.Invocation{}), there, enough); e != abi.Unsupported {
		t.Errorf("without a fetcher: %d %s", e, why)
	}
	c := fetching(&counted{}, host.Invocation{})
	if _, e := c.Fetch(t.Context(), []byte("nonsense"), enough); e != abi.Invalid || !strings.Contains(c.Reason(), "head") {
		t.Errorf("nonsense: %d %s", e, c.Reason())
	}
}

// waiting is a state whose reads are not on disk.
type waiting struct {
	store
	err error
}

func (w waiting) Committed(ctx context.Context) error {
	if w.err != nil {
		return w.err
	}
	<-ctx.Done()
	return ctx.Err()
}

// TestFetchWaitsForTheCommit of what the guest has read: nothing is sent
// before, and an invocation that saw what was taken back ends.
func TestFetchWaitsForTheCommit(t *testing.T) {
	f := &counted{}
	c := fetching(f, host.Invocation{State: waiting{err: errors.New("taken back")}})
	if _, e := get(t, c, there, enough); e == 0 || c.Aborted() == nil || c.Aborted().Outcome != function.Failed {
		t.Errorf("%d %+v", e, c.Aborted())
	}
	c = fetching(f, host.Invocation{State: waiting{}})
	c.Arm(time.Now().Add(10 * time.Millisecond))
	if _, e := get(t, c, there, enough); e == 0 || c.Aborted() == nil || c.Aborted().Outcome != function.TimedOut {
		t.Errorf("%d %+v", e, c.Aborted())
	}
	if len(f.calls) != 0 {
		t.Error("it was sent")
	}
}

// TestFetchErrorsShowNoQuery keeps keys in addresses out of logs.
func TestFetchErrorsShowNoQuery(t *testing.T) {
	c := fetching(&counted{err: errors.New("no route")}, host.Invocation{})
	for _, url := range []string{there + "?key=hunter2", "https://evil.org/?key=hunter2"} {
		if why, e := get(t, c, url, enough); e == 0 || strings.Contains(why, "hunter2") {
			t.Errorf("%d %s", e, why)
		}
	}
}
