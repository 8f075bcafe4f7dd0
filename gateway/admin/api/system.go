package api

import "time"

// System is which of the gateway's binaries runs.
type System struct {
	// Managed is false where a package brings the binary.
	Managed bool   `json:"managed"`
	Version string `json:"version"`
	// Current is the slot that runs: base, a or b; Previous is where an update
	// goes back to.
	Current  string         `json:"current"`
	Previous string         `json:"previous,omitempty"`
	SHA256   string         `json:"sha256,omitempty"`
	Trial    *SystemTrial   `json:"trial,omitempty"`
	Failure  *SystemFailure `json:"failure,omitempty"`
}

// SystemTrial is a new binary that has to show that it works.
type SystemTrial struct {
	SHA256    string `json:"sha256"`
	Slot      string `json:"slot"`
	Starts    int    `json:"starts"`
	MaxStarts int    `json:"max_starts"`
}

// SystemFailure is why an update was taken back.
type SystemFailure struct {
	SHA256 string    `json:"sha256,omitempty"`
	Reason string    `json:"reason"`
	Time   time.Time `json:"time"`
}

// SystemBinary is a binary that was taken.
type SystemBinary struct {
	SHA256 string `json:"sha256"`
	Bytes  int64  `json:"bytes"`
}

// SystemUpdate says how a binary is taken.
type SystemUpdate struct {
	// SHA256 is what it must have, in hex; empty takes any.
	SHA256 string
	// Within is how long it has to show that it works; 0 is the launcher's
	// own.
	Within time.Duration
}
