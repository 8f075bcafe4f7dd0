package fetch_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/headgate-io/headgate/gateway/fetch"
	"github.com/headgate-io/headgate/sandbox/abi"
)

// TestPrivateAddresses gets no connection to any of them, in any spelling.
func TestPrivateAddresses(t *testing.T) {
	c := client(t, fetch.Config{})
	for _, ip := range []string{
		"127.0.0.1", "127.255.255.254", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.1", "192.168.0.1", "169.254.169.254", "168.63.129.16",
		"100.64.0.1", "100.100.100.200", "192.0.0.1", "192.0.2.1", "198.18.0.1", "203.0.113.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255",
		"::1", "::", "::ffff:127.0.0.1", "::ffff:a00:1", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1",
		"ff02::1", "2001:db8::1", "2001::1", "2002:7f00:1::1", "100::1", "4000::1",
	} {
		url := "http://" + net.JoinHostPort(ip, "80")
		_, err := c.Fetch(patience(t), call(t, abi.FetchRequest{URL: url}, url))
		refused(t, err, abi.Denied, "fetch.allow")
	}
	if s := c.Stats(); s.Blocked < s.Calls || s.BytesSent != 0 {
		t.Errorf("%+v", s)
	}
}

// TestAllowedNetworks admits what an operator has admitted, and no more.
func TestAllowedNetworks(t *testing.T) {
	url := serve(t, func(http.ResponseWriter, *http.Request) {})
	c := client(t, fetch.Config{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}})
	if _, err := c.Fetch(patience(t), call(t, abi.FetchRequest{URL: url}, url)); err != nil {
		t.Error(err)
	}
	mapped := strings.Replace(url, "127.0.0.1", "[::ffff:127.0.0.1]", 1)
	if _, err := c.Fetch(patience(t), call(t, abi.FetchRequest{URL: mapped}, mapped)); err != nil {
		t.Error(err)
	}
	_, err := c.Fetch(patience(t), call(t, abi.FetchRequest{URL: "http://127.0.0.2"}, "http://127.0.0.2"))
	refused(t, err, abi.Denied, "127.0.0.2, an address of this machine")
}

// names is a resolver whose answers change with each question.
type names struct {
	asked   atomic.Int64
	answers []string
}

func (n *names) resolver(t *testing.T) *net.Resolver {
	t.Helper()
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 4096)
		for {
			size, from, err := server.ReadFrom(buf)
			if err != nil {
				return
			}
			if answer := n.answer(buf[:size]); answer != nil {
				_, _ = server.WriteTo(answer, from)
			}
		}
	}()
	t.Cleanup(func() {
		_ = server.Close() // ends the loop above
		<-done
	})
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", server.LocalAddr().String())
	}}
}

func (n *names) answer(query []byte) []byte {
	var m dnsmessage.Message
	if m.Unpack(query) != nil || len(m.Questions) != 1 {
		return nil
	}
	m.Response, m.Authoritative, m.Additionals = true, true, nil
	if q := m.Questions[0]; q.Type == dnsmessage.TypeA {
		i := min(int(n.asked.Add(1)), len(n.answers)) - 1
		for ip := range strings.FieldsSeq(n.answers[i]) {
			m.Answers = append(m.Answers, dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class}, Body: &dnsmessage.AResource{A: netip.MustParseAddr(ip).As4()},
			})
		}
	}
	packed, err := m.Pack()
	if err != nil {
		return nil
	}
	return packed
}

// TestRebinding looks a name up again for the connection, and gets another
// answer: what counts is the address that is dialled.
func TestRebinding(t *testing.T) {
	var asked atomic.Int64
	url := serve(t, func(http.ResponseWriter, *http.Request) { asked.Add(1) })
	_, port, err := net.SplitHostPort(strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	// 127.0.0.9 stands for a public address: it is the only one allowed.
	n := &names{answers: []string{"127.0.0.9", "127.0.0.1", "169.254.169.254", "127.0.0.1 10.0.0.1"}}
	c := client(t, fetch.Config{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.9/32")}, Resolver: n.resolver(t)})
	there := fmt.Sprintf("http://rebind.example.org:%s", port)
	for i, want := range []struct {
		errno abi.Errno
		words string
	}{
		{abi.Unavailable, "127.0.0.9:" + port}, // dialled; nobody listens there
		{abi.Denied, "it leads to 127.0.0.1, an address of this machine"},
		{abi.Denied, "it leads to 169.254.169.254, a link-local address"},
		{abi.Denied, "fetch.allow"},
	} {
		_, err := c.Fetch(patience(t), call(t, abi.FetchRequest{URL: there}, there))
		t.Log(i, err)
		refused(t, err, want.errno, want.words)
	}
	if asked.Load() != 0 {
		t.Error("the server on this machine was asked")
	}
}

// TestRedirects follows them where the function may go, changes method and body
// as browsers do, and leaves keys behind at another origin.
func TestRedirects(t *testing.T) {
	other := serve(t, func(w http.ResponseWriter, r *http.Request) { describe(w, r) })
	var home string
	home = serve(t, func(w http.ResponseWriter, r *http.Request) {
		to := r.URL.Query().Get("to")
		if to == "" {
			describe(w, r)
			return
		}
		w.Header().Set("Location", strings.ReplaceAll(to, "HOME", home))
		var status int
		_, _ = fmt.Sscan(r.URL.Query().Get("status"), &status)
		w.WriteHeader(status)
	})
	c := client(t, fetch.Config{Allow: loopback})
	keys := abi.Headers{{Name: "Authorization", Value: "s"}, {Name: "Cookie", Value: "s"}, {Name: "X-Api-Key", Value: "s"}, {Name: "Accept", Value: "a"}, {Name: "Content-Type", Value: "t"}}
	for _, x := range []struct{ status, to, method, want string }{
		{"302", "/end", "POST", "GET /end Authorization=s X-Api-Key=s Cookie=s Accept=a Content-Type= body="},
		{"303", "/end", "PUT", "GET /end Authorization=s X-Api-Key=s Cookie=s Accept=a Content-Type= body="},
		{"307", "/end", "POST", "POST /end Authorization=s X-Api-Key=s Cookie=s Accept=a Content-Type=t body=hi"},
		{"308", "HOME/end", "PUT", "PUT /end Authorization=s X-Api-Key=s Cookie=s Accept=a Content-Type=t body=hi"},
		{"308", other + "/far", "POST", "POST /far Authorization= X-Api-Key= Cookie= Accept=a Content-Type=t body=hi"},
	} {
		r, err := c.Fetch(patience(t), call(t, abi.FetchRequest{
			URL: home + "/?status=" + x.status + "&to=" + x.to, Method: x.method, Headers: keys, Body: []byte("hi"),
		}, home, other))
		if err != nil || string(r.Answer.Body) != x.want || !strings.HasSuffix(r.Answer.URL, x.to[strings.LastIndex(x.to, "/"):]) {
			t.Errorf("%s: %v\n%s\n%s", x.status, err, r.Answer.Body, x.want)
		}
	}
	for _, x := range []struct {
		to, redirect string
		errno        abi.Errno
		words        string
	}{
		{other + "/far", "", abi.Denied, "redirects to " + other + "/far: permissions.fetch allows"},
		{"http://169.254.169.254/latest", "", abi.Denied, "permissions.fetch allows"},
		{"file:///etc/passwd", "", abi.Denied, "must be absolute"},
		{"http://user:pw@127.0.0.1/", "", abi.Denied, "user or password"},
		{"/end", "error", abi.Unavailable, "is a redirect"},
		{"/?status=302&to=" + "/%3Fstatus=302%26to=/", "", abi.Unavailable, ""},
	} {
		_, err := c.Fetch(patience(t), call(t, abi.FetchRequest{URL: home + "/?status=302&to=" + x.to, Redirect: x.redirect}, home))
		if x.words != "" {
			refused(t, err, x.errno, x.words)
		}
	}
	r, err := c.Fetch(patience(t), call(t, abi.FetchRequest{URL: home + "/?status=302&to=/end", Redirect: "manual"}, home))
	if err != nil || r.Answer.Status != 302 {
		t.Errorf("by hand: %+v %v", r.Answer, err)
	}
}

// TestRedirectIntoThePrivateNetwork is stopped at the address although the
// function's permissions name it.
func TestRedirectIntoThePrivateNetwork(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://10.0.0.1/admin", http.StatusFound)
	})
	c := client(t, fetch.Config{Allow: loopback})
	_, err := c.Fetch(patience(t), call(t, abi.FetchRequest{URL: url}, url, "http://10.0.0.1"))
	refused(t, err, abi.Denied, "10.0.0.1, a private address")
}

func TestEndlessRedirects(t *testing.T) {
	var asked atomic.Int64
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		http.Redirect(w, r, "/", http.StatusFound)
	})
	_, err := client(t, fetch.Config{Allow: loopback}).Fetch(patience(t), call(t, abi.FetchRequest{URL: url}, url))
	refused(t, err, abi.Unavailable, "more than 5 redirects")
	if asked.Load() != 6 {
		t.Errorf("asked %d times", asked.Load())
	}
}

func describe(w http.ResponseWriter, r *http.Request) {
	body := make([]byte, 100)
	n, _ := r.Body.Read(body)
	fmt.Fprintf(w, "%s %s", r.Method, r.URL.Path)
	for _, name := range []string{"Authorization", "X-Api-Key", "Cookie", "Accept", "Content-Type"} {
		fmt.Fprintf(w, " %s=%s", name, r.Header.Get(name))
	}
	fmt.Fprintf(w, " body=%s", body[:n])
}
