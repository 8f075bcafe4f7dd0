package broker

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
)

func pahoClient(t *testing.T, url, id string, clean bool, handle paho.MessageHandler) paho.Client {
	t.Helper()
	opts := paho.NewClientOptions().AddBroker(url).SetClientID(id).SetCleanSession(clean).SetProtocolVersion(4).
		SetConnectRetry(true).SetConnectRetryInterval(10 * time.Millisecond).SetMaxReconnectInterval(50 * time.Millisecond).
		SetResumeSubs(true).SetDefaultPublishHandler(handle)
	c := paho.NewClient(opts)
	wait(t, c.Connect())
	t.Cleanup(func() { c.Disconnect(10) })
	return c
}

func wait(t *testing.T, token paho.Token) {
	t.Helper()
	if !token.WaitTimeout(patience) {
		t.Fatal("the operation did not end")
	}
	if err := token.Error(); err != nil {
		t.Fatal(err)
	}
}

// TestPaho lets a real client publish 300 messages of each QoS over TCP and
// WebSocket, while the subscriber loses its connection now and then. All of QoS
// 1 and 2 arrive, in order, and what comes again says so: paho hands a
// redelivered QoS 2 message to its user too. TestQoS2ToSubscriber has the rest.
func TestPaho(t *testing.T) {
	srv, addr := startServer(t, quietConfig(), Deps{Handler: releaser{}, Logger: slog.New(slog.DiscardHandler)})
	ws, err := srv.Listen(context.Background(), ListenerConfig{Name: "ws", Network: "ws", Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	for name, url := range map[string]string{"tcp": "tcp://" + addr, "ws": "ws://" + ws.String()} {
		t.Run(name, func(t *testing.T) {
			const n = 300
			var got [3]atomic.Int64
			var last [3]int
			sub := pahoClient(t, url, "sub-"+name, false, func(_ paho.Client, m paho.Message) {
				var i int
				if _, err := fmt.Sscan(string(m.Payload()), &i); err != nil {
					t.Error(err)
				}
				q := m.Qos()
				if i != last[q]+1 && !m.Duplicate() && q > 0 {
					t.Errorf("QoS %d: %d after %d", q, i, last[q])
				}
				last[q] = max(i, last[q])
				got[q].Store(int64(last[q]))
			})
			topic := "numbers/" + name
			wait(t, sub.Subscribe(topic, 2, nil))
			pub := pahoClient(t, url, "pub-"+name, true, nil)
			for i := 1; i <= n; i++ {
				for qos := range byte(3) {
					wait(t, pub.Publish(topic, qos, false, fmt.Sprint(i)))
				}
				if i%100 == 50 {
					sessionOf(srv, "sub-"+name).kickOwner()
				}
			}
			eventually(t, "all are there", func() bool { return got[1].Load() == n && got[2].Load() == n })
		})
	}
}

// kickOwner breaks the session's connection, as a bad network does.
func (s *session) kickOwner() {
	s.srv.mu.Lock()
	owner := s.owner
	s.srv.mu.Unlock()
	if owner != nil {
		_ = owner.nc.Close()
	}
}
