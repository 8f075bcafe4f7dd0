package broker

import (
	"strconv"
	"time"
)

// sysPrefix is where the broker's own topics are.
const sysPrefix = "$SYS/"

// publishSys publishes the broker's figures under $SYS/broker, retained, until
// the server is closed.
func (s *Server) publishSys() {
	t := time.NewTicker(s.cfg.SysInterval)
	defer t.Stop()
	for {
		s.publishStats()
		select {
		case <-t.C:
		case <-s.done:
			return
		}
	}
}

func (s *Server) publishStats() {
	st := s.Stats()
	for _, f := range [...]struct {
		name  string
		value uint64
	}{
		{"uptime", uint64(st.Uptime / time.Second)},
		{"clients/connected", uint64(st.Connections)},
		{"clients/total", uint64(st.Sessions)},
		{"subscriptions/count", uint64(st.Subscriptions)},
		{"retained messages/count", uint64(st.RetainedMessages)},
		{"messages/received", st.MessagesReceived},
		{"messages/sent", st.MessagesSent},
		{"messages/queued", uint64(max(0, st.QueuedMessages))},
		{"messages/dropped", st.DroppedQueueFull + st.DroppedOffline + st.DroppedExpired + st.DroppedTooLarge},
		{"messages/refused", st.RefusedMessages + st.PendingRefused + st.DeniedPublishes},
		{"messages/duplicates", st.Duplicates},
		{"bytes/received", st.BytesReceived},
		{"bytes/sent", st.BytesSent},
	} {
		s.Publish(&Message{
			Topic: sysPrefix + "broker/" + f.name, Payload: strconv.AppendUint(nil, f.value, 10), Retain: true,
		})
	}
}
