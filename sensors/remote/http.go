package remote

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sensors"
	"github.com/headgate-io/headgate/sensors/sample"
)

// HTTP is a device that is asked with GET, and answers with a number or JSON.
type HTTP struct {
	URL       string `yaml:"url"`
	Selection `yaml:",inline"`
	// Headers are sent along, such as an authorisation.
	Headers map[string]string `yaml:"headers"`
	// Timeout is how long the device may take (5s).
	Timeout function.Duration `yaml:"timeout"`
}

var _ sample.Driver = (*HTTP)(nil)

// Bounds of an exchange: a device's answer is small.
const (
	httpTimeout    = 5 * time.Second
	maxHTTPTimeout = 9 * time.Second // below what the sampler allows
	maxBody        = 64 << 10
)

// Validate implements sample.Driver.
func (h *HTTP) Validate(add func(string, ...any)) {
	u, err := url.Parse(h.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		add(fmt.Sprintf("%q is not the URL of a device: write it as http://192.0.2.7/status", h.URL), "url")
	}
	if h.Timeout.Std() > maxHTTPTimeout {
		add(fmt.Sprintf("%v is more than %v", h.Timeout, maxHTTPTimeout), "timeout")
	}
	h.validate(add)
}

// Describe implements sample.Driver.
func (h *HTTP) Describe() sample.Description { return sample.Description{Interval: time.Minute} }

// Opener returns what asks the device. Every sensor has connections of its own:
// there is one request at a time.
func (h *HTTP) Opener() sample.Opener {
	return func(context.Context, func()) (sample.Source, error) {
		path, err := parsePath(h.Field)
		if err != nil {
			return nil, err
		}
		timeout := h.Timeout.Std()
		if timeout == 0 {
			timeout = httpTimeout
		}
		t := &http.Transport{MaxConnsPerHost: 1, IdleConnTimeout: 2 * time.Minute, MaxResponseHeaderBytes: 16 << 10}
		return &asked{HTTP: h, path: path, transport: t, client: &http.Client{Transport: t, Timeout: timeout, CheckRedirect: sameHost}}, nil
	}
}

// maxRedirects bounds how often a device may send elsewhere on itself.
const maxRedirects = 5

// sameHost follows a device to other paths of its own: whoever has taken it over
// sends the gateway, and the headers meant for the device, nowhere else.
func sameHost(to *http.Request, via []*http.Request) error {
	switch {
	case to.URL.Host != via[0].URL.Host || to.URL.Scheme != via[0].URL.Scheme:
		return fmt.Errorf("it sends elsewhere, to %s://%s: name that in url if it is right", to.URL.Scheme, to.URL.Host)
	case len(via) > maxRedirects:
		return fmt.Errorf("stopped after %d redirects", maxRedirects)
	}
	return nil
}

type asked struct {
	*HTTP
	path      []step
	transport *http.Transport
	client    *http.Client
}

func (a *asked) Close() error {
	a.transport.CloseIdleConnections()
	return nil
}

// Read asks once.
func (a *asked) Read(ctx context.Context) (sample.Sample, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.URL, nil)
	if err != nil {
		return sample.Sample{}, err
	}
	req.Header.Set("Accept", "application/json, text/plain")
	for k, v := range a.Headers {
		req.Header.Set(k, v)
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return sample.Sample{}, err // it names the URL
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	switch {
	case err != nil:
		return sample.Sample{}, fmt.Errorf("read the answer of %s: %w", a.URL, err)
	case len(body) > maxBody:
		return sample.Sample{}, fmt.Errorf("the answer of %s is over %d bytes", a.URL, maxBody)
	case resp.StatusCode != http.StatusOK:
		return sample.Sample{}, fmt.Errorf("%s answers %s", a.URL, resp.Status)
	}
	v, err := a.value(a.path, body)
	if err != nil {
		return sample.Sample{}, fmt.Errorf("%s: %w", a.URL, err)
	}
	return sample.Sample{Quantity: sensors.Quantity{Value: v}}, nil
}
