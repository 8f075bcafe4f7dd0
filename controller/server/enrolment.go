package server

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/headgate-io/headgate/controller/api"
	"github.com/headgate-io/headgate/controller/enrol"
)

// peer is the other side of a request without a token.
type peer struct {
	certificate *x509.Certificate
	host        string // by which it reached the controller
	address     string
}

type peerKey struct{}

func withPeer(c huma.Context, next func(huma.Context)) {
	p := peer{host: c.Host()}
	if host, _, err := net.SplitHostPort(p.host); err == nil {
		p.host = host
	}
	p.host = strings.Trim(p.host, "[]")
	var err error
	if p.address, _, err = net.SplitHostPort(c.RemoteAddr()); err != nil {
		p.address = c.RemoteAddr()
	}
	// That it has the certificate's key was shown in the handshake.
	if t := c.TLS(); t != nil && len(t.PeerCertificates) > 0 {
		p.certificate = t.PeerCertificates[0]
	}
	next(huma.WithValue(c, peerKey{}, p))
}

// enrolment is what gateways ask for.
func (s *Server) enrolment() {
	add := func(o huma.Operation, description string) huma.Operation {
		o.Middlewares = append(o.Middlewares, withPeer)
		o.Description, o.Tags, o.MaxBodyBytes = description, []string{"gateways"}, 16<<10
		o.Security = []map[string][]string{{}} // what they need is in the request
		return o
	}
	huma.Register(s.api, add(op("enroll", http.MethodPost, "/v1/enroll", "Enrol a gateway"),
		"Needs an enrolment token. The same token with the same key gives the same gateway again."),
		func(ctx context.Context, in *struct{ Body api.Enrol }) (*body[api.Enrolled], error) {
			p, _ := ctx.Value(peerKey{}).(peer)
			b := in.Body
			m, err := s.deps.Enrol.Enrol(ctx, enrol.Request{
				Token: b.Token, CSR: b.CSR, Hardware: b.Hardware, Name: b.Name, Replace: b.Replace, Version: b.Version, Arch: b.Arch, Address: p.address,
			})
			if err == nil && m.Replaced {
				s.deps.Gone(m.Gateway.ID) // the hardware before
			}
			return s.enrolled(p, m, err)
		})
	huma.Register(s.api, add(op("renew", http.MethodPost, "/v1/renew", "Renew a gateway's certificate"),
		"Needs the present certificate over mutual TLS; one that expired up to 180 days ago is good for this alone."),
		func(ctx context.Context, in *struct{ Body api.Renew }) (*body[api.Enrolled], error) {
			p, _ := ctx.Value(peerKey{}).(peer)
			if p.certificate == nil {
				return nil, huma.Error401Unauthorized("show the gateway's certificate: this needs mutual TLS")
			}
			m, err := s.deps.Enrol.Renew(ctx, p.certificate, in.Body.CSR)
			return s.enrolled(p, m, err)
		})
	huma.Register(s.api, add(op("time", http.MethodGet, "/v1/time", "Tell the time"), "For gateways without a clock."),
		func(context.Context, *struct{}) (*body[api.Time], error) {
			return &body[api.Time]{Body: api.Time{Time: s.deps.Now().UTC()}}, nil
		})
}

func (s *Server) enrolled(p peer, m enrol.Member, err error) (*body[api.Enrolled], error) {
	if err != nil {
		return nil, s.problem(err)
	}
	out, err := s.deps.Connection(p.host, m)
	if err != nil {
		return nil, s.problem(err)
	}
	return &body[api.Enrolled]{Body: out}, nil
}

// content serves a gateway the files of its tenant, with ranges.
func (s *Server) content() {
	s.mux.HandleFunc("GET /content/{path...}", func(w http.ResponseWriter, r *http.Request) {
		if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
			s.counters.refused.Add(1)
			problem(w, http.StatusUnauthorized, "show the gateway's certificate: this needs mutual TLS")
			return
		}
		g, err := s.deps.Enrol.Identify(r.Context(), r.TLS.PeerCertificates[0])
		switch {
		case errors.Is(err, enrol.ErrDenied):
			s.counters.refused.Add(1)
			problem(w, http.StatusForbidden, err.Error())
			return
		case err != nil:
			s.deps.Logger.Error("identify a gateway", "error", err)
			problem(w, http.StatusInternalServerError, "the controller's database does not answer: try again")
			return
		}
		s.file(w, r, g.Tenant, r.PathValue("path"))
	})
}

// file serves one file of a tenant. A root confines it: neither a path nor a
// link leads out of the tenant's folder.
func (s *Server) file(w http.ResponseWriter, r *http.Request, tenant, path string) {
	missing := func() { problem(w, http.StatusNotFound, "there is no such file") }
	root, err := os.OpenRoot(filepath.Join(s.deps.ContentDir, tenant))
	if err != nil {
		missing()
		return
	}
	defer func() { _ = root.Close() }()
	f, err := root.Open(filepath.FromSlash(path))
	if err != nil {
		missing()
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		missing()
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", info.ModTime(), f)
}
