// Package ota is the gateway's side of signed updates: it knows what the owner
// of a fleet has signed, and brings it here whole or not at all.
//
// A repository is a folder behind any static server, laid out and signed as The
// Update Framework has it (TUF 1.0.31, consistent snapshots): root and targets
// are signed by keys that people hold, snapshot and timestamp by a key that is
// online. Who holds the online key, or the server, can withhold what is new; to
// make a gateway run code takes the targets keys.
//
// Client.Refresh takes in the metadata and says what is signed now;
// Client.Fetch brings one target. What to make of it is the caller's affair.
//
// Time. Metadata expires, so that a gateway that is kept from hearing of newer
// ones notices. A board may not know what time it is: with an unknown clock
// signatures, versions and changes of keys are taken in as ever, but nothing
// counts as fresh, and new code waits. An estimated clock is believed: it counts
// on while the board runs, so nothing stays fresh for ever. In no case does
// anything that runs already stop.
package ota
