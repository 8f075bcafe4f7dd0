package api

import "time"

// Updates is how far signed updates are.
type Updates struct {
	// URL is the repository; empty where none is asked.
	URL string `json:"url,omitempty"`
	// Pinned says that the gateway believes a root; Direct that it takes
	// functions from their author all the same.
	Pinned bool `json:"pinned"`
	Direct bool `json:"direct"`
	// Checked is when the repository was asked last, Error why nothing new is
	// taken since.
	Checked time.Time `json:"checked,omitzero"`
	Error   string    `json:"error,omitempty"`
	// Root is the version of the keys, Expires when what is signed ends.
	Root      int64     `json:"root,omitempty"`
	Expires   time.Time `json:"expires,omitzero"`
	Functions []Update  `json:"functions"`
	// Desired is what the controller wants of the gateway, if it wants anything;
	// Missing are targets of that which the gateway does not find signed.
	Desired *Desired        `json:"desired,omitempty"`
	Missing []MissingTarget `json:"missing,omitempty"`
}

// Desired is how far a gateway is what its controller wants.
type Desired struct {
	Revision uint64 `json:"revision"`
	// Functions and Secrets are how many it names.
	Functions int `json:"functions"`
	Secrets   int `json:"secrets"`
	// Error says why it is not followed, as far as it is not.
	Error string `json:"error,omitempty"`
}

// MissingTarget is wanted, and not signed as far as the gateway knows; without
// a function it is the gateway's binary.
type MissingTarget struct {
	Function string `json:"function,omitempty"`
	Target   string `json:"target"`
	Why      string `json:"why"`
}

// Update is the newest update of a function.
type Update struct {
	Function string `json:"function"`
	Target   string `json:"target"`
	// Attempt is the controller's deployment, if it is one.
	Attempt string `json:"attempt,omitempty"`
	// Stage is fetching, waits for allow, trial, canary, live, watched; or
	// live, refused, rolled back at its end.
	Stage   string    `json:"stage"`
	Began   time.Time `json:"began"`
	Version int       `json:"version,omitempty"`
	From    int       `json:"from,omitempty"`
	// Old and New are the attempts of the version before and of this one, while
	// it is judged, and what it was judged by.
	Old            *UpdateCount  `json:"old,omitempty"`
	New            *UpdateCount  `json:"new,omitempty"`
	For            time.Duration `json:"for,omitempty"`
	NewPermissions []string      `json:"new_permissions,omitempty"`
	Steps          []UpdateStep  `json:"steps"`
}

// UpdateCount is what became of some attempts.
type UpdateCount struct {
	Invocations uint64        `json:"invocations"`
	Failures    uint64        `json:"failures"`
	Crashes     uint64        `json:"crashes,omitempty"`
	Mean        time.Duration `json:"mean_ns"`
}

// UpdateStep is something that happened.
type UpdateStep struct {
	Time  time.Time `json:"time"`
	Stage string    `json:"stage"`
	Note  string    `json:"note,omitempty"`
}
