package fetch

import (
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

// special are the networks that are not the public Internet, with what they
// are. Of IPv6 only 2000::/3 is public at all (RFC 4291, the IANA registry of
// special-purpose addresses).
var special = []struct {
	prefix netip.Prefix
	what   string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "an address of this machine"},
	{netip.MustParsePrefix("10.0.0.0/8"), "a private address"},
	{netip.MustParsePrefix("100.64.0.0/10"), "an address of a carrier's network"}, // RFC 6598
	{netip.MustParsePrefix("127.0.0.0/8"), "an address of this machine"},
	{netip.MustParsePrefix("168.63.129.16/32"), "the metadata service of a cloud"},
	{netip.MustParsePrefix("169.254.0.0/16"), "a link-local address"}, // and the clouds' metadata services
	{netip.MustParsePrefix("172.16.0.0/12"), "a private address"},
	{netip.MustParsePrefix("192.0.0.0/24"), "a reserved address"},
	{netip.MustParsePrefix("192.0.2.0/24"), "a reserved address"},
	{netip.MustParsePrefix("192.88.99.0/24"), "a reserved address"},
	{netip.MustParsePrefix("192.168.0.0/16"), "a private address"},
	{netip.MustParsePrefix("198.18.0.0/15"), "a reserved address"},
	{netip.MustParsePrefix("198.51.100.0/24"), "a reserved address"},
	{netip.MustParsePrefix("203.0.113.0/24"), "a reserved address"},
	{netip.MustParsePrefix("224.0.0.0/4"), "a multicast address"},
	{netip.MustParsePrefix("240.0.0.0/4"), "a reserved address"},

	{netip.MustParsePrefix("::/127"), "an address of this machine"},
	{netip.MustParsePrefix("64:ff9b::/96"), "an IPv4 address behind a translator"},
	{netip.MustParsePrefix("2001::/23"), "a reserved address"},
	{netip.MustParsePrefix("2001:db8::/32"), "a reserved address"},
	{netip.MustParsePrefix("2002::/16"), "an IPv4 address in a tunnel"},
	{netip.MustParsePrefix("3fff::/20"), "a reserved address"},
	{netip.MustParsePrefix("fc00::/7"), "a private address"},
	{netip.MustParsePrefix("fe80::/10"), "a link-local address"},
	{netip.MustParsePrefix("ff00::/8"), "a multicast address"},
}

var global6 = netip.MustParsePrefix("2000::/3")

// judge says what ip is that no function may reach; "" is that it may.
func judge(ip netip.Addr, allowed []netip.Prefix) string {
	ip = ip.Unmap().WithZone("") // ::ffff:10.0.0.1 is 10.0.0.1
	for _, p := range allowed {
		if p.Contains(ip) {
			return ""
		}
	}
	for _, s := range special {
		if s.prefix.Contains(ip) {
			return s.what
		}
	}
	if ip.Is6() && !global6.Contains(ip) {
		return "a reserved address"
	}
	return ""
}

// blockedError is an address that no function may reach.
type blockedError struct {
	ip   netip.Addr
	what string
}

// Error says what would admit it.
func (e *blockedError) Error() string {
	return fmt.Sprintf("it leads to %s, %s: functions reach it when fetch.allow in the gateway's configuration has its network", e.ip, e.what)
}

// control is a net.Dialer's: it sees the address that is about to be dialled,
// after every look-up.
func (c *Client) control(network, address string, _ syscall.RawConn) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return err
	}
	if network != "tcp4" && network != "tcp6" {
		return fmt.Errorf("%s is not dialled", network)
	}
	if what := judge(ip, c.cfg.Allow); what != "" {
		c.stats.blocked.Add(1)
		return &blockedError{ip.Unmap(), what}
	}
	return nil
}
