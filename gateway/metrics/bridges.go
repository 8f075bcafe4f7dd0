package metrics

import "github.com/prometheus/client_golang/prometheus"

// BridgeState is one bridge now, and its counters since the start.
type BridgeState struct {
	Name      string
	Connected bool
	// Queued and QueuedBytes wait for the other broker.
	Queued, QueuedBytes               int
	Sent, Received, Dropped, Failures uint64
}

// BridgeStates collects what read returns as headgate_bridge_…, with the bridge
// as label. The sums over all are those of Stats.
func BridgeStates(read func() []BridgeState) prometheus.Collector {
	c := newLabelled("bridge", read, func(b *BridgeState) string { return b.Name })
	c.add("connected", "1 while the other broker is connected.", prometheus.GaugeValue, func(b *BridgeState) float64 {
		if b.Connected {
			return 1
		}
		return 0
	})
	c.add("waiting_messages", "Messages that wait for the other broker.", prometheus.GaugeValue,
		func(b *BridgeState) float64 { return float64(b.Queued) })
	c.add("waiting_bytes", "Bytes that wait for the other broker.", prometheus.GaugeValue,
		func(b *BridgeState) float64 { return float64(b.QueuedBytes) })
	c.add("messages_sent_total", "Messages sent to the other broker.", prometheus.CounterValue,
		func(b *BridgeState) float64 { return float64(b.Sent) })
	c.add("messages_received_total", "Messages from the other broker.", prometheus.CounterValue,
		func(b *BridgeState) float64 { return float64(b.Received) })
	c.add("messages_dropped_total", "Messages dropped for want of room.", prometheus.CounterValue,
		func(b *BridgeState) float64 { return float64(b.Dropped) })
	c.add("connection_failures_total", "Connections that ended or were not made.", prometheus.CounterValue,
		func(b *BridgeState) float64 { return float64(b.Failures) })
	return c
}
