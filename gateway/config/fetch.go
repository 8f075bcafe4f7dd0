package config

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/headgate-io/headgate/function"
)

// Fetch bounds the HTTP requests that functions send. Where to is said by each
// function's permissions.fetch.
type Fetch struct {
	// Allow are networks that functions may reach although they are not public,
	// as 192.168.1.0/24 or 192.168.1.7/32.
	Allow []string `yaml:"allow"`
	// CA is a PEM file of CAs that are believed besides the well-known ones.
	CA string `yaml:"ca"`
	// Timeout is how long a call may take that does not say so itself.
	Timeout function.Duration `yaml:"timeout"`
	// MaxRequest and MaxResponse cap one body.
	MaxRequest  function.ByteSize `yaml:"max_request"`
	MaxResponse function.ByteSize `yaml:"max_response"`
	// MaxCalls caps the calls under way, MaxCallsPerFunction those of one
	// function; further ones wait.
	MaxCalls            int `yaml:"max_calls"`
	MaxCallsPerFunction int `yaml:"max_calls_per_function"`
}

func defaultFetch() Fetch {
	return Fetch{
		Allow:   []string{},
		Timeout: function.Duration(10 * time.Second), MaxRequest: 1 << 20, MaxResponse: 1 << 20,
		MaxCalls: 16, MaxCallsPerFunction: 4,
	}
}

// maxFetchBody bounds what max_request and max_response may be: a body is in
// memory as a whole, once for the gateway and once for the function.
const maxFetchBody = 16 << 20

func (f *Fetch) validate(add func(string, ...any)) {
	for i, s := range f.Allow {
		if _, err := parseNetwork(s); err != nil {
			add(err.Error(), "fetch", "allow", i)
		}
	}
	atLeast(add, f.Timeout, function.Duration(time.Millisecond), "fetch", "timeout")
	for field, v := range map[string]function.ByteSize{"max_request": f.MaxRequest, "max_response": f.MaxResponse} {
		atLeast(add, v, 1, "fetch", field)
		if v > maxFetchBody {
			add(fmt.Sprintf("%v is too large: at most %v", v, function.ByteSize(maxFetchBody)), "fetch", field)
		}
	}
	atLeast(add, f.MaxCalls, 1, "fetch", "max_calls")
	atLeast(add, f.MaxCallsPerFunction, 1, "fetch", "max_calls_per_function")
}

func parseNetwork(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, fmt.Errorf("%q is not a network: write it as 192.168.1.0/24, a single address as 192.168.1.7/32", s)
	}
	if p != p.Masked() {
		return p, fmt.Errorf("%q has bits behind its length: %s is meant, or %s/%d", s, p.Masked(), p.Addr(), p.Addr().BitLen())
	}
	return p, nil
}

// Networks are Allow, parsed; what is not well formed is left out.
func (f *Fetch) Networks() []netip.Prefix {
	var all []netip.Prefix
	for _, s := range f.Allow {
		if p, err := parseNetwork(s); err == nil {
			all = append(all, p)
		}
	}
	return all
}
