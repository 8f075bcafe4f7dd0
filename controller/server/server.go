// Package server is the controller's HTTP API: enrolment for gateways, and
// everything else for the bearers of tokens. Its shapes are in package api, its
// OpenAPI description at /openapi.json.
//
// A token stands for a user of one tenant, and every operation works on that
// tenant: no path names another.
package server

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/headgate-io/headgate/controller/api"
	"github.com/headgate-io/headgate/controller/content"
	"github.com/headgate-io/headgate/controller/enrol"
	"github.com/headgate-io/headgate/controller/fleet"
	"github.com/headgate-io/headgate/controller/store"
	"github.com/headgate-io/headgate/sync/ota"
)

// Deps is what the API stands on.
type Deps struct {
	Store *store.Store
	Enrol *enrol.Service
	Fleet *fleet.Service
	// Targets are what a tenant has signed.
	Targets func(tenant string) ([]ota.Target, error)
	// Connection fills in what a gateway that reached the controller as host
	// needs to know beside its certificate.
	Connection func(host string, m enrol.Member) (api.Enrolled, error)
	// Ready says what keeps the controller from its work.
	Ready func(context.Context) error
	// Gone ends the connections of a gateway whose certificates are good for
	// nothing any more.
	Gone func(gateway string)
	// Metrics is what Prometheus reads.
	Metrics http.Handler
	// ContentDir has a folder for each tenant; Content changes them.
	ContentDir string
	Content    *content.Keeper
	Version    string
	Logger     *slog.Logger
	// Now is the clock.
	Now func() time.Time
}

// Server is the API. It may be used from any goroutine.
type Server struct {
	deps     Deps
	mux      *http.ServeMux
	api      huma.API
	counters struct{ requests, refused, failed, full atomic.Uint64 }
}

// Stats counts what was asked.
type Stats struct {
	// Requests are all that came, Refused those without a good token or
	// certificate, Failed those that the controller could not answer, Full those
	// that its disk had no room for.
	Requests, Refused, Failed, Full uint64
}

// Stats returns the counters.
func (s *Server) Stats() Stats {
	return Stats{s.counters.requests.Load(), s.counters.refused.Load(), s.counters.failed.Load(), s.counters.full.Load()}
}

// New makes the API.
func New(deps Deps) *Server {
	s := &Server{deps: deps, mux: http.NewServeMux()}
	config := huma.DefaultConfig("Headgate controller", deps.Version)
	config.DocsPath = ""     // its page would load scripts from elsewhere
	config.CreateHooks = nil // no $schema in every answer
	config.SchemasPath = ""
	config.Servers = []*huma.Server{{URL: "/"}} // where the description comes from
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{"bearer": {Type: "http", Scheme: "bearer"}}
	s.api = humago.New(s.mux, config)
	s.enrolment()
	s.gateways()
	s.enrolmentTokens()
	s.users()
	s.tokens()
	s.tenants()
	s.audit()
	s.deployments()
	s.states()
	s.config()
	s.secrets()
	s.questions()
	s.targets()
	s.usage()
	s.findings()
	s.invoices()
	s.billing()
	s.content()
	s.repository()
	s.health()
	return s
}

// OpenAPI is the API's description.
func (s *Server) OpenAPI() *huma.OpenAPI { return s.api.OpenAPI() }

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.counters.requests.Add(1)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	if h, pattern := s.mux.Handler(r); pattern == "" {
		notFound(w, r, h)
		return
	}
	s.mux.ServeHTTP(w, r)
}

// notFound answers what no operation is for with a problem, as all else is.
func notFound(w http.ResponseWriter, r *http.Request, h http.Handler) {
	was := &verdict{header: w.Header()}
	h.ServeHTTP(was, r)
	detail := "there is no operation at this path: /openapi.json lists them"
	if was.status == http.StatusMethodNotAllowed {
		detail = "the path takes other methods: the header Allow lists them"
	}
	w.Header().Del("Content-Length")
	problem(w, was.status, detail)
}

// verdict takes what the mux says of a request, without its text.
type verdict struct {
	header http.Header
	status int
}

// Header implements http.ResponseWriter.
func (v *verdict) Header() http.Header { return v.header }

// WriteHeader implements http.ResponseWriter.
func (v *verdict) WriteHeader(status int) { v.status = status }

// Write implements http.ResponseWriter.
func (v *verdict) Write(b []byte) (int, error) { return len(b), nil }

// problem answers with a problem outside of operations.
func problem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(huma.NewError(status, detail)) // the client may have gone
}

// health answers whoever watches over the controller.
func (s *Server) health() {
	s.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	s.mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := s.deps.Ready(r.Context()); err != nil {
			s.deps.Logger.Warn("not ready", "error", err)
			problem(w, http.StatusServiceUnavailable, "not ready: the controller's log says why")
			return
		}
		_, _ = w.Write([]byte("ok\n"))
	})
	s.mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		who, err := s.bearer(r.Context(), r.Header.Get("Authorization"), r.RemoteAddr)
		switch {
		case err != nil:
			w.Header().Set("WWW-Authenticate", "Bearer")
			problem(w, http.StatusUnauthorized, errToken.Error())
		case !within(readMetrics, who.scopes):
			problem(w, http.StatusForbidden, lacks(readMetrics))
		default:
			s.deps.Metrics.ServeHTTP(w, r)
		}
	})
}
