package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// health answers what supervisors and scrapers ask.
func (s *Server) health() {
	s.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "ok")
	})
	s.mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := s.deps.Ready(); err != nil {
			refuse(w, http.StatusServiceUnavailable, "not ready: "+err.Error())
			return
		}
		fmt.Fprintln(w, "ok")
	})
	s.mux.HandleFunc("GET /v1/about", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(s.deps.About())
	})
	s.mux.Handle("GET /metrics", s.deps.Metrics)
}
