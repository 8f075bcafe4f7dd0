package api

import "time"

// NewDeployment is what shall run from now on on the gateways that it chooses.
type NewDeployment struct {
	// Function is the function that is meant, or "system" for the gateway's
	// own binary.
	Function string `json:"function" maxLength:"64"`
	// Target is a signed target of the tenant's repository; without one the
	// function is removed. For the system it is one for each architecture.
	Targets  []string    `json:"targets,omitempty" maxItems:"8" doc:"Names of signed targets: one for a function, one per architecture for the system, none removes the function"`
	Selector string      `json:"selector,omitempty" maxLength:"1024" doc:"Which gateways, as site=north,!retired; all without one"`
	Strategy NewStrategy `json:"strategy,omitzero"`
}

// NewStrategy is how a deployment shall spread. What is left out is the default.
type NewStrategy struct {
	Waves    []float64 `json:"waves,omitempty" maxItems:"16" doc:"Per cent of the gateways after each wave, growing; a wave has one gateway at least, and 100 is added at the end. By default 1, 10, 50, 100"`
	Soak     *int64    `json:"soak_seconds,omitempty" minimum:"0" maximum:"2592000" doc:"How long a wave is watched after its gateways have it (600)"`
	Deadline *int64    `json:"deadline_seconds,omitempty" minimum:"1" maximum:"2592000" doc:"How long the gateways of a wave may take (86400)"`
	Silent   *int64    `json:"silent_seconds,omitempty" minimum:"1" maximum:"2592000" doc:"After how long without a word a gateway counts as unhealthy (3600)"`
	Gate     NewGate   `json:"gate,omitzero"`
}

// NewGate is what must hold for a wave to let the next begin. What is left out is
// the default.
type NewGate struct {
	Sample    *int64   `json:"sample,omitempty" minimum:"0" doc:"How many events the gateways of a wave must have had together (20); after the deadline it goes on with fewer if none failed"`
	Unhealthy *float64 `json:"unhealthy_percent,omitempty" minimum:"0" maximum:"100" doc:"Which part of a wave's gateways may have refused it, rolled it back, be silent or late (10)"`
	Errors    *float64 `json:"errors_points,omitempty" minimum:"0" maximum:"100" doc:"By how many points the part of events that fail may grow (5)"`
	Crashes   *float64 `json:"crashes_points,omitempty" minimum:"0" maximum:"100" doc:"The same for those in which the code itself breaks (1)"`
	Slower    *float64 `json:"slower,omitempty" minimum:"1" maximum:"1000000" doc:"How many times as long an event may take (3)"`
	Faults    *int64   `json:"actuator_faults,omitempty" minimum:"0" doc:"How many faults of actuators the gateways of a wave may have since it began (0)"`
}

// Strategy is how a deployment spreads.
type Strategy struct {
	// Waves are the parts of the gateways that have it after each wave, in per
	// cent, growing; the last is 100.
	Waves []float64 `json:"waves"`
	// Soak is how long a wave is watched after its gateways have it, Deadline how
	// long they may take, and Silent after how long without a word a gateway counts
	// as unhealthy; in seconds.
	Soak     int64 `json:"soak_seconds"`
	Deadline int64 `json:"deadline_seconds"`
	Silent   int64 `json:"silent_seconds"`
	Gate     Gate  `json:"gate"`
}

// Gate is what must hold for a wave to let the next begin. What breaks it rolls
// the deployment back.
type Gate struct {
	// Sample is how many events the gateways of a wave must have had together;
	// after the deadline it goes on with fewer if none failed.
	Sample int64 `json:"sample"`
	// Unhealthy is which part of a wave's gateways, in per cent, may be unhealthy:
	// refused, rolled back, silent, or not done at the deadline.
	Unhealthy float64 `json:"unhealthy_percent"`
	// Errors is by how many points the part of events that fail may grow, Crashes
	// the same for those in which the code itself breaks.
	Errors  float64 `json:"errors_points"`
	Crashes float64 `json:"crashes_points"`
	// Slower is how many times as long an event may take.
	Slower float64 `json:"slower"`
	// Faults is how many faults of actuators there may be on the gateways of a
	// wave since it began.
	Faults int64 `json:"actuator_faults"`
}

// Deployment is a deployment and how far it is. Of several that choose a gateway
// for one function the newest counts that has reached it and was not taken back:
// beneath one that is rolled back lies the one before.
type Deployment struct {
	ID       string   `json:"id"`
	Function string   `json:"function"`
	Targets  []string `json:"targets"`
	Selector string   `json:"selector"`
	Strategy Strategy `json:"strategy"`
	// State is running, paused, done, rolled back, aborted or superseded.
	State     string    `json:"state" enum:"running,paused,done,rolled back,aborted,superseded"`
	Reason    string    `json:"reason,omitempty" doc:"Why it is in this state"`
	Created   time.Time `json:"created"`
	CreatedBy string    `json:"created_by"`
	Ended     time.Time `json:"ended,omitzero"`
	// Wave is the one that is under way, from 1 on; Waves how many there are.
	Wave      int       `json:"wave"`
	Waves     int       `json:"waves"`
	WaveBegan time.Time `json:"wave_began,omitzero"`
	Progress  Progress  `json:"progress"`
}

// Progress counts the gateways that a deployment chooses.
type Progress struct {
	Chosen    int `json:"chosen"`
	Reached   int `json:"reached" doc:"Their wave has begun"`
	Live      int `json:"live" doc:"It runs there"`
	Pending   int `json:"pending" doc:"Reached, and not done yet"`
	Unhealthy int `json:"unhealthy" doc:"Refused, rolled back, silent or late"`
	Exempt    int `json:"exempt" doc:"Besides these: gateways with such labels that take no binary from the controller"`
	// Old and New are the events of the wave's gateways before and with it.
	Old EventCounts `json:"old"`
	New EventCounts `json:"new"`
}

// EventCounts are attempts of one version.
type EventCounts struct {
	Invocations uint64 `json:"invocations"`
	Failures    uint64 `json:"failures"`
	Crashes     uint64 `json:"crashes"`
	BusyMicros  uint64 `json:"busy_us"`
}

// DeploymentStep is something that happened in a deployment.
type DeploymentStep struct {
	At   time.Time `json:"at"`
	Wave int       `json:"wave"`
	Note string    `json:"note"`
}

// DeploymentGateway is a gateway as a deployment sees it.
type DeploymentGateway struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Wave  int    `json:"wave" doc:"0 while it is not its turn"`
	State string `json:"state" enum:"waiting,pending,live,unhealthy,exempt"`
	Note  string `json:"note,omitempty"`
}

// GatewayState is what is wanted of a gateway and what it says of it.
type GatewayState struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Desired uint64 `json:"desired_revision"`
	Follows uint64 `json:"reported_revision" doc:"The desired state that the gateway knows of"`
	// Reported is when it spoke of it last.
	Reported  time.Time         `json:"reported,omitzero"`
	Drift     bool              `json:"drift" doc:"It is not as it shall be"`
	Error     string            `json:"error,omitempty"`
	Functions []FunctionState   `json:"functions"`
	System    SystemState       `json:"system"`
	Secrets   []SecretInfo      `json:"secrets"`
	Faults    uint64            `json:"actuator_faults"`
	Labels    map[string]string `json:"labels"`
}

// FunctionState is a function on a gateway.
type FunctionState struct {
	Function string `json:"function"`
	// Wanted is the target that shall run, by Deployment.
	Wanted     string `json:"wanted,omitempty"`
	Deployment string `json:"deployment,omitempty"`
	Version    int    `json:"version,omitempty"`
	Digest     string `json:"digest,omitempty"`
	Target     string `json:"target,omitempty" doc:"Of its newest update"`
	Stage      string `json:"stage,omitempty"`
	Note       string `json:"note,omitempty"`
	// Config is what is laid over its manifest.
	Config map[string]any `json:"config,omitempty"`
	Drift  string         `json:"drift,omitempty" doc:"In which way it is not as it shall be"`
}

// SystemState is the gateway's binary.
type SystemState struct {
	Wanted  string `json:"wanted,omitempty"`
	Version string `json:"version,omitempty"`
	Drift   string `json:"drift,omitempty"`
	Fixed   string `json:"fixed,omitempty" doc:"Why it takes no binary from the controller"`
}

// ConfigChange sets configuration of a function, for some gateways: manifest <
// all < those that a selector chooses < one gateway.
type ConfigChange struct {
	Function string         `json:"function" maxLength:"63"`
	Selector string         `json:"selector,omitempty" maxLength:"1024"`
	Gateway  string         `json:"gateway,omitempty" maxLength:"64" doc:"Name or ID; in place of a selector"`
	Values   map[string]any `json:"values" doc:"Keys of the manifest's config; null takes one back to the layer below"`
}

// ConfigLayer is what is set at one place.
type ConfigLayer struct {
	ID        string         `json:"id"`
	Function  string         `json:"function"`
	Selector  string         `json:"selector,omitempty"`
	Gateway   string         `json:"gateway,omitempty" doc:"Its ID"`
	Values    map[string]any `json:"values"`
	Changed   time.Time      `json:"changed"`
	ChangedBy string         `json:"changed_by"`
}

// ConfigEntry is a change in the history of configuration.
type ConfigEntry struct {
	ID       string `json:"id"`
	Function string `json:"function"`
	Selector string `json:"selector,omitempty"`
	Gateway  string `json:"gateway,omitempty" doc:"Its ID"`
	// Before and After are the keys that were changed; null is one that is not
	// set there.
	Before    map[string]any `json:"before"`
	After     map[string]any `json:"after"`
	Changed   time.Time      `json:"changed"`
	ChangedBy string         `json:"changed_by"`
	Reverts   string         `json:"reverts,omitempty" doc:"The change that this one took back"`
}

// GatewayKey is the public key that secrets for a gateway are sealed to.
type GatewayKey struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	// Key is its SubjectPublicKeyInfo in DER, an ECDSA key on P-256.
	Key []byte `json:"key"`
}

// SecretInfo is a secret of which the controller has but what is sealed.
type SecretInfo struct {
	Gateway     string    `json:"gateway"`
	GatewayName string    `json:"gateway_name"`
	Function    string    `json:"function"`
	Name        string    `json:"name"`
	Revision    uint64    `json:"revision"`
	Set         time.Time `json:"set"`
	// Stale says that the gateway has another key since.
	Stale bool `json:"stale,omitempty"`
}

// SetSecrets is one secret, sealed for each of some gateways
// (sync/wire.SealedSecret).
type SetSecrets struct {
	Function string            `json:"function" maxLength:"63"`
	Name     string            `json:"name" maxLength:"63"`
	Sealed   map[string][]byte `json:"sealed,omitempty" maxProperties:"1000" doc:"By gateway ID"`
	Remove   []string          `json:"remove,omitempty" maxItems:"1000" doc:"IDs of gateways that it is removed from"`
}

// NewQuestion asks something of a gateway.
type NewQuestion struct {
	What     string `json:"what" enum:"logs,doctor"`
	Function string `json:"function,omitempty" maxLength:"63"`
	Lines    int    `json:"lines,omitempty" minimum:"1" maximum:"10000" default:"100"`
	Seconds  int64  `json:"expires_seconds,omitempty" minimum:"1" maximum:"86400" default:"60" doc:"How long the gateway may take; one that is away is asked when it is back within it"`
}

// Question is a question and its answer.
type Question struct {
	ID      string    `json:"id"`
	Gateway string    `json:"gateway"`
	What    string    `json:"what"`
	Asked   time.Time `json:"asked"`
	Expires time.Time `json:"expires"`
	// Answered is when the answer came; Answer is it, Error why there is none.
	Answered time.Time `json:"answered,omitzero"`
	Answer   any       `json:"answer,omitempty"`
	Error    string    `json:"error,omitempty"`
	Cut      bool      `json:"cut,omitempty"`
}

// TelemetryValue is the newest message of a topic on a gateway.
type TelemetryValue struct {
	Gateway string    `json:"gateway"`
	Topic   string    `json:"topic"`
	Time    time.Time `json:"time"`
	Payload []byte    `json:"payload" doc:"As it was published, in base64"`
	// JSON is the payload where it is JSON.
	JSON any `json:"json,omitempty"`
}

// Target is a signed target of the tenant's repository.
type Target struct {
	Name      string    `json:"name"`
	Kind      string    `json:"kind" enum:"function,system"`
	Function  string    `json:"function,omitempty"`
	Arch      string    `json:"arch,omitempty"`
	Version   string    `json:"version,omitempty"`
	SHA256    string    `json:"sha256"`
	Digest    string    `json:"digest,omitempty"`
	Bytes     int64     `json:"bytes"`
	Published time.Time `json:"published"`
	Aliases   []string  `json:"aliases,omitempty"`
}
