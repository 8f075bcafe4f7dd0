package main

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/headgate-io/headgate/controller"
	"github.com/headgate-io/headgate/controller/simulate"
	"github.com/headgate-io/headgate/controller/store"
	"github.com/headgate-io/headgate/firmware-tests/rig"
)

// startController starts a controller with everything in one folder, and makes a
// token that admits as many gateways.
func startController(ctx context.Context, dir string, gateways int) (c *rig.Controller, token string, err error) {
	if c, err = rig.NewController(*binary, dir, ""); err != nil {
		return nil, "", err
	}
	if err := c.Start(ctx); err != nil {
		c.Kill()
		return nil, "", err
	}
	if token, err = c.Token(ctx, gateways); err != nil {
		return nil, "", errors.Join(err, c.Stop())
	}
	return c, token, nil
}

// known is what the stopped controller's database has.
func known(ctx context.Context, c *rig.Controller) (m simulate.Metered, err error) {
	s, err := store.Open(ctx, "sqlite:"+filepath.Join(c.Dir, "controller.db"))
	if err != nil {
		return m, err
	}
	err = s.View(ctx, func(tx *store.Tx) error {
		tenant, err := tx.TenantNamed(ctx, controller.FirstTenant)
		if err != nil {
			return err
		}
		const page = 10_000
		for after := (store.Day{}); ; {
			days, err := tx.UsageDays(ctx, tenant.ID, "", 0, 1<<40, after, page)
			for i := range days {
				m.Requests += days[i].Requests()
				m.Fuel += days[i].Fuel
			}
			if err != nil || len(days) < page {
				return err
			}
			after = days[page-1]
		}
	})
	return m, errors.Join(err, s.Close())
}
