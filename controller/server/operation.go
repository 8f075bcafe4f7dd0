package server

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"
	"golang.org/x/sys/unix"

	"github.com/headgate-io/headgate/controller/api"
	"github.com/headgate-io/headgate/controller/content"
	"github.com/headgate-io/headgate/controller/enrol"
	"github.com/headgate-io/headgate/controller/fleet"
	"github.com/headgate-io/headgate/controller/invoice"
	"github.com/headgate-io/headgate/controller/store"
)

// idempotencyHeader lets a POST be sent again without being done again.
const idempotencyHeader = "Idempotency-Key"

// maxBody bounds what is sent to an operation.
const maxBody = 64 << 10

// body is an answer.
type body[T any] struct {
	Replayed string `header:"Idempotency-Replayed" doc:"true when the answer is that of an earlier request with the key"`
	Body     T
}

// effect is what the audit log says of a change. Before and After are left out
// for what was not there, or is not any more.
type effect struct {
	action, object string
	before, after  any
}

// op names one operation of the API.
func op(id, method, path, summary string) huma.Operation {
	return huma.Operation{OperationID: id, Method: method, Path: path, Summary: summary, MaxBodyBytes: maxBody}
}

// guard lets only bearers with a scope in.
func (s *Server) guard(o *huma.Operation, need scope) {
	o.Middlewares = append(o.Middlewares, s.admit(need))
	o.Security = []map[string][]string{{"bearer": {}}}
	if need != anyone {
		o.Description = "Needs the scope " + string(need) + "."
	}
	o.Errors = append(o.Errors, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusUnprocessableEntity)
	if o.Method == http.MethodPost {
		o.Errors = append(o.Errors, http.StatusConflict)
		length := 255
		o.Parameters = append(o.Parameters, &huma.Param{
			Name: idempotencyHeader, In: "header", Schema: &huma.Schema{Type: huma.TypeString, MaxLength: &length},
			Description: "The same key with the same request is done once, and answered the same, for a day.",
		})
	}
}

// read registers an operation that changes nothing.
func read[I, O any](s *Server, o huma.Operation, need scope, fn func(context.Context, *store.Tx, *who, *I) (O, error)) {
	s.guard(&o, need)
	huma.Register(s.api, o, func(ctx context.Context, in *I) (*body[O], error) {
		var out O
		err := s.deps.Store.View(ctx, func(tx *store.Tx) (err error) {
			out, err = fn(ctx, tx, whoOf(ctx), in)
			return err
		})
		if err != nil {
			return nil, s.problem(err)
		}
		return &body[O]{Body: out}, nil
	})
}

// change registers an operation that changes something. Its change, its entry in
// the audit log and, where the request has a key, its answer are one
// transaction.
func change[I, O any](s *Server, o huma.Operation, need scope, fn func(context.Context, *store.Tx, *who, *I) (O, effect, error)) {
	s.guard(&o, need)
	huma.Register(s.api, o, func(ctx context.Context, in *I) (*body[O], error) {
		w := whoOf(ctx)
		var out body[O]
		err := s.deps.Store.Update(ctx, func(tx *store.Tx) (err error) {
			out = body[O]{}
			if w.key == "" || o.Method != http.MethodPost {
				out.Body, err = done(ctx, s, tx, w, in, fn)
				return err
			}
			out, err = once(ctx, s, tx, w, o.OperationID, in, fn)
			return err
		})
		if err != nil {
			return nil, s.problem(err)
		}
		w.after(ctx)
		return &out, nil
	})
}

// none is the answer of operations that have nothing to say.
type none struct{}

// remove is change of an operation that has nothing to answer.
func remove[I any](s *Server, o huma.Operation, need scope, fn func(context.Context, *store.Tx, *who, *I) (effect, error)) {
	s.guard(&o, need)
	huma.Register(s.api, o, func(ctx context.Context, in *I) (*none, error) {
		w := whoOf(ctx)
		err := s.deps.Store.Update(ctx, func(tx *store.Tx) error {
			_, err := done(ctx, s, tx, w, in, func(ctx context.Context, tx *store.Tx, w *who, in *I) (none, effect, error) {
				e, err := fn(ctx, tx, w, in)
				return none{}, e, err
			})
			return err
		})
		if err != nil {
			return nil, s.problem(err)
		}
		w.after(ctx)
		return nil, nil
	})
}

// done makes a change and notes it. Changes of one tenant are one at a time, so
// that each may look before it writes.
func done[I, O any](ctx context.Context, s *Server, tx *store.Tx, w *who, in *I, fn func(context.Context, *store.Tx, *who, *I) (O, effect, error)) (out O, err error) {
	if err := tx.Lock(ctx, "tenant", w.tenant()); err != nil {
		return out, err
	}
	out, e, err := fn(ctx, tx, w, in)
	if err != nil {
		return out, err
	}
	c := store.Change{
		Tenant: w.tenant(), At: s.deps.Now(), Actor: w.Account.Name, Token: w.Token.Name, Address: w.address, Action: e.action, Object: e.object,
	}
	if c.Before, err = note(e.before); err != nil {
		return out, err
	}
	if c.After, err = note(e.after); err != nil {
		return out, err
	}
	return out, tx.AddChange(ctx, c)
}

func note(v any) (string, error) {
	if v == nil || reflect.ValueOf(v).IsZero() {
		return "", nil
	}
	b, err := json.Marshal(v)
	return string(b), err
}

// once is done, for a request with a key.
func once[I, O any](ctx context.Context, s *Server, tx *store.Tx, w *who, operation string, in *I, fn func(context.Context, *store.Tx, *who, *I) (O, effect, error)) (out body[O], err error) {
	if len(w.key) > 255 {
		return out, huma.Error422UnprocessableEntity(idempotencyHeader + ": longer than 255 bytes")
	}
	request, err := json.Marshal([]any{operation, in})
	if err != nil {
		return out, err
	}
	hash := sha256.Sum256(request)
	a := store.Answer{Token: w.Token.ID, Name: w.key, Request: hash[:], Created: s.deps.Now()}
	old, again, err := tx.BeginAnswer(ctx, a)
	if err != nil {
		return out, err
	}
	if again {
		plain, err := open(w.secret, old.Body)
		if err != nil {
			return out, err
		}
		out.Replayed = "true"
		return out, json.Unmarshal(plain, &out.Body)
	}
	if out.Body, err = done(ctx, s, tx, w, in, fn); err != nil {
		return out, err
	}
	plain, err := json.Marshal(out.Body)
	if err != nil {
		return out, err
	}
	if a.Body, err = seal(w.secret, plain); err != nil {
		return out, err
	}
	return out, tx.EndAnswer(ctx, a)
}

// sealer makes a cipher of the secret of a token. The controller does not keep
// that, so who reads its database reads no answer: some tell a secret.
func sealer(secret string) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, []byte(secret), nil, "headgate answer", 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func seal(secret string, plain []byte) ([]byte, error) {
	c, err := sealer(secret)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, c.NonceSize())
	_, _ = rand.Read(nonce) // never fails (crypto/rand)
	return c.Seal(nonce, nonce, plain, nil), nil
}

func open(secret string, sealed []byte) ([]byte, error) {
	c, err := sealer(secret)
	if err != nil {
		return nil, err
	}
	if len(sealed) < c.NonceSize() {
		return nil, errors.New("a kept answer is damaged")
	}
	return c.Open(nil, sealed[:c.NonceSize()], sealed[c.NonceSize():], nil)
}

// refusal is an error that the caller can mend.
func refusal(text string) error { return huma.Error422UnprocessableEntity(text) }

// problem makes an answer of an error (RFC 9457): what the caller did wrong says
// so; all else is the controller's own fault, and is told to its log alone.
func (s *Server) problem(err error) error {
	var status huma.StatusError
	var missing *store.MissingError
	switch {
	case errors.As(err, &status):
		return status
	case errors.Is(err, enrol.ErrInvalid), errors.Is(err, store.ErrOtherRequest):
		return huma.Error422UnprocessableEntity(err.Error())
	case errors.Is(err, store.ErrText):
		return huma.Error422UnprocessableEntity(store.ErrText.Error() + ": nothing here has such a name")
	case errors.Is(err, enrol.ErrDenied), errors.Is(err, content.ErrFirst):
		return huma.Error403Forbidden(err.Error())
	case errors.Is(err, content.ErrRefused):
		return huma.Error422UnprocessableEntity(err.Error())
	case errors.Is(err, content.ErrChanged):
		return huma.Error409Conflict(err.Error() + ": read it, and make the change of what it is now")
	case errors.Is(err, invoice.ErrInvalid):
		return huma.Error422UnprocessableEntity(err.Error())
	case errors.Is(err, invoice.ErrNoPlan):
		return huma.Error404NotFound(err.Error())
	case errors.Is(err, fleet.ErrTooMany), errors.Is(err, enrol.ErrConflict), errors.Is(err, invoice.ErrClosed):
		return huma.Error409Conflict(err.Error())
	case errors.As(err, &missing):
		return huma.Error404NotFound(missing.Error() + " here" + shownBy(missing.Kind))
	case errors.Is(err, store.ErrNotFound):
		return huma.Error404NotFound("there is no such thing here")
	case errors.Is(err, store.ErrExists):
		return huma.Error409Conflict("there is one of that name already: choose another")
	case errors.Is(err, store.ErrFull), errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		s.counters.full.Add(1)
		s.deps.Logger.Error("there is no room for a request: make some on the controller's disk", "error", err)
		return huma.NewError(http.StatusInsufficientStorage, "the controller's disk is full, and nothing was changed: whoever runs the controller makes room, then send it again")
	case errors.Is(err, context.Canceled):
		return huma.Error503ServiceUnavailable("the request was given up")
	}
	s.counters.failed.Add(1)
	s.deps.Logger.Error("answer a request", "error", err)
	return huma.Error500InternalServerError("the controller failed; its log says why")
}

// Paging says which part of a list is asked for.
type Paging struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"500" default:"100" doc:"How many at most"`
	Cursor string `query:"cursor" maxLength:"400" doc:"The field next of the page before"`
}

func (p Paging) page() (store.Page, error) {
	after, err := base64.RawURLEncoding.DecodeString(p.Cursor)
	if err != nil {
		return store.Page{}, refusal("cursor: take the field next of the page before as it is")
	}
	return store.Page{After: string(after), Limit: p.Limit + 1}, nil
}

// listed answers with the part of a list that is asked for: query reads it in the
// order of its keys, and show is an item as the API has it.
func listed[T, A any](in Paging, query func(store.Page) ([]T, error), key func(T) string, show func(T) (A, error)) (api.Page[A], error) {
	out := api.Page[A]{Items: []A{}}
	p, err := in.page()
	if err != nil {
		return out, err
	}
	list, err := query(p)
	if err != nil {
		return out, err
	}
	list, out.Next = next(in, list, key)
	for _, v := range list {
		item, err := show(v)
		if err != nil {
			return out, err
		}
		out.Items = append(out.Items, item)
	}
	return out, nil
}

// shown is a way to show an item that does not fail.
func shown[T, A any](show func(T) A) func(T) (A, error) {
	return func(v T) (A, error) { return show(v), nil }
}

// next cuts a list that was read to one more than the limit, and says where the
// next page begins.
func next[T any](p Paging, list []T, key func(T) string) ([]T, string) {
	if len(list) <= p.Limit {
		return list, ""
	}
	list = list[:p.Limit]
	return list, base64.RawURLEncoding.EncodeToString([]byte(key(list[len(list)-1])))
}

// shownBy says which verb shows what there is of a kind of thing.
func shownBy(kind string) string {
	var verb string
	switch kind {
	case "gateway":
		verb = "gateways"
	case "deployment":
		verb = "deployments"
	case "enrolment token":
		verb = "token list"
	case "user":
		verb = "user list"
	case "tenant":
		verb = "tenant list"
	default:
		return ""
	}
	return ": 'headgate fleet " + verb + "' shows what there is"
}
