// Package broker is an MQTT 3.1.1 and 5.0 server whose acknowledgements wait
// for its owner: an inbound PUBLISH goes to the Handler, and PUBACK or PUBREC
// follow when the handler has released it, in order.
//
// The wire format is mochi's (the packets package, which only this package
// imports); connections, sessions, routing, flow control and bounds are our
// own. docs/RATIONALE.md says why.
package broker
