// Package uplink is a gateway's one connection with its controller, over MQTT
// through whatever broker stands between. It says what it has, hears what the
// controller has, and sends the rest in order. A batch leaves the outbox when the
// controller itself says that it is stored; until then it is sent again, after
// any failure of anything.
package uplink
