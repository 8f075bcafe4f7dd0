package api

import "time"

// Enrol asks the gateway to become a member of a controller's fleet.
type Enrol struct {
	URL   string `json:"url" doc:"Of the controller: https://host:port"`
	Token string `json:"token" doc:"As the controller printed it"`
	// Name is what people shall call the gateway, Replace the gateway whose place
	// it takes.
	Name    string `json:"name,omitempty"`
	Replace string `json:"replace,omitempty"`
	// Again leaves the controller that the gateway is enrolled at.
	Again bool `json:"again,omitempty"`
	// Retry returns at once: the gateway tries until it is enrolled or refused.
	Retry bool `json:"retry,omitempty"`
}

// Enrolment is the gateway's membership, and how the uplink is.
type Enrolment struct {
	Enrolled bool   `json:"enrolled"`
	URL      string `json:"url,omitempty"`
	Gateway  string `json:"gateway,omitempty"`
	Name     string `json:"name,omitempty"`
	Tenant   string `json:"tenant,omitempty"`
	// Expires is the end of the certificate, which renews itself.
	Expires time.Time `json:"expires,omitzero"`
	// Waiting is the controller that the gateway tries to be enrolled at, and
	// Error what came of the last attempt, or of the last renewal.
	Waiting string `json:"waiting,omitempty"`
	Error   string `json:"error,omitempty"`
	Uplink  Uplink `json:"uplink"`
}

// Uplink is the connection with the controller.
type Uplink struct {
	Connected bool      `json:"connected"`
	Address   string    `json:"address,omitempty"`
	Since     time.Time `json:"since,omitzero"`
	// LastError is why it is not connected, or what the controller refuses.
	LastError        string    `json:"last_error,omitempty"`
	LastErrorAt      time.Time `json:"last_error_at,omitzero"`
	LastAcknowledged time.Time `json:"last_acknowledged,omitzero"`
	// Batches and Bytes of usage wait for the controller; GrainMinutes share a
	// row.
	Batches      int64 `json:"batches"`
	Bytes        int64 `json:"bytes"`
	GrainMinutes int64 `json:"grain_minutes"`
	// BytesToday is what the link carried today, in IP bytes, estimated.
	BytesToday uint64 `json:"bytes_today"`
	OverBudget bool   `json:"over_budget,omitempty"`
}
