// Package guard owns the pins of a gateway's actuators, in a process of its
// own: the same binary, started early, that holds nothing but the ends of
// leases. Whatever happens to the gateway (killed, stopped, hung, updated), the
// guard switches each actuator off at the end of its lease, and all of them
// after Silence without a word from the gateway, and at its own start.
//
// Keeper is the whole of its judgement, without processes, sockets and clocks.
// Serve runs one for a gateway at the other end of a socket; Client is that end.
package guard

import "time"

// Silence is how long the gateway may be silent before everything is switched
// off.
const Silence = 2 * time.Second

// BeatEvery is how often the gateway says that it lives.
const BeatEvery = 500 * time.Millisecond
