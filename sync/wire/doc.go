// Package wire holds the messages between a gateway and its controller. Each is
// a CBOR map with a version of its own: a field that the receiver does not know
// is ignored, a version that it does not know is refused. Fields have numbers
// for names, which keeps messages small; a number is never used again for
// something else.
//
// A gateway publishes on UpTopic and subscribes to DownTopic, with QoS 1 and
// without a session: what has to arrive is sent again until the controller
// itself, not a broker on the way, has acknowledged it.
package wire
