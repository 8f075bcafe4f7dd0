// Package uplink will carry the outbox to the controller over MQTT: numbered,
// kept until the controller itself acknowledges, bounded.
package uplink
