package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/admin/api"
)

// Objects keeps the objects of buckets. Each change returns when it, and what it
// starts, is on disk.
type Objects interface {
	Buckets() []api.Bucket
	List(ctx context.Context, bucket, prefix, after string, limit int) (api.ObjectList, error)
	Stat(ctx context.Context, bucket, key string) (api.Object, error)
	// Open opens an object for reading.
	Open(ctx context.Context, bucket, key string) (function.Object, *os.File, error)
	// Put puts an object of length bytes, -1 where that is not known.
	Put(ctx context.Context, bucket, key, mediaType string, body io.Reader, length int64) (api.Object, error)
	Delete(ctx context.Context, bucket, key string) error
}

// BucketName is the name of a bucket in a path.
type BucketName struct {
	Bucket string `path:"bucket" maxLength:"64"`
}

// ObjectKey names an object: its key is in the query, for it may hold slashes.
type ObjectKey struct {
	BucketName
	Key string `query:"key" required:"true" doc:"1 to 512 bytes"`
}

const objectPage = 1000

func (s *Server) objects(a huma.API) {
	huma.Register(a, op("list-buckets", http.MethodGet, "/v1/buckets", "List the buckets and what they hold"),
		func(context.Context, *struct{}) (*body[[]api.Bucket], error) {
			return answer(s.deps.Objects.Buckets(), nil)
		})
	huma.Register(a, op("list-objects", http.MethodGet, "/v1/buckets/{bucket}", "List a bucket's objects by key, a page at a time"),
		func(ctx context.Context, in *struct {
			BucketName
			Prefix string `query:"prefix"`
			After  string `query:"after"`
		},
		) (*body[api.ObjectList], error) {
			return answer(s.deps.Objects.List(ctx, in.Bucket, in.Prefix, in.After, objectPage))
		})
	huma.Register(a, op("stat-object", http.MethodGet, "/v1/buckets/{bucket}/stat", "Show what a bucket has under a key"),
		func(ctx context.Context, in *ObjectKey) (*body[api.Object], error) {
			return answer(s.deps.Objects.Stat(ctx, in.Bucket, in.Key))
		})
	huma.Register(a, op("delete-object", http.MethodDelete, "/v1/buckets/{bucket}/object", "Delete an object"),
		func(ctx context.Context, in *ObjectKey) (*none, error) {
			return done(s.deps.Objects.Delete(ctx, in.Bucket, in.Key))
		})
	s.mux.HandleFunc("GET /v1/buckets/{bucket}/object", s.getObject)
	s.mux.HandleFunc("PUT /v1/buckets/{bucket}/object", s.putObject)
}

// getObject answers with an object's bytes.
func (s *Server) getObject(w http.ResponseWriter, r *http.Request) {
	o, f, err := s.deps.Objects.Open(r.Context(), r.PathValue("bucket"), r.URL.Query().Get("key"))
	if err != nil {
		refuseProblem(w, err)
		return
	}
	defer func() { _ = f.Close() }() // it was read alone
	w.Header().Set("Content-Type", o.Type)
	w.Header().Set("Content-Length", strconv.FormatInt(o.Size, 10))
	if _, err := io.Copy(w, f); err != nil {
		s.deps.Logger.Debug("object was not read to its end", "error", err)
	}
}

// putObject takes an object in, as it comes.
func (s *Server) putObject(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	o, err := s.deps.Objects.Put(r.Context(), r.PathValue("bucket"), q.Get("key"), q.Get("type"), r.Body, r.ContentLength)
	if err != nil {
		refuseProblem(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(o) // whoever asked may have left
}

// refuseProblem answers what problem makes of an error.
func refuseProblem(w http.ResponseWriter, err error) {
	code := http.StatusInternalServerError
	var status huma.StatusError
	if errors.As(problem(err), &status) {
		code = status.GetStatus()
	}
	refuse(w, code, err.Error())
}
