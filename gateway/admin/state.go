package admin

import (
	"context"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/store"
)

const statePage = 1000

// StateKey names one stored key in a path.
type StateKey struct {
	Namespace string `path:"namespace" maxLength:"64"`
	Key       string `path:"key" maxLength:"1024"`
}

func (s *Server) state(a huma.API) {
	huma.Register(a, op("list-state", http.MethodGet, "/v1/state/{namespace}", "List a function's keys, in byte order, a page at a time"),
		func(ctx context.Context, in *struct {
			Namespace string `path:"namespace" maxLength:"64"`
			Prefix    string `query:"prefix"`
			After     string `query:"after"`
		},
		) (*body[api.StateList], error) {
			keys, more, err := s.deps.Store.ListState(ctx, in.Namespace, in.Prefix, in.After, statePage)
			return answer(api.StateList{Keys: keys, More: more}, err)
		})
	huma.Register(a, op("get-state", http.MethodGet, "/v1/state/{namespace}/{key}", "Read a key"),
		func(ctx context.Context, in *StateKey) (*body[api.StateEntry], error) {
			value, found, err := s.deps.Store.GetState(ctx, in.Namespace, in.Key)
			if err == nil && !found {
				err = fmt.Errorf("key %s of %s: %w", in.Key, in.Namespace, store.ErrNotFound)
			}
			return answer(api.StateEntry{Key: in.Key, Value: value}, err)
		})
	set := op("set-state", http.MethodPut, "/v1/state/{namespace}/{key}", "Write a key")
	set.MaxBodyBytes = 16 << 20
	huma.Register(a, set, func(ctx context.Context, in *struct {
		StateKey
		Body api.StateEntry
	},
	) (*none, error) {
		return done(s.deps.Store.SetState(ctx, in.Namespace, in.StateKey.Key, in.Body.Value, 0))
	})
	huma.Register(a, op("delete-state", http.MethodDelete, "/v1/state/{namespace}/{key}", "Delete a key"),
		func(ctx context.Context, in *StateKey) (*none, error) {
			return done(s.deps.Store.DeleteState(ctx, in.Namespace, in.Key))
		})
}
