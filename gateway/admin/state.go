package admin

import (
	"context"
	"fmt"
	"net/http"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/sandbox/abi"
)

const statePage = 1000

// StateKey names one stored key: in the query, because a path cannot hold every
// key that a function may use ("." and "a//b" are among them).
type StateKey struct {
	Namespace string `path:"namespace" maxLength:"64"`
	Key       string `query:"key" required:"true" doc:"1 to 1024 bytes"`
}

// check says whether the key can exist. Its length is in bytes, which the
// schema's maxLength does not count.
func (k *StateKey) check() error {
	if len(k.Key) == 0 || len(k.Key) > abi.MaxKeyBytes || !utf8.ValidString(k.Key) {
		return Refusal(fmt.Errorf("key of %d bytes: it has 1 to %d, of UTF-8", len(k.Key), abi.MaxKeyBytes))
	}
	return nil
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
	huma.Register(a, op("get-state", http.MethodGet, "/v1/state/{namespace}/entry", "Read a key"),
		func(ctx context.Context, in *StateKey) (*body[api.StateEntry], error) {
			if err := in.check(); err != nil {
				return nil, problem(err)
			}
			value, found, err := s.deps.Store.GetState(ctx, in.Namespace, in.Key)
			if err == nil && !found {
				err = fmt.Errorf("key %s of %s: %w", in.Key, in.Namespace, store.ErrNotFound)
			}
			return answer(api.StateEntry{Key: in.Key, Value: value}, err)
		})
	set := op("set-state", http.MethodPut, "/v1/state/{namespace}/entry", "Write a key")
	set.MaxBodyBytes = 16 << 20
	huma.Register(a, set, func(ctx context.Context, in *struct {
		StateKey
		Body api.StateEntry
	},
	) (*none, error) {
		if err := in.check(); err != nil {
			return nil, problem(err)
		}
		return done(s.deps.Hand.SetState(ctx, in.Namespace, in.StateKey.Key, in.Body.Value))
	})
	huma.Register(a, op("delete-state", http.MethodDelete, "/v1/state/{namespace}/entry", "Delete a key"),
		func(ctx context.Context, in *StateKey) (*none, error) {
			if err := in.check(); err != nil {
				return nil, problem(err)
			}
			return done(s.deps.Hand.DeleteState(ctx, in.Namespace, in.Key))
		})
}
