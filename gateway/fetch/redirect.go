package fetch

import (
	"net/http"
	"net/url"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sandbox/abi"
	"github.com/headgate-io/headgate/sandbox/host"
)

// redirect reports whether a status sends the client elsewhere.
func redirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// carried are the headers that go along to another origin. An author may put a
// key into any header, so these are those that hold none.
var carried = []string{"Accept", "Accept-Language", "Content-Language", "Content-Type", "User-Agent", IdempotencyKey}

// redirect turns the request to where an answer sends it (RFC 9110, 15.4; what
// becomes of method and body is what browsers do, as the Fetch standard has it).
func (o *outgoing) redirect(status int, location string) error {
	to, err := o.url.Parse(location)
	if err != nil {
		return refusal(abi.Unavailable, "the answer redirects to something that is not a URL")
	}
	if err := function.CheckFetchURL(to); err != nil {
		return refusal(abi.Denied, "the answer redirects to %s: %v", host.Shown(to), err)
	}
	if err := function.MayFetch(o.of.Origins, to); err != nil {
		return refusal(abi.Denied, "the answer redirects to %s: %v", host.Shown(to), err)
	}
	toGet := status == http.StatusSeeOther && o.method != http.MethodHead ||
		o.method == http.MethodPost && (status == http.StatusMovedPermanently || status == http.StatusFound)
	if toGet {
		o.method, o.body = http.MethodGet, nil
		for _, name := range []string{"Content-Type", "Content-Language", "Content-Encoding", "Content-Location"} {
			o.header.Del(name)
		}
	}
	if !sameOrigin(o.url, to) {
		kept := http.Header{}
		for _, name := range carried {
			if v := o.header[name]; len(v) > 0 {
				kept[name] = v
			}
		}
		o.header = kept
	}
	o.url = to
	return nil
}

// sameOrigin compares what function.MayFetch has found to be well formed.
func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && a.Hostname() == b.Hostname() && port(a) == port(b)
}

func port(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	return u.Scheme
}
