package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/headgate-io/headgate/gateway/admin/api"
)

// edit changes a rollup row in the database of a gateway, after its minute was
// closed and before it is sent, and wants the controller to name the gateway and
// the batch. It takes as long as a minute takes to end.
func (h *harness) edit(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	m := h.fleet[0]
	var e api.Enrolment
	if err := m.Client.Do(ctx, http.MethodGet, "/v1/enrolment", nil, &e); err != nil {
		return err
	}
	if err := m.Stop(); err != nil {
		return err
	}
	m.Env = append(m.Env, "HEADGATE_UPLINK__INTERVAL=1h") // nothing is sent by itself
	if err := m.Start(ctx); err != nil {
		return err
	}
	loading, stop := context.WithTimeout(ctx, time.Second)
	m.publisher.Run(loading, m.Address, false)
	stop()
	m.publisher.Disconnect()
	if err := h.closed(ctx, m); err != nil {
		return err
	}
	if err := m.Kill(); err != nil {
		return err
	}
	if err := change(ctx, m); err != nil {
		return err
	}
	if err := m.Start(ctx); err != nil {
		return err
	}
	if err := h.drain(ctx, m); err != nil {
		return err
	}
	h.result.findings = nil
	if err := h.ask(ctx); err != nil {
		return err
	}
	for _, f := range h.result.findings {
		if strings.HasPrefix(f, "tampered: ") && strings.Contains(f, e.Gateway) {
			fmt.Printf("an edited row is named: %s\n", f)
			return nil
		}
	}
	return fmt.Errorf("a row of gateway %s was edited, and the controller does not name it: %q", e.Gateway, h.result.findings)
}

// rollups opens the gateway's database beside it.
func rollups(m *member) (*sql.DB, error) {
	return sql.Open("sqlite", "file:"+filepath.Join(m.state(), "headgate.db")+"?_pragma=busy_timeout(5000)")
}

// closed waits until a minute with usage was closed.
func (h *harness) closed(ctx context.Context, m *member) error {
	db, err := rollups(m)
	if err != nil {
		return err
	}
	defer db.Close()
	for {
		var n int
		err := db.QueryRowContext(ctx, `SELECT count(*) FROM usage_closing`).Scan(&n)
		if err != nil || n > 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no minute is closed: %w", ctx.Err())
		case <-time.After(500 * time.Millisecond):
		}
	}
}

func change(ctx context.Context, m *member) error {
	db, err := rollups(m)
	if err != nil {
		return err
	}
	res, err := db.ExecContext(ctx, `UPDATE usage SET ok = ok - 1 WHERE ok > 1 AND part = (SELECT max(part) FROM usage_closing)`)
	if err == nil {
		var n int64
		if n, err = res.RowsAffected(); err == nil && n == 0 {
			err = errors.New("there is no row to edit")
		}
	}
	return errors.Join(err, db.Close())
}
