package broker

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// TestConnectsThatNeverEnd dribble in, byte by byte or not at all; the deadline
// is for all of it.
func TestConnectsThatNeverEnd(t *testing.T) {
	cfg := quietConfig()
	cfg.ConnectTimeout = 100 * time.Millisecond
	srv, addr := startServer(t, cfg, Deps{})
	const long = "\x10\xff\x3f\x00\x04MQTT\x05" // of 8 KiB
	var peers []*peer
	for _, begin := range []string{"", "\x10", "\x10\x80", "\x10\x7f\x00\x04MQTT", long} {
		p := dial(t, addr, 5)
		if begin != "" {
			p.write([]byte(begin))
		}
		peers = append(peers, p)
	}
	drip := dial(t, addr, 5)
	drip.write([]byte(long))
	dripped := make(chan struct{})
	go func() { // keeps writing until it is cut off
		defer close(dripped)
		for {
			if _, err := drip.nc.Write([]byte{0}); err != nil {
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	for _, p := range peers {
		p.expectClosed()
	}
	<-dripped
	if n := srv.Stats().ConnectTimeouts; n != 6 {
		t.Errorf("%d timeouts counted, %d bad", n, srv.Stats().BadConnects)
	}
}

// TestWebPagesElsewhereMayNotConnect: a browser says where its page is from.
func TestWebPagesElsewhereMayNotConnect(t *testing.T) {
	srv, _ := startServer(t, quietConfig(), Deps{})
	addr, err := srv.Listen(t.Context(), ListenerConfig{Name: "ws", Network: "ws", Address: "127.0.0.1:0", Origins: []string{"panel.example.org"}})
	if err != nil {
		t.Fatal(err)
	}
	for origin, ok := range map[string]bool{
		"": true, "http://" + addr.String(): true, "https://panel.example.org": true,
		"https://evil.example": false, "https://panel.example.org.evil.example": false, "null": false,
	} {
		o := &websocket.DialOptions{Subprotocols: []string{"mqtt"}, HTTPHeader: http.Header{}}
		if origin != "" {
			o.HTTPHeader.Set("Origin", origin)
		}
		//nolint:bodyclose // an upgrade has none
		ws, _, err := websocket.Dial(t.Context(), "ws://"+addr.String(), o)
		if (err == nil) != ok {
			t.Errorf("origin %q: %v", origin, err)
		}
		if err == nil {
			_ = ws.CloseNow()
		} else if !strings.Contains(err.Error(), "403") {
			t.Errorf("origin %q: %v", origin, err)
		}
	}
}
