// Package api is the shapes of the controller's HTTP API, for its server and
// its clients. Times are RFC 3339 in UTC; those that are left out are never.
package api

import "time"

// Page is one part of a list.
type Page[T any] struct {
	Items []T `json:"items"`
	// Next is the cursor of the next part; without it this is the last.
	Next string `json:"next,omitempty" doc:"Cursor of the next page; the last has none"`
}

// Tenant is a customer of the controller.
type Tenant struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
}

// NewTenant is a tenant to be.
type NewTenant struct {
	Name string `json:"name" maxLength:"63" doc:"Small letters, digits, dots and hyphens"`
}

// TenantMade is a new tenant and the token of its first admin.
type TenantMade struct {
	Tenant
	Admin TokenSecret `json:"admin"`
}

// Gateway is an enrolled gateway.
type Gateway struct {
	ID     string            `json:"id"`
	Name   string            `json:"name"`
	Labels map[string]string `json:"labels"`
	// Hardware, Arch and Version are what the gateway said of itself.
	Hardware string `json:"hardware,omitempty"`
	Arch     string `json:"arch,omitempty"`
	Version  string `json:"version,omitempty"`
	// EnrolmentToken is the one that it came with.
	EnrolmentToken     string    `json:"enrolment_token,omitempty"`
	Enrolled           time.Time `json:"enrolled"`
	Renewed            time.Time `json:"renewed" doc:"When its certificate was made"`
	CertificateExpires time.Time `json:"certificate_expires"`
	Revoked            time.Time `json:"revoked,omitzero"`
	// Status is what it said of itself last; without it, it has never connected.
	Status *GatewayStatus `json:"status,omitempty"`
}

// GatewayStatus is what a gateway said of itself.
type GatewayStatus struct {
	Connected time.Time `json:"connected" doc:"When it connected last"`
	Seen      time.Time `json:"seen" doc:"When it spoke last"`
	// ClockAhead is by how much its clock was ahead of the controller's when it
	// connected, in milliseconds.
	ClockAhead int64  `json:"clock_ahead_ms"`
	ClockTrust string `json:"clock_trust" enum:"unknown,estimated,synchronised"`
	// Health is the gateway's own account.
	Health any `json:"health,omitempty"`
	// FixedBinary says what else brings its binary.
	FixedBinary string `json:"fixed_binary,omitempty" doc:"Why it takes no binary from the controller"`
}

// Finding is something that is wrong with a gateway's usage.
type Finding struct {
	ID          string    `json:"id"`
	At          time.Time `json:"at"`
	Gateway     string    `json:"gateway"`
	GatewayName string    `json:"gateway_name,omitempty"`
	// Hardware, Epoch and Batch name the batch that it is about.
	Hardware string `json:"hardware"`
	Epoch    uint64 `json:"epoch"`
	Batch    uint64 `json:"batch"`
	Kind     string `json:"kind" enum:"gap,fork,tampered,foreign"`
	Detail   string `json:"detail"`
}

// GatewayChange is what is to change of a gateway; what is left out stays.
type GatewayChange struct {
	Name string `json:"name,omitempty" maxLength:"63"`
	// Labels are set; those with null are removed.
	Labels map[string]*string `json:"labels,omitempty" doc:"Labels to set; null removes one"`
}

// EnrolmentToken admits gateways.
type EnrolmentToken struct {
	ID        string            `json:"id"`
	Uses      int64             `json:"uses" doc:"How many gateways it admits"`
	Used      int64             `json:"used" doc:"How many it has admitted"`
	Labels    map[string]string `json:"labels" doc:"What its gateways begin with"`
	Replaces  string            `json:"replaces,omitempty" doc:"The gateway whose place it gives"`
	Created   time.Time         `json:"created"`
	CreatedBy string            `json:"created_by"`
	Expires   time.Time         `json:"expires"`
	Revoked   time.Time         `json:"revoked,omitzero"`
}

// NewEnrolmentToken is a token to be.
type NewEnrolmentToken struct {
	Uses    int64             `json:"uses,omitempty" minimum:"1" default:"1" doc:"How many gateways it admits"`
	Seconds int64             `json:"lifetime_seconds,omitempty" minimum:"1" default:"86400" doc:"How long it lives"`
	Labels  map[string]string `json:"labels,omitempty" doc:"What its gateways begin with"`
	Replace string            `json:"replace,omitempty" maxLength:"64" doc:"Name or ID of the gateway whose place it gives"`
}

// EnrolmentSecret is a new token, with its secret: the one time that it is told.
type EnrolmentSecret struct {
	EnrolmentToken
	Token string `json:"token"`
}

// User is who uses the API: a person, or a program.
type User struct {
	Name    string    `json:"name"`
	Role    string    `json:"role" enum:"viewer,operator,admin,platform"`
	Created time.Time `json:"created"`
}

// NewUser is a user to be.
type NewUser struct {
	Name string `json:"name" maxLength:"64"`
	Role string `json:"role" enum:"viewer,operator,admin,platform"`
}

// UserChange is what is to change of a user.
type UserChange struct {
	Role string `json:"role" enum:"viewer,operator,admin,platform"`
}

// Token opens the API as a user.
type Token struct {
	Name string `json:"name"`
	User string `json:"user"`
	// Scopes narrow what the user's role may; without any it is all.
	Scopes   []string  `json:"scopes"`
	Created  time.Time `json:"created"`
	Expires  time.Time `json:"expires,omitzero"`
	LastUsed time.Time `json:"last_used,omitzero" doc:"To within an hour"`
}

// NewToken is a token to be.
type NewToken struct {
	Name    string   `json:"name" maxLength:"64"`
	Scopes  []string `json:"scopes,omitempty" maxItems:"32" doc:"As gateways:read; without any it may all that the user may"`
	Seconds int64    `json:"lifetime_seconds,omitempty" minimum:"0" doc:"How long it lives; for ever when left out"`
}

// TokenSecret is a new token, with its secret: the one time that it is told.
type TokenSecret struct {
	Token
	Secret string `json:"secret"`
}

// Whoami is who the bearer of a token is.
type Whoami struct {
	Tenant string   `json:"tenant"`
	User   string   `json:"user"`
	Role   string   `json:"role"`
	Token  string   `json:"token"`
	Scopes []string `json:"scopes" doc:"Everything that the token may"`
}

// Change is an entry of the audit log.
type Change struct {
	ID      string    `json:"id"`
	At      time.Time `json:"at"`
	Actor   string    `json:"actor"`
	Token   string    `json:"token"`
	Address string    `json:"address,omitempty"`
	Action  string    `json:"action"`
	Object  string    `json:"object"`
	Name    string    `json:"name,omitempty" doc:"What people called the gateway or tenant that it is about"`
	Before  any       `json:"before,omitempty"`
	After   any       `json:"after,omitempty"`
}

// Enrol is what a gateway asks to be enrolled with.
type Enrol struct {
	Token    string `json:"token" maxLength:"256"`
	CSR      string `json:"csr" maxLength:"4096" doc:"A certificate signing request in PEM, of an ECDSA key on P-256; only its key counts"`
	Hardware string `json:"hardware,omitempty" maxLength:"128"`
	Name     string `json:"name,omitempty" maxLength:"63"`
	Replace  string `json:"replace,omitempty" maxLength:"64"`
	Version  string `json:"version,omitempty" maxLength:"128"`
	Arch     string `json:"arch,omitempty" maxLength:"128"`
}

// Renew is what a gateway asks for another certificate with.
type Renew struct {
	CSR string `json:"csr" maxLength:"4096"`
}

// Enrolled is what a gateway needs to know of its controller.
type Enrolled struct {
	Gateway     string    `json:"gateway" doc:"Its ID: the common name of the certificate"`
	Name        string    `json:"name"`
	Tenant      string    `json:"tenant"`
	Certificate string    `json:"certificate" doc:"In PEM, its own first"`
	CA          string    `json:"ca" doc:"The authority's certificate in PEM"`
	MQTT        []string  `json:"mqtt" doc:"Where to connect, as ssl://host:port"`
	Content     string    `json:"content" doc:"Where to fetch content"`
	Time        time.Time `json:"time"`
	Root        []byte    `json:"root,omitempty" doc:"The TUF root, in base64"`
}

// Time is the controller's clock.
type Time struct {
	Time time.Time `json:"time"`
}
