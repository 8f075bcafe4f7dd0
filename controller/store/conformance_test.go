package store_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/headgate-io/headgate/controller/store"
)

func TestOpenRefusesOther(t *testing.T) {
	for _, dsn := range []string{"", "file.db", "mysql://user:secret@host/x", "sqlite:", "sqlite::memory:"} {
		_, err := store.Open(t.Context(), dsn)
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", dsn, err)
		}
	}
}

// What is written is what is read, after a restart too.
func TestRoundTrip(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store, reopen func() *store.Store) {
		addTenant(t, s, "acme")
		token := store.EnrolmentToken{
			ID: "token1", Tenant: "acme", Hash: []byte{0, 255, 1}, Uses: 5, Labels: map[string]string{"site": "nörd"}, Replaces: "gateway1",
			Created: epoch, CreatedBy: "ann", Expires: epoch.Add(time.Hour),
		}
		gateway := store.Gateway{
			ID: "gateway1", Tenant: "acme", Name: "gw-1", Labels: map[string]string{"batch": "7"}, Hardware: "h", Arch: "arm64", Version: "1",
			Token: "token1", Serial: "0a", Expires: epoch.Add(90 * 24 * time.Hour), Enrolled: epoch, Renewed: epoch,
		}
		key := store.Key{Gateway: "gateway1", Public: []byte("spki"), Since: epoch}
		account := store.Account{ID: "account1", Tenant: "acme", Name: "ann", Role: "admin", Created: epoch}
		bearer := store.APIToken{ID: "api1", Account: "account1", Name: "laptop", Hash: hash("secret"), Scopes: []string{"gateways:read"}, Created: epoch}
		update(t, s, func(ctx context.Context, tx *store.Tx) error {
			return errors.Join(tx.AddEnrolmentToken(ctx, token), tx.AddGateway(ctx, gateway), tx.AddKey(ctx, key),
				tx.AddAccount(ctx, account), tx.AddAPIToken(ctx, bearer))
		})
		check := func(ctx context.Context, tx *store.Tx) error {
			same(t, token)(tx.EnrolmentTokenOf(ctx, "acme", "token1"))
			same(t, gateway)(tx.Gateway(ctx, "gateway1"))
			same(t, gateway)(tx.GatewayOf(ctx, "acme", "gw-1"))
			same(t, key)(tx.KeyNamed(ctx, sha256.Sum256([]byte("spki"))))
			same(t, []store.Key{key})(tx.Keys(ctx, "gateway1"))
			same(t, store.Bearer{Token: bearer, Account: account})(tx.Bearer(ctx, sha256.Sum256([]byte("secret"))))
			return nil
		}
		for _, s := range []*store.Store{s, reopen()} {
			if err := s.View(t.Context(), func(tx *store.Tx) error { return check(t.Context(), tx) }); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func hash(s string) []byte {
	h := sha256.Sum256([]byte(s))
	return h[:]
}

func same[T any](t *testing.T, want T) func(T, error) {
	return func(got T, err error) {
		t.Helper()
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v\nwant %+v", got, err, want)
		}
	}
}

// Lists are in the order of bytes, whatever the database's language, and each
// tenant's are its own.
func TestPages(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store, _ func() *store.Store) {
		addTenant(t, s, "acme")
		addTenant(t, s, "other")
		names := []string{"B", "Z", "a", "a-1", "a1", "b", "ä"}
		update(t, s, func(ctx context.Context, tx *store.Tx) error {
			for i, name := range names {
				for _, tenant := range []string{"acme", "other"} {
					if err := tx.AddGateway(ctx, store.Gateway{ID: fmt.Sprint(tenant, i), Tenant: tenant, Name: name}); err != nil {
						return err
					}
				}
			}
			return nil
		})
		var got []string
		after := ""
		for {
			var page []store.Gateway
			err := s.View(t.Context(), func(tx *store.Tx) (err error) {
				page, err = tx.Gateways(t.Context(), "acme", store.Page{After: after, Limit: 3})
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, g := range page {
				if g.Tenant != "acme" {
					t.Errorf("a gateway of %s", g.Tenant)
				}
				got = append(got, g.Name)
			}
			if len(page) < 3 {
				break
			}
			after = page[len(page)-1].Name
		}
		if !reflect.DeepEqual(got, names) {
			t.Errorf("got %v, want %v", got, names)
		}
	})
}

func TestFaults(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store, _ func() *store.Store) {
		addTenant(t, s, "acme")
		cases := []struct {
			name string
			do   func(context.Context, *store.Tx) error
			want error
		}{
			{"a name that is taken", func(ctx context.Context, tx *store.Tx) error {
				return tx.AddTenant(ctx, store.Tenant{ID: "x", Name: "acme"})
			}, store.ErrExists},
			{"an identifier that is taken", func(ctx context.Context, tx *store.Tx) error {
				return tx.AddTenant(ctx, store.Tenant{ID: "acme", Name: "x"})
			}, store.ErrExists},
			{"a tenant that is not there", func(ctx context.Context, tx *store.Tx) error {
				return tx.AddGateway(ctx, store.Gateway{ID: "g", Tenant: "none", Name: "g"})
			}, store.ErrNotFound},
			{"nothing to read", func(ctx context.Context, tx *store.Tx) error {
				_, err := tx.Gateway(ctx, "none")
				return err
			}, store.ErrNotFound},
			{"nothing to change", func(ctx context.Context, tx *store.Tx) error { return tx.RemoveGateway(ctx, "none") }, store.ErrNotFound},
		}
		for _, c := range cases {
			err := s.Update(t.Context(), func(tx *store.Tx) error { return c.do(t.Context(), tx) })
			if !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", c.name, err, c.want)
			}
		}
	})
}

// A failed update leaves nothing, and a view cannot write.
func TestAllOrNothing(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store, _ func() *store.Store) {
		mine := errors.New("mine")
		add := func(tx *store.Tx) error { return tx.AddTenant(t.Context(), store.Tenant{ID: "a", Name: "a"}) }
		err := s.Update(t.Context(), func(tx *store.Tx) error { return errors.Join(add(tx), mine) })
		if !errors.Is(err, mine) {
			t.Error(err)
		}
		if err := s.View(t.Context(), add); err == nil {
			t.Error("a view has written")
		}
		err = s.View(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Tenant(t.Context(), "a")
			return err
		})
		if !errors.Is(err, store.ErrNotFound) {
			t.Error(err)
		}
	})
}

// A counted token admits as many as it says, however many come at once, to two
// replicas.
func TestCountedTokenUnderLoad(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store, reopen func() *store.Store) {
		addTenant(t, s, "acme")
		const uses, tries = 7, 40
		update(t, s, func(ctx context.Context, tx *store.Tx) error {
			return tx.AddEnrolmentToken(ctx, store.EnrolmentToken{ID: "t", Tenant: "acme", Hash: []byte{1}, Uses: uses})
		})
		replicas := []*store.Store{s, reopen()}
		var admitted atomic.Int64
		var wg sync.WaitGroup
		for i := range tries {
			wg.Go(func() {
				err := replicas[i%2].Update(t.Context(), func(tx *store.Tx) error { return tx.UseEnrolmentToken(t.Context(), "t", epoch) })
				switch {
				case err == nil:
					admitted.Add(1)
				case !errors.Is(err, store.ErrUsedUp):
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if admitted.Load() != uses {
			t.Errorf("%d admitted, want %d", admitted.Load(), uses)
		}
	})
}

// What reads, then writes, under a lock is not interrupted.
func TestLock(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store, reopen func() *store.Store) {
		addTenant(t, s, "0")
		replicas := []*store.Store{s, reopen()}
		const rounds = 20
		var wg sync.WaitGroup
		for i := range rounds {
			wg.Go(func() {
				err := replicas[i%2].Update(t.Context(), func(tx *store.Tx) error {
					if err := tx.Lock(t.Context(), "counter"); err != nil {
						return err
					}
					v, err := tx.Tenant(t.Context(), "0")
					if err != nil {
						return err
					}
					var n int
					if _, err := fmt.Sscan(v.Name, &n); err != nil {
						return err
					}
					return tx.RenameTenant(t.Context(), "0", fmt.Sprint(n+1))
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		err := s.View(t.Context(), func(tx *store.Tx) error {
			v, err := tx.Tenant(t.Context(), "0")
			if v.Name != fmt.Sprint(rounds) {
				t.Errorf("%s of %d rounds counted", v.Name, rounds)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

// An answer is kept with the change that it is about, once.
func TestAnswers(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store, reopen func() *store.Store) {
		addTenant(t, s, "acme")
		update(t, s, func(ctx context.Context, tx *store.Tx) error {
			return errors.Join(tx.AddAccount(ctx, store.Account{ID: "ann", Tenant: "acme", Name: "ann"}),
				tx.AddAPIToken(ctx, store.APIToken{ID: "laptop", Account: "ann", Name: "laptop", Hash: []byte{1}}))
		})
		replicas := []*store.Store{s, reopen()}
		request := store.Answer{Token: "laptop", Name: "key", Request: []byte("request"), Created: epoch}
		var done, replayed atomic.Int64
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				replay := false
				err := replicas[i%2].Update(t.Context(), func(tx *store.Tx) error {
					old, again, err := tx.BeginAnswer(t.Context(), request)
					if replay = again; err != nil || again {
						if again && string(old.Body) != "answer" {
							t.Errorf("answer %q", old.Body)
						}
						return err
					}
					a := request
					a.Body = []byte("answer")
					return tx.EndAnswer(t.Context(), a)
				})
				if err != nil {
					t.Error(err)
				}
				if replay {
					replayed.Add(1)
				} else {
					done.Add(1)
				}
			})
		}
		wg.Wait()
		if done.Load() != 1 || replayed.Load() != 9 {
			t.Errorf("%d done, %d replayed", done.Load(), replayed.Load())
		}
		err := s.Update(t.Context(), func(tx *store.Tx) error {
			other := request
			other.Request = []byte("other")
			_, _, err := tx.BeginAnswer(t.Context(), other)
			return err
		})
		if !errors.Is(err, store.ErrOtherRequest) {
			t.Error(err)
		}
		update(t, s, func(ctx context.Context, tx *store.Tx) error {
			n, err := tx.RemoveAnswers(ctx, epoch.Add(time.Second), 10)
			if n != 1 {
				t.Errorf("%d removed", n)
			}
			return err
		})
	})
}

// The audit log is read newest first, and ends at its bound.
func TestAudit(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store, _ func() *store.Store) {
		addTenant(t, s, "acme")
		update(t, s, func(ctx context.Context, tx *store.Tx) error {
			for i := range 5 {
				at := epoch.Add(time.Duration(i) * time.Minute)
				if err := tx.AddChange(ctx, store.Change{Tenant: "acme", At: at, Actor: "ann", Action: fmt.Sprint(i), Before: `{"a":1}`}); err != nil {
					return err
				}
			}
			n, err := tx.RemoveChanges(ctx, epoch.Add(2*time.Minute), 10)
			if n != 2 {
				t.Errorf("%d removed", n)
			}
			return err
		})
		err := s.View(t.Context(), func(tx *store.Tx) error {
			first, err := tx.Changes(t.Context(), "acme", store.Page{Limit: 2})
			if err != nil || len(first) != 2 || first[0].Action != "4" || first[0].Before != `{"a":1}` {
				t.Fatalf("%+v, %v", first, err)
			}
			rest, err := tx.Changes(t.Context(), "acme", store.Page{After: first[1].ID, Limit: 2})
			if len(rest) != 1 || rest[0].Action != "2" {
				t.Errorf("%+v", rest)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}
