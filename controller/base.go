package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/headgate-io/headgate/controller/account"
	"github.com/headgate-io/headgate/controller/backup"
	"github.com/headgate-io/headgate/controller/ca"
	"github.com/headgate-io/headgate/controller/config"
	"github.com/headgate-io/headgate/controller/enrol"
	"github.com/headgate-io/headgate/controller/server"
	"github.com/headgate-io/headgate/controller/store"
)

// Base is what a controller stands on. The command line works on it too, beside
// a controller that runs: who may read its folder may do everything.
type Base struct {
	Store     *store.Store
	Authority *ca.Authority
	Enrol     *enrol.Service
}

// Open opens the database and the certificate authority, and makes what is not
// there yet.
func Open(ctx context.Context, cfg config.Config, log *slog.Logger) (*Base, error) {
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("dir: %w: choose another with --dir, or make it writable for this user", err)
	}
	if err := backup.Unfinished(cfg.Dir); err != nil {
		return nil, err
	}
	s, err := store.Open(ctx, cfg.DSN())
	if err != nil {
		return nil, err
	}
	authority, err := ca.Open(cfg.Dir, nil)
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	b := &Base{Store: s, Authority: authority, Enrol: enrol.New(s, authority, log, nil)}
	if err := b.sameAuthority(ctx, cfg.Dir); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return b, nil
}

// Names of facts about the installation: which authority the database is of, and
// which tenant is that of who runs the controller.
const (
	authorityFact = "ca"
	tenantFact    = "platform"
)

// sameAuthority refuses a database whose gateways trust another authority: a
// replica that made its own, or a folder that was lost.
func (b *Base) sameAuthority(ctx context.Context, dir string) error {
	return b.Store.Update(ctx, func(tx *store.Tx) error {
		if err := tx.Lock(ctx, authorityFact); err != nil {
			return err
		}
		known, err := tx.Meta(ctx, authorityFact)
		switch {
		case err != nil:
			return err
		case known == "":
			return tx.SetMeta(ctx, authorityFact, b.Authority.Fingerprint())
		case known != b.Authority.Fingerprint():
			return fmt.Errorf("the certificate authority in %s is not the one of this database: copy ca.crt and ca.key from the controller that made it, or from a backup", dir)
		}
		return nil
	})
}

// FirstTenant is the tenant that a new controller has.
const FirstTenant = "default"

// firstUser is who runs the controller.
const firstUser = "operator"

// First makes the first tenant, and returns the token of who runs the
// controller. Where there is a tenant already it returns none.
func (b *Base) First(ctx context.Context) (secret string, err error) {
	err = b.Store.Update(ctx, func(tx *store.Tx) error {
		secret = ""
		if err := tx.Lock(ctx, "first tenant"); err != nil {
			return err
		}
		some, err := tx.Tenants(ctx, store.Page{Limit: 1})
		if err != nil || len(some) > 0 {
			return err
		}
		t, _, _, first, err := account.AddTenant(ctx, tx, FirstTenant, firstUser, server.Platform, time.Now())
		if err != nil {
			return err
		}
		secret = account.Shown(first, b.Authority.Fingerprint())
		return tx.SetMeta(ctx, tenantFact, t.ID)
	})
	return secret, err
}

// Recover makes another token of who runs the controller, for when the first
// was lost. It lives for a day.
func (b *Base) Recover(ctx context.Context) (secret string, err error) {
	const name = "recovery"
	now := time.Now()
	err = b.Store.Update(ctx, func(tx *store.Tx) error {
		tenant, err := tx.Meta(ctx, tenantFact)
		if err != nil {
			return err
		}
		if tenant == "" {
			return errors.New("the controller has never run: its first start prints a token")
		}
		a, err := tx.AccountOf(ctx, tenant, firstUser)
		if errors.Is(err, store.ErrNotFound) {
			a = store.Account{ID: store.NewID(), Tenant: tenant, Name: firstUser, Role: server.Platform, Created: now}
			err = tx.AddAccount(ctx, a)
		}
		if err != nil {
			return err
		}
		if err := tx.RemoveAPIToken(ctx, a.ID, name); err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		bare, _, err := account.AddToken(ctx, tx, a, name, nil, 24*time.Hour, now)
		if err != nil {
			return err
		}
		secret = account.Shown(bare, b.Authority.Fingerprint())
		return tx.AddChange(ctx, store.Change{Tenant: tenant, At: now, Actor: "local", Action: "token.recover", Object: "user/" + firstUser})
	})
	return secret, err
}
