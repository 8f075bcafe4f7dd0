package admin

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/headgate-io/headgate/gateway/admin/api"
)

// System is the gateway's own binary.
type System interface {
	Describe() (api.System, error)
	// Update takes a new binary, which takes over a moment after.
	Update(ctx context.Context, r io.Reader, o api.SystemUpdate) (api.SystemBinary, error)
}

func (s *Server) system(a huma.API) {
	huma.Register(a, op("system", http.MethodGet, "/v1/system", "Say which of the gateway's binaries runs, and what became of the newest update"),
		func(context.Context, *none) (*body[api.System], error) {
			return answer(s.deps.System.Describe())
		})
	s.mux.HandleFunc("PUT /v1/system/binary", s.update)
}

// update takes a binary as it is.
func (s *Server) update(w http.ResponseWriter, r *http.Request) {
	o := api.SystemUpdate{SHA256: r.URL.Query().Get("sha256")}
	if text := r.URL.Query().Get("within"); text != "" {
		var err error
		if o.Within, err = time.ParseDuration(text); err != nil || o.Within < time.Second {
			refuse(w, http.StatusUnprocessableEntity, "within is a duration of a second at least, such as 2m")
			return
		}
	}
	b, err := s.deps.System.Update(r.Context(), r.Body, o)
	if err != nil {
		refuse(w, http.StatusUnprocessableEntity, err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusAccepted)
	_ = json.NewEncoder(w).Encode(b)
}
