package admin

import (
	"context"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/headgate-io/headgate/gateway/admin/api"
)

// Recordings keeps invocations to be run again elsewhere.
type Recordings interface {
	// Start records a function's next invocations; Stop ends that.
	Start(ctx context.Context, function string, order api.RecordOrder) error
	Stop(function string) error
	// List shows what was recorded, newest first; of one function or of all.
	List(function string) []api.Recording
	// File is a recording as a file, with the code that ran where code is set.
	File(ctx context.Context, id string, code bool) ([]byte, error)
	Drop(id string) error
}

func (s *Server) recordings(a huma.API) {
	type id struct {
		ID string `path:"id" maxLength:"64"`
	}
	huma.Register(a, op("start-recording", http.MethodPut, "/v1/functions/{name}/recording", "Record a function's next invocations"),
		func(ctx context.Context, in *struct {
			FunctionName
			Body api.RecordOrder
		},
		) (*none, error) {
			return done(s.deps.Recordings.Start(ctx, in.Name, in.Body))
		})
	huma.Register(a, op("stop-recording", http.MethodDelete, "/v1/functions/{name}/recording", "Stop recording a function"),
		func(_ context.Context, in *FunctionName) (*none, error) {
			return done(s.deps.Recordings.Stop(in.Name))
		})
	huma.Register(a, op("list-recordings", http.MethodGet, "/v1/recordings", "List the recorded invocations, newest first"),
		func(_ context.Context, in *struct {
			Function string `query:"function" maxLength:"64"`
		},
		) (*body[[]api.Recording], error) {
			return answer(s.deps.Recordings.List(in.Function), nil)
		})
	huma.Register(a, op("drop-recording", http.MethodDelete, "/v1/recordings/{id}", "Delete a recording"),
		func(_ context.Context, in *id) (*none, error) {
			return done(s.deps.Recordings.Drop(in.ID))
		})
	s.mux.HandleFunc("GET /v1/recordings/{id}", func(w http.ResponseWriter, r *http.Request) {
		raw, err := s.deps.Recordings.File(r.Context(), r.PathValue("id"), r.URL.Query().Get("code") == "true")
		if err != nil {
			code := http.StatusInternalServerError
			var status huma.StatusError
			if errors.As(problem(err), &status) {
				code = status.GetStatus()
			}
			refuse(w, code, err.Error())
			return
		}
		w.Header().Set("Content-Type", "application/vnd.headgate.recording+gzip")
		_, _ = w.Write(raw) // a client that went away
	})
}
