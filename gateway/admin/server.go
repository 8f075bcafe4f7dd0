// Package admin is the gateway's HTTP API: over a Unix socket on the box, and
// where configured over TCP for bearers of a token. Its shapes are in package
// api, its OpenAPI description at /openapi.json.
package admin

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/secret"
	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/gateway/tail"
	"github.com/headgate-io/headgate/gateway/throttle"
	"github.com/headgate-io/headgate/gateway/token"
	"github.com/headgate-io/headgate/sync/usage"
)

// Deployer changes what is deployed.
type Deployer interface {
	Deploy(ctx context.Context, bundle []byte, o api.DeployOptions) (api.Deployed, error)
	Rollback(ctx context.Context, name string, version int) (api.Deployed, error)
	Remove(ctx context.Context, name string) error
	SetAlias(ctx context.Context, name, alias string, to api.AliasTarget) (api.Alias, error)
	DropAlias(ctx context.Context, name, alias string) error
}

// Authors says whose functions the gateway takes.
type Authors interface {
	// Author is the pinned key, empty while none is.
	Author(ctx context.Context) (string, error)
	// ForgetAuthor lets the next deploy pin its author.
	ForgetAuthor(ctx context.Context) error
}

// Catalog shows what is deployed.
type Catalog interface {
	List(ctx context.Context) ([]api.Function, error)
	Describe(ctx context.Context, name string) (api.FunctionDetail, error)
}

// Invoker runs a function now.
type Invoker interface {
	Invoke(ctx context.Context, name string, in api.Invoke) (api.Invoked, error)
}

// Messenger publishes and receives MQTT messages as an operator.
type Messenger interface {
	// Publish returns when the message has been released: for QoS 1 and 2,
	// when its effects or its queue rows are on disk.
	Publish(ctx context.Context, m api.Message) error
	// Subscribe calls fn for every message that matches filter until cancel;
	// fn must not block.
	Subscribe(filter string, fn func(api.Message)) (cancel func(), err error)
}

// Hand does what a function could do. Each returns when that, and what it
// starts, is on disk.
type Hand interface {
	SetState(ctx context.Context, ns, key string, value []byte) error
	DeleteState(ctx context.Context, ns, key string) error
	Enqueue(ctx context.Context, m api.QueueMessage) error
}

// Timers fires timers by hand.
type Timers interface {
	// RunTimer returns when what the timer starts is on disk.
	RunTimer(ctx context.Context, run api.TimerRun) (api.TimerRan, error)
}

// Explainer says what would become of an event, and why.
type Explainer interface {
	Explain(ctx context.Context, q api.Explain) (api.Explained, error)
}

// Devices gives MQTT clients their credentials.
type Devices interface {
	List(ctx context.Context) ([]api.Device, error)
	Add(ctx context.Context, d api.NewDevice) (api.DeviceSecret, error)
	Rotate(ctx context.Context, name string) (api.DeviceSecret, error)
	Remove(ctx context.Context, name string) error
	// Revoke keeps a device out until Restore.
	Revoke(ctx context.Context, name string) error
	Restore(ctx context.Context, name string) error
}

// Store is what the API reads and writes directly.
type Store interface {
	GetState(ctx context.Context, ns, key string) (value []byte, found bool, err error)
	ListState(ctx context.Context, ns, prefix, after string, limit int) (keys []string, more bool, err error)
	Usage(ctx context.Context, q store.UsageQuery) ([]usage.Rollup, error)
	DeadLetters(ctx context.Context, function string, after int64, limit int) ([]store.DeadLetter, error)
	DeadLetter(ctx context.Context, id int64) (*store.DeadLetter, error)
}

var _ Store = (*store.Store)(nil)

// Secrets keeps what functions must know and nobody else may; package secret
// implements it.
type Secrets interface {
	List(function string) []secret.Info
	Set(ctx context.Context, function, name string, value []byte) error
	Remove(ctx context.Context, function, name string) error
	// Rekey seals all secrets with a new key and returns how many they are.
	Rekey(ctx context.Context) (int, error)
}

var _ Secrets = (*secret.Vault)(nil)

// Tokens says who may do what over the network; package token implements it.
type Tokens interface {
	Lookup(secret string) (token.Info, error)
	Enter(ctx context.Context, secret string) (*token.Grant, error)
	Add(ctx context.Context, name string, scopes []token.Scope, ttl time.Duration) (string, token.Info, error)
	List() []token.Info
	Revoke(ctx context.Context, name string) error
}

var _ Tokens = (*token.Registry)(nil)

// Tails are the newest things that happened.
type Tails struct {
	Invocations *tail.Ring[api.Invocation]
	Logs        *tail.Ring[api.LogLine]
	Events      *tail.Ring[api.Event]
}

// Deps is what the API stands on.
type Deps struct {
	Deployer   Deployer
	Authors    Authors
	Catalog    Catalog
	Invoker    Invoker
	Messenger  Messenger
	Hand       Hand
	Timers     Timers
	Bridges    Bridges
	Enrolment  Enrolment
	Sensors    Sensors
	Explainer  Explainer
	Devices    Devices
	Clock      Clock
	Undertaker Undertaker
	Tokens     Tokens
	Secrets    Secrets
	// Guesses slows down who tries tokens.
	Guesses *throttle.Guard
	Keeper  Keeper
	System  System
	Updates Updates
	// Recordings keeps invocations to be run again elsewhere.
	Recordings Recordings
	Objects    Objects
	Actuators  Actuators
	Store      Store
	Tails      Tails
	About      func() api.About
	// Doctor looks at everything, which takes a while.
	Doctor func(ctx context.Context) []api.Check
	// Ready reports why the gateway is not ready; nil is ready.
	Ready   func() error
	Metrics http.Handler
	Logger  *slog.Logger
}

// Server answers the API, by ServeLocal and ServeTokens.
type Server struct {
	deps Deps
	mux  *routes
}

// New makes the API.
func New(deps Deps) *Server {
	s := &Server{deps: deps, mux: newRoutes()}
	config := huma.DefaultConfig("Headgate gateway", deps.About().Version)
	config.DocsPath = ""     // its page would load scripts from elsewhere
	config.CreateHooks = nil // no $schema in every answer
	config.SchemasPath = ""
	a := humago.New(s.mux, config)
	s.functions(a)
	s.authors(a)
	s.state(a)
	s.deadLetters(a)
	s.clock(a)
	s.usage(a)
	s.devices(a)
	s.tokens(a)
	s.secrets(a)
	s.messages(a)
	s.queues(a)
	s.timers(a)
	s.bridges(a)
	s.enrolment(a)
	s.sensors(a)
	s.actuators(a)
	s.explain(a)
	s.doctor(a)
	s.system(a)
	s.updates(a)
	s.streams()
	s.backups()
	s.recordings(a)
	s.objects(a)
	s.health()
	return s
}

// op names one operation of the API.
func op(id, method, path, summary string) huma.Operation {
	return huma.Operation{OperationID: id, Method: method, Path: path, Summary: summary}
}

// body is an answer.
type body[T any] struct{ Body T }

func answer[T any](v T, err error) (*body[T], error) {
	if err != nil {
		return nil, problem(err)
	}
	return &body[T]{v}, nil
}

// FunctionName is the name of a function in a path.
type FunctionName struct {
	Name string `path:"name" maxLength:"64"`
}

// DeviceName is the name of a device in a path.
type DeviceName struct {
	Name string `path:"name" maxLength:"64"`
}

// none is an empty answer.
type none struct{}

func done(err error) (*none, error) {
	if err != nil {
		return nil, problem(err)
	}
	return nil, nil
}
