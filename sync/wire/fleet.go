package wire

// What a controller wants of a gateway, and what the gateway says of it. Both
// are states, not steps: the newest counts, and a lost one is sent again because
// the other side still speaks of an older revision.

// Bounds of what one message names.
const (
	MaxFunctions = 1024
	MaxSecrets   = 1024
	MaxTelemetry = 256
)

// Desired is all that a controller wants of a gateway.
type Desired struct {
	// Revision grows with every change of this gateway's desired state.
	Revision uint64 `cbor:"1,keyasint"`
	// Functions are those that shall be there. One that an earlier Desired gave a
	// target and this one does not is removed; one that none ever gave a target is
	// left alone.
	Functions []DesiredFunction `cbor:"2,keyasint,omitempty"`
	// System is the name of the signed target of the gateway's binary; empty
	// leaves it.
	System string `cbor:"3,keyasint,omitempty"`
	// Secrets are sealed to the gateway's key.
	Secrets []SealedSecret `cbor:"4,keyasint,omitempty"`
	// Every is how many seconds there are at most between two reports while a
	// rollout looks at this gateway, which may be longer than its own update takes;
	// 0 is the gateway's own choice.
	Every int64 `cbor:"5,keyasint,omitempty"`
	// SystemAttempt tells a deployment of the same binary from an earlier one: what
	// was taken back is tried again under another attempt.
	SystemAttempt string `cbor:"6,keyasint,omitempty"`
}

// DesiredFunction is a function as it shall be.
type DesiredFunction struct {
	Name string `cbor:"1,keyasint"`
	// Target is the name of the signed target, SHA256 its content's; an empty
	// target leaves the code alone and changes the configuration only.
	Target string `cbor:"2,keyasint,omitempty"`
	SHA256 []byte `cbor:"3,keyasint,omitempty"`
	// Config is a JSON object that is laid over the manifest's config, key by
	// key; null takes a key away.
	Config []byte `cbor:"4,keyasint,omitempty"`
	// Attempt tells a deployment of the same target from an earlier one: what
	// was rolled back or refused is tried again under another attempt.
	Attempt string `cbor:"5,keyasint,omitempty"`
}

// SealedSecret is the value of a secret that only the gateway can read: HPKE
// (RFC 9180: DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-256-GCM), base mode,
// with SecretInfo as info.
type SealedSecret struct {
	Function string `cbor:"1,keyasint"`
	Name     string `cbor:"2,keyasint"`
	// Revision tells one value from the next; Sealed is empty for a secret that
	// is to be removed.
	Revision uint64 `cbor:"3,keyasint"`
	Sealed   []byte `cbor:"4,keyasint,omitempty"`
}

// Reported is how a gateway is, compared with what is wanted of it. It is sent
// after every step of an update, and at least as often as Health.
type Reported struct {
	// Revision is the desired state that the gateway follows; 0 is none.
	Revision uint64 `cbor:"1,keyasint"`
	// Time is the gateway's, in microseconds since 1970; Start, a random number,
	// tells one run of its process from the next, and Seq, which grows from 1, one
	// report of a run from the next.
	Time  int64  `cbor:"2,keyasint"`
	Start uint64 `cbor:"3,keyasint"`
	Seq   uint64 `cbor:"4,keyasint"`
	// Functions are all that the gateway has.
	Functions []ReportedFunction `cbor:"5,keyasint,omitempty"`
	// Error says why the desired state is not followed; empty where it is.
	Error  string         `cbor:"6,keyasint,omitempty"`
	System ReportedSystem `cbor:"7,keyasint"`
	// Faults counts faults of actuators since the process started.
	Faults uint64 `cbor:"8,keyasint,omitempty"`
}

// ReportedFunction is a function as it is.
type ReportedFunction struct {
	Name string `cbor:"1,keyasint"`
	// Version is its live version's number on this gateway, Digest its content's.
	Version int    `cbor:"2,keyasint,omitempty"`
	Digest  []byte `cbor:"3,keyasint,omitempty"`
	// Target, Attempt and Stage say how far the newest update is (the words of
	// gateway/update's stages), Note why it ended so or waits.
	Target  string `cbor:"4,keyasint,omitempty"`
	Attempt string `cbor:"5,keyasint,omitempty"`
	Stage   string `cbor:"6,keyasint,omitempty"`
	Note    string `cbor:"7,keyasint,omitempty"`
	// Old and New are what the version before and the new one did, side by side
	// where they were, else before and after.
	Old Counts `cbor:"8,keyasint"`
	New Counts `cbor:"9,keyasint"`
	// Config is the SHA-256 of the Config that it runs with.
	Config []byte `cbor:"10,keyasint,omitempty"`
}

// Counts are attempts of one version.
type Counts struct {
	Invocations uint64 `cbor:"1,keyasint,omitempty" json:"invocations"`
	Failures    uint64 `cbor:"2,keyasint,omitempty" json:"failures"`
	// Crashes are those of the failures in which the code itself broke: traps,
	// no fuel, stack or memory left, and those that took too long.
	Crashes uint64 `cbor:"3,keyasint,omitempty" json:"crashes"`
	// Busy is the time inside the guest, in microseconds.
	Busy uint64 `cbor:"4,keyasint,omitempty" json:"busy_us"`
}

// ReportedSystem is the gateway's binary.
type ReportedSystem struct {
	Version string `cbor:"1,keyasint,omitempty" json:"version"`
	SHA256  []byte `cbor:"2,keyasint,omitempty" json:"-"`
	// Trial is true until the binary is confirmed; Failed is the SHA-256 of one
	// that was taken back, Note why.
	Trial  bool   `cbor:"3,keyasint,omitempty" json:"trial"`
	Failed []byte `cbor:"4,keyasint,omitempty" json:"-"`
	Note   string `cbor:"5,keyasint,omitempty" json:"note,omitempty"`
	// Fixed is what else brings the binary, where the gateway takes none from its
	// controller; empty is that it does.
	Fixed Bringer `cbor:"6,keyasint,omitempty" json:"fixed,omitempty"`
	// FailedAttempt is the attempt under which that one was taken back, NoAttempt
	// where a controller did not ask for it; empty is a gateway that does not tell
	// attempts of a binary apart, and tries it no more.
	FailedAttempt string `cbor:"7,keyasint,omitempty" json:"failed_attempt,omitempty"`
}

// NoAttempt is what was tried without a deployment.
const NoAttempt = "none"

// Ask is a question to one gateway, which it answers or lets expire.
type Ask struct {
	ID string `cbor:"1,keyasint"`
	// What is AskLogs or AskDoctor.
	What string `cbor:"2,keyasint"`
	// Function and Lines narrow logs down.
	Function string `cbor:"3,keyasint,omitempty"`
	Lines    int    `cbor:"4,keyasint,omitempty"`
	// Expires is in microseconds since 1970, by the controller's clock.
	Expires int64 `cbor:"5,keyasint"`
}

// What may be asked.
const (
	AskLogs   = "logs"
	AskDoctor = "doctor"
)

// MaxAnswerBytes bounds an answer, compressed.
const MaxAnswerBytes = 256 << 10

// Answer answers an Ask.
type Answer struct {
	ID string `cbor:"1,keyasint"`
	// Body is JSON, compressed with zstd; Error says why there is none.
	Body  []byte `cbor:"2,keyasint,omitempty"`
	Error string `cbor:"3,keyasint,omitempty"`
	// Cut says that there was more than MaxAnswerBytes hold.
	Cut bool `cbor:"4,keyasint,omitempty"`
}

// Telemetry is the newest message of each topic that the gateway's owner chose
// and that had a new one. It is sent until acknowledged; only the newest of a
// topic is.
type Telemetry struct {
	// Start and Seq number it, as those of Reported.
	Start  uint64  `cbor:"1,keyasint"`
	Seq    uint64  `cbor:"2,keyasint"`
	Values []Value `cbor:"3,keyasint"`
}

// Value is a message.
type Value struct {
	Topic   string `cbor:"1,keyasint"`
	Payload []byte `cbor:"2,keyasint"`
	// Time is when it came, in microseconds since 1970, Count how many came
	// since the last that was sent.
	Time  int64  `cbor:"3,keyasint"`
	Count uint64 `cbor:"4,keyasint,omitempty"`
}

// Taken answers a Telemetry that is stored.
type Taken struct {
	Start uint64 `cbor:"1,keyasint"`
	Seq   uint64 `cbor:"2,keyasint"`
}

// SecretInfo is what a sealed secret is bound to: it opens as this secret of
// this gateway alone.
func SecretInfo(gateway, function, name string) []byte {
	return []byte("headgate secret 1\x00" + gateway + "\x00" + function + "\x00" + name)
}
