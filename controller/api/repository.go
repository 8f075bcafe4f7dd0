package api

// Repository is the metadata of the tenant's repository of signed updates, as
// The Update Framework has it: what an owner needs to change it. What is not
// there is empty.
type Repository struct {
	// State names what a change is made of.
	State     string `json:"state"`
	Root      []byte `json:"root,omitempty"`
	Timestamp []byte `json:"timestamp,omitempty"`
	Snapshot  []byte `json:"snapshot,omitempty"`
	Targets   []byte `json:"targets,omitempty"`
	// StagedRoot and StagedTargets wait for signatures.
	StagedRoot    []byte `json:"staged_root,omitempty"`
	StagedTargets []byte `json:"staged_targets,omitempty"`
	// Roots are those after the version that was asked from, oldest first.
	Roots [][]byte `json:"roots,omitempty"`
}

// RepositoryChange is metadata that an owner has signed.
type RepositoryChange struct {
	Base    string `json:"base" maxLength:"64" doc:"The field state of the repository that it was made of"`
	Root    []byte `json:"root,omitempty" doc:"Root metadata, where it changes"`
	Targets []byte `json:"targets,omitempty" doc:"Targets metadata, where they change"`
}

// RepositoryChanged is what became of a RepositoryChange.
type RepositoryChanged struct {
	Published bool              `json:"published" doc:"Gateways get it; otherwise it waits for signatures"`
	Root      int64             `json:"root" doc:"Version of the published root; 0 is none"`
	Targets   int64             `json:"targets" doc:"Version of the published targets; 0 is none"`
	Waiting   []WaitingMetadata `json:"waiting"`
}

// WaitingMetadata is metadata that waits for signatures.
type WaitingMetadata struct {
	Role    string   `json:"role"`
	Version int64    `json:"version"`
	Signed  []string `json:"signed" doc:"The keys that have signed it"`
	Missing string   `json:"missing,omitempty"`
}

// OnlineKey is the public half of a key with which the controller says how new a
// repository is.
type OnlineKey struct {
	Public string `json:"public" doc:"Ed25519, in hex"`
}
