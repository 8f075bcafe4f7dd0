package function

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
)

// Origin is one entry of permissions.fetch: where a function may send HTTP
// requests to.
type Origin struct {
	// Scheme is http or https.
	Scheme string
	// Host is a name in lower case or an IP address. With Subdomains it is what
	// stands behind the *: every name below it is meant, not it itself.
	Host       string
	Subdomains bool
	Port       string
	// Path is what the path has to begin with, whole segments; "" is any.
	Path string

	text string
}

// String returns the origin as it was written.
func (o Origin) String() string { return o.text }

var validHost = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_-]{0,62}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,62}[a-z0-9_])?)*$`)

// ParseOrigin reads https://api.example.org, https://*.example.org,
// http://192.0.2.7:8080 or, with the beginning of a path,
// https://api.example.org/v1.
func ParseOrigin(s string) (Origin, error) {
	o := Origin{text: s}
	wild := strings.Replace(s, "://*.", "://", 1)
	o.Subdomains = wild != s
	u, err := url.Parse(wild)
	switch {
	case err != nil || u.Opaque != "" || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return o, fmt.Errorf("%q is not an origin: write it as https://api.example.org, or https://*.example.org for all names below it", s)
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return o, fmt.Errorf("%q: an origin has a scheme, a host, perhaps a port and the beginning of a path, and nothing else", s)
	}
	o.Scheme = u.Scheme
	if o.Host, o.Port, err = hostOf(u); err != nil {
		return o, fmt.Errorf("%q: %w", s, err)
	}
	_, ipErr := netip.ParseAddr(o.Host)
	if o.Subdomains && (ipErr == nil || !strings.Contains(o.Host, ".")) {
		return o, fmt.Errorf("%q: behind *. a domain of at least two parts is needed, as in https://*.example.org", s)
	}
	if err := checkPath(u); err != nil {
		return o, fmt.Errorf("%q: %w", s, err)
	}
	o.Path = strings.TrimSuffix(u.Path, "/")
	return o, nil
}

// hostOf returns the host in one spelling, and the port, which it always has.
func hostOf(u *url.URL) (host, port string, err error) {
	host = strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	if port = u.Port(); port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip.Zone() != "" {
			return "", "", errors.New("an address with a zone cannot be fetched from")
		}
		return ip.Unmap().String(), port, nil
	}
	if len(host) > 253 || !validHost.MatchString(host) {
		return "", "", fmt.Errorf("%q is not a host: it has letters, digits, - and dots; others in their form with xn--, and * stands only for everything before a domain", host)
	}
	return host, port, nil
}

// checkPath refuses what servers and those who check might read in two ways.
func checkPath(u *url.URL) error {
	for part := range strings.FieldsFuncSeq(u.Path, func(r rune) bool { return r == '/' || r == '\\' }) {
		if part == "." || part == ".." {
			return errors.New("a path with . or .. in it is not sent: write where it leads")
		}
	}
	return nil
}

// maxFetchURL bounds a URL.
const maxFetchURL = 8192

// ParseFetchURL reads what a function wants to fetch.
func ParseFetchURL(s string) (*url.URL, error) {
	if len(s) > maxFetchURL {
		return nil, fmt.Errorf("a URL of %d bytes is over %d", len(s), maxFetchURL)
	}
	u, err := url.Parse(s)
	if err != nil {
		return nil, errors.New("the URL is not well formed") // its text may hold a key
	}
	if err := CheckFetchURL(u); err != nil {
		return nil, err
	}
	return u, nil
}

// CheckFetchURL is ParseFetchURL for one that is parsed: it may be the target of
// a redirect. It takes the fragment off.
func CheckFetchURL(u *url.URL) error {
	switch {
	case u.Scheme != "http" && u.Scheme != "https" || u.Opaque != "" || u.Host == "":
		return errors.New("the URL must be absolute, with http:// or https://")
	case u.User != nil:
		return errors.New("a URL with a user or password in it ends up in logs: send them in the header Authorization")
	}
	if _, _, err := hostOf(u); err != nil {
		return err
	}
	u.Fragment, u.RawFragment = "", ""
	return checkPath(u)
}

// MayFetch reports why a function with these permissions may not fetch u; nil is
// that it may.
func MayFetch(allowed []Origin, u *url.URL) error {
	host, port, err := hostOf(u)
	if err != nil {
		return err
	}
	for i := range allowed {
		if allowed[i].covers(u, host, port) {
			return nil
		}
	}
	have := make([]string, len(allowed))
	for i, o := range allowed {
		have[i] = o.text
	}
	if len(have) == 0 {
		return errors.New("permissions.fetch allows nothing: add the origin to it")
	}
	return fmt.Errorf("permissions.fetch allows %s: add the origin to it", strings.Join(have, ", "))
}

func (o *Origin) covers(u *url.URL, host, port string) bool {
	if o.Scheme != u.Scheme || o.Port != port {
		return false
	}
	if o.Subdomains {
		if !strings.HasSuffix(host, "."+o.Host) {
			return false
		}
	} else if host != o.Host {
		return false
	}
	rest, ok := strings.CutPrefix(u.Path, o.Path)
	return ok && (o.Path == "" || rest == "" || rest[0] == '/')
}

func (p *Permissions) validateFetch(at func(string, ...any)) {
	for i, s := range p.Fetch {
		if _, err := ParseOrigin(s); err != nil {
			at(err.Error(), "permissions", "fetch", i)
		}
	}
}
