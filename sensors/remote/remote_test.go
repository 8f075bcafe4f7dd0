package remote

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sensors/sample"
)

func TestValues(t *testing.T) {
	for _, c := range []struct {
		field, payload string
		values         map[string]float64
		want           float64
		fault          string
	}{
		{payload: "23.5", want: 23.5},
		{payload: " 23.5\n", want: 23.5},
		{payload: `"23.5"`, want: 23.5},
		{payload: "ON", want: 1},
		{payload: "false", want: 0},
		{payload: "Closed", want: 0},
		{payload: "half", values: map[string]float64{"half": 50}, want: 50},
		{payload: "2", values: map[string]float64{"2": 200}, want: 200},
		// Zigbee2MQTT, and Tasmota's tele/…/SENSOR.
		{field: "soil_moisture", payload: `{"battery":97,"soil_moisture":31,"temperature":19.4}`, want: 31},
		{field: "AM2301.Temperature", payload: `{"Time":"2026-05-01T06:00:00","AM2301":{"Temperature":21.7},"TempUnit":"C"}`, want: 21.7},
		{field: "meters[1].power", payload: `{"meters":[{"power":1},{"power":2.5}]}`, want: 2.5},
		{field: "[0][1]", payload: `[[1,2]]`, want: 2},
		{field: "$.a", payload: `{"a":true}`, want: 1},
		{field: "a.b", payload: `{"a":{}}`, fault: `the payload "{\"a\":{}}" has no a.b`},
		{field: "a[3]", payload: `{"a":[1]}`, fault: "has no a[3]"},
		{field: "a", payload: `{"a":null}`, fault: "there is null, no value"},
		{field: "a", payload: `{"a":{"b":1}}`, fault: "name its field"},
		{field: "a", payload: `nonsense`, fault: `the payload "nonsense" is not JSON`},
		{payload: "soon", fault: `"soon" is not a number; say in values what it means`},
		{payload: "ON", values: map[string]float64{"open": 1}, fault: `"ON" is not a number`},
		{payload: "NaN", fault: "not a number"},
		{payload: "", fault: "not a number"},
		{payload: "\xff\xfe", fault: "not a number"},
		{payload: strings.Repeat("x", 5000), fault: "…"},
	} {
		s := Selection{Field: c.field, Values: c.values}
		path, err := parsePath(c.field)
		if err != nil {
			t.Errorf("%s: %v", c.field, err)
			continue
		}
		got, err := s.value(path, []byte(c.payload))
		switch {
		case c.fault == "" && (err != nil || got != c.want):
			t.Errorf("%s of %.80s: %v, %v; want %v", c.field, c.payload, got, err, c.want)
		case c.fault != "" && (err == nil || !strings.Contains(err.Error(), c.fault) || len(err.Error()) > 400):
			t.Errorf("%s of %.80s: %v, %.300v; want %s", c.field, c.payload, got, err, c.fault)
		}
	}
	for _, field := range []string{"a..b", "a[", "a[x]", "a[1]b", "a[-1]", strings.Repeat("a.", 20) + "a"} {
		if p, err := parsePath(field); err == nil {
			t.Errorf("%q is %v", field, p)
		}
	}
}

func FuzzValue(f *testing.F) {
	f.Add("a[0].b", `{"a":[{"b":1}]}`)
	f.Add("", "on")
	f.Fuzz(func(t *testing.T, field, payload string) {
		path, err := parsePath(field)
		if err != nil {
			return
		}
		s := Selection{Field: field}
		if _, err := s.value(path, []byte(payload)); err != nil && len(err.Error()) > 1000+2*len(field) {
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
	})
}

// house delivers messages to whoever watches.
type house struct {
	watchers map[string]func(Message)
	stored   map[string]string
}

func (h *house) Watch(filter string, f func(Message)) (func(), error) {
	if filter == "bad/#/filter" {
		return nil, errors.New("no such filter")
	}
	h.watchers[filter] = f
	if p, ok := h.stored[filter]; ok {
		f(Message{Topic: filter, Payload: []byte(p), Retained: true})
	}
	return func() { delete(h.watchers, filter) }, nil
}

func TestMQTTDevice(t *testing.T) {
	h := &house{watchers: map[string]func(Message){}, stored: map[string]string{"soil": `{"m":20}`}}
	notified := 0
	d := &MQTT{Topic: "soil", Selection: Selection{Field: "m"}, Availability: Availability{Topic: "soil/availability"}}
	src, err := d.Opener(h)(t.Context(), func() { notified++ })
	if err != nil {
		t.Fatal(err)
	}
	say := func(topic, payload string) { h.watchers[topic](Message{Topic: topic, Payload: []byte(payload)}) }
	if got, err := src.Read(t.Context()); err != nil || got.Value != 20 || !got.Retained {
		t.Errorf("stored: %+v, %v", got, err)
	}
	say("soil", `{"m":21}`)
	if got, err := src.Read(t.Context()); err != nil || got.Value != 21 || got.Retained || got.Age > time.Minute {
		t.Errorf("live: %+v, %v", got, err)
	}
	say("soil", "?")
	if got, err := src.Read(t.Context()); err == nil {
		t.Errorf("nonsense: %+v", got)
	}
	for _, word := range []string{"offline", " Offline ", `{"state":"offline"}`} {
		say("soil/availability", word)
		if got, err := src.Read(t.Context()); !errors.Is(err, errOffline) {
			t.Errorf("%s: %+v, %v", word, got, err)
		}
		say("soil/availability", "online")
	}
	say("soil/availability", "offline")
	say("soil", `{"m":22}`) // who speaks is there
	if got, err := src.Read(t.Context()); err != nil || got.Value != 22 {
		t.Errorf("back: %+v, %v", got, err)
	}
	if err := src.Close(); err != nil || len(h.watchers) != 0 || notified < 8 {
		t.Errorf("%v, %d watchers left, notified %d times", err, len(h.watchers), notified)
	}
	h.stored = nil
	silent, err := d.Opener(h)(t.Context(), func() {})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := silent.Read(t.Context()); !errors.Is(err, sample.ErrNothing) {
		t.Error(err)
	}
	d.Availability.Topic = "bad/#/filter"
	if _, err := d.Opener(h)(t.Context(), func() {}); err == nil {
		t.Error("a filter that cannot be")
	}
}

func TestHTTPDevice(t *testing.T) {
	var answer atomic.Pointer[http.HandlerFunc]
	answers := func(h http.HandlerFunc) { answer.Store(&h) }
	answers(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"meters":[{"power":12.5}]}`)) })
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*answer.Load())(w, r) }))
	defer s.Close()
	d := &HTTP{URL: s.URL, Selection: Selection{Field: "meters[0].power"}, Headers: map[string]string{"Authorization": "Bearer x"}, Timeout: function.Duration(200 * time.Millisecond)}
	src, err := d.Opener()(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = src.Close() }()
	if got, err := src.Read(t.Context()); err != nil || got.Value != 12.5 {
		t.Errorf("%+v, %v", got, err)
	}
	hang := make(chan struct{})
	defer close(hang)
	for want, a := range map[string]http.HandlerFunc{
		"answers 401":       func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) },
		"over 65536 bytes":  func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 1<<20)) },
		"has no meters":     func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{}")) },
		"deadline exceeded": func(_ http.ResponseWriter, r *http.Request) { <-hang },
		"stopped after":     func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", http.StatusFound) },
		"": func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write([]byte(`{"meters":[{"power":"` + r.Header.Get("Authorization")[7:] + `"}]}`))
		},
	} {
		answers(a)
		if got, err := src.Read(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %+v, %v", want, got, err)
		}
	}
}

// TestHTTPDeviceSendsElsewhere has a device redirect to another host: nothing
// is asked there, least of all with the headers that are the device's.
func TestHTTPDeviceSendsElsewhere(t *testing.T) {
	var asked atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		_, _ = w.Write([]byte("1"))
	}))
	defer other.Close()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/here":
			http.Redirect(w, r, "/value", http.StatusFound)
		case "/value":
			_, _ = w.Write([]byte(r.Header.Get("X-Key")))
		default:
			http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
		}
	}))
	defer s.Close()
	for path, fault := range map[string]string{"/here": "", "/away": "it sends elsewhere"} {
		d := &HTTP{URL: s.URL + path, Headers: map[string]string{"X-Key": "7"}}
		src, err := d.Opener()(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := src.Read(t.Context())
		if fault == "" && (err != nil || got.Value != 7) || fault != "" && (err == nil || !strings.Contains(err.Error(), fault)) {
			t.Errorf("%s: %+v, %v", path, got, err)
		}
		if err := src.Close(); err != nil {
			t.Error(err)
		}
	}
	if asked.Load() != 0 {
		t.Error("another host was asked")
	}
}
