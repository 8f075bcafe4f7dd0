package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/headgate-io/headgate/controller/account"
	"github.com/headgate-io/headgate/controller/api"
	"github.com/headgate-io/headgate/controller/ca"
	"github.com/headgate-io/headgate/controller/content"
	"github.com/headgate-io/headgate/controller/enrol"
	"github.com/headgate-io/headgate/controller/fleet"
	"github.com/headgate-io/headgate/controller/server"
	"github.com/headgate-io/headgate/controller/store"
	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sync/ota"
	"github.com/headgate-io/headgate/sync/ota/keyring"
)

// rig is an API with two tenants, each with an admin.
type rig struct {
	t      *testing.T
	store  *store.Store
	server *server.Server
	enrol  *enrol.Service
	fleet  *fleet.Service
	// signed are the targets of tenants by ID, sent what gateways were sent.
	signed map[string][]ota.Target
	sent   []string
	// tokens are those of the admins by tenant, and of the platform's operator.
	tokens map[string]string
}

func newRig(t *testing.T) *rig {
	t.Helper()
	return newRigOn(t, "sqlite:"+filepath.Join(t.TempDir(), "c.db"))
}

func newRigOn(t *testing.T, dsn string) *rig {
	t.Helper()
	s, err := store.Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	authority, err := ca.Open(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	r := &rig{t: t, store: s, enrol: enrol.New(s, authority, log, nil), tokens: map[string]string{}, signed: map[string][]ota.Target{}}
	if r.fleet, err = fleet.New(s, r, log, nil); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	r.server = server.New(server.Deps{
		Store: s, Enrol: r.enrol, Logger: log, Now: time.Now, Version: "test", ContentDir: dir,
		Fleet: r.fleet, Targets: func(tenant string) ([]ota.Target, error) { return r.signed[tenant], nil },
		Content:    content.New(dir, keyring.Ring{Dir: t.TempDir()}, time.Now, log),
		Connection: func(string, enrol.Member) (api.Enrolled, error) { return api.Enrolled{}, nil },
		Ready:      func(context.Context) error { return errors.New("postgres://user:secret@host") },
		Gone:       func(string) {},
		Metrics:    http.NotFoundHandler(),
	})
	for name, role := range map[string]string{"platform": server.Platform, "acme": server.Admin, "other": server.Admin} {
		r.update(func(ctx context.Context, tx *store.Tx) error {
			_, _, _, secret, err := account.AddTenant(ctx, tx, name, name+"-admin", role, time.Now())
			r.tokens[name] = secret
			return err
		})
	}
	return r
}

// Send implements fleet.Sender.
func (r *rig) Send(_ context.Context, gateway string, _ []byte) error {
	r.sent = append(r.sent, gateway)
	return nil
}

// tenant is the ID of a tenant.
func (r *rig) tenant(name string) (id string) {
	r.t.Helper()
	r.update(func(ctx context.Context, tx *store.Tx) error {
		t, err := tx.TenantNamed(ctx, name)
		id = t.ID
		return err
	})
	return id
}

func (r *rig) update(fn func(context.Context, *store.Tx) error) {
	r.t.Helper()
	if err := r.store.Update(r.t.Context(), func(tx *store.Tx) error { return fn(r.t.Context(), tx) }); err != nil {
		r.t.Fatal(err)
	}
}

// call sends a request and returns status, headers and body.
func (r *rig) call(token, method, path string, in any, header ...string) (int, http.Header, string) {
	r.t.Helper()
	var body io.Reader
	if s, ok := in.(string); ok {
		body = strings.NewReader(s)
	} else if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			r.t.Fatal(err)
		}
		body = bytes.NewReader(b)
	}
	req := httptest.NewRequest(method, path, body)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	r.server.ServeHTTP(w, req)
	return w.Code, w.Result().Header, w.Body.String()
}

// must is call that wants a status, and reads the answer.
func must[T any](r *rig, want int, token, method, path string, in any, header ...string) T {
	r.t.Helper()
	status, _, body := r.call(token, method, path, in, header...)
	if status != want {
		r.t.Fatalf("%s %s: %d, want %d: %s", method, path, status, want, body)
	}
	var out T
	if body != "" {
		if err := json.Unmarshal([]byte(body), &out); err != nil {
			r.t.Fatalf("%s %s: %v: %s", method, path, err, body)
		}
	}
	return out
}

// gateway adds one to a tenant.
func (r *rig) gateway(tenant, name string, labels map[string]string) string {
	r.t.Helper()
	id := store.NewID()
	r.update(func(ctx context.Context, tx *store.Tx) error {
		t, err := tx.TenantNamed(ctx, tenant)
		if err != nil {
			return err
		}
		return tx.AddGateway(ctx, store.Gateway{ID: id, Tenant: t.ID, Name: name, Labels: labels, Enrolled: time.Now(), Renewed: time.Now()})
	})
	return id
}

// use adds usage of a function to a tenant, on the second of January 2026.
func (r *rig) use(tenant, fn string) {
	r.t.Helper()
	r.update(func(ctx context.Context, tx *store.Tx) error {
		t, err := tx.TenantNamed(ctx, tenant)
		if err != nil {
			return err
		}
		d := store.Day{Tenant: t.ID, Day: time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC).Unix() / 86400, Gateway: tenant + "-gone", Function: fn, Version: 3}
		d.Outcomes[function.OK], d.Outcomes[function.Trapped], d.MemoryByteMillis = 4_000_000, 1_000_000, 5_000_000_000_000
		return tx.AddUsage(ctx, &d)
	})
}
