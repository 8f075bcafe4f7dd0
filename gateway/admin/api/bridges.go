package api

import "time"

// Bridge is a connection with another broker.
type Bridge struct {
	Name string `json:"name"`
	URL  string `json:"url"`
	// State is since Since.
	State string    `json:"state" enum:"connecting,connected,waiting,stopped"`
	Since time.Time `json:"since"`
	// In and Out are its filters, Refused those that the other broker does not
	// grant.
	In      []string `json:"in"`
	Out     []string `json:"out"`
	Refused []string `json:"refused,omitempty"`
	// Session is true where the other broker had kept the session, Plain where
	// it does not know bridges.
	Session bool `json:"session_present,omitempty"`
	Plain   bool `json:"plain,omitempty"`
	// LastError is why it was not connected the last time, with what to do.
	LastError   string    `json:"last_error,omitempty"`
	LastErrorAt time.Time `json:"last_error_at,omitzero"`
	NextAttempt time.Time `json:"next_attempt,omitzero"`
	// Queued, InFlight and QueuedBytes wait for the other broker; Dropped is
	// what the bounds on them cost since the start.
	Queued      int    `json:"queued"`
	InFlight    int    `json:"in_flight"`
	QueuedBytes int    `json:"queued_bytes"`
	Dropped     uint64 `json:"dropped"`
	// Sent and Received count since the start. Of what was received, Echoes had
	// been here, Denied was not for this gateway, TooLarge was over
	// mqtt.max_packet.
	Sent     uint64 `json:"sent"`
	Received uint64 `json:"received"`
	Echoes   uint64 `json:"echoes,omitempty"`
	Denied   uint64 `json:"denied,omitempty"`
	TooLarge uint64 `json:"too_large,omitempty"`
}
