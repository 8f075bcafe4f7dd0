package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"
)

// maxDevices bounds the device table.
const maxDevices = 100_000

// Device is an MQTT client with credentials.
type Device struct {
	Name string
	// Secret is the hash of its password, in the encoding of whoever made it.
	Secret string
	// Certificate says that it shows a client certificate and has no password.
	Certificate bool
	// Revoked is since when nothing admits it; zero means that it may connect.
	Revoked time.Time
	// Publish and Subscribe are topic filters that it may use.
	Publish, Subscribe []string
	Created            time.Time
}

// PutDevice adds a device, or with replace changes one that is there.
func (s *Store) PutDevice(ctx context.Context, d Device, replace bool) error {
	pub, err := json.Marshal(d.Publish)
	if err != nil {
		return fmt.Errorf("device %s: %w", d.Name, err)
	}
	sub, err := json.Marshal(d.Subscribe)
	if err != nil {
		return fmt.Errorf("device %s: %w", d.Name, err)
	}
	err = s.exec(ctx, func(ctx context.Context, c *sql.Conn) error {
		var there, all int
		err := c.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM device WHERE name = ?), (SELECT count(*) FROM device)`, d.Name).Scan(&there, &all)
		switch {
		case err != nil:
			return err
		case there > 0 && !replace:
			return ErrExists
		case there == 0 && replace:
			return ErrNotFound
		case there == 0 && all >= maxDevices:
			return fmt.Errorf("there are %d devices already, which is the most: remove some", all)
		case there > 0:
			_, err = c.ExecContext(ctx, `UPDATE device SET secret = ?, publish = ?, subscribe = ?, certificate = ?, revoked = ? WHERE name = ?`,
				d.Secret, string(pub), string(sub), d.Certificate, unixMillis(d.Revoked), d.Name)
		default:
			_, err = c.ExecContext(ctx, `INSERT INTO device (name, secret, publish, subscribe, certificate, revoked, created) VALUES (?, ?, ?, ?, ?, ?, ?)`,
				d.Name, d.Secret, string(pub), string(sub), d.Certificate, unixMillis(d.Revoked), unixMillis(s.cfg.Now()))
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("device %s: %w", d.Name, err)
	}
	return nil
}

// Device returns a device, or ErrNotFound.
func (s *Store) Device(ctx context.Context, name string) (Device, error) {
	row := s.reader.db.QueryRowContext(ctx, `SELECT name, secret, publish, subscribe, certificate, revoked, created FROM device WHERE name = ?`, name)
	d, err := scanDevice(row.Scan)
	if err != nil {
		return Device{}, fmt.Errorf("device %s: %w", name, notFound(err))
	}
	return d, nil
}

// Devices lists the devices by name.
func (s *Store) Devices(ctx context.Context) ([]Device, error) {
	rows, err := s.reader.db.QueryContext(ctx, `SELECT name, secret, publish, subscribe, certificate, revoked, created FROM device ORDER BY name`)
	if err != nil {
		return nil, fmt.Errorf("list devices: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var out []Device
	for rows.Next() {
		d, err := scanDevice(rows.Scan)
		if err != nil {
			return nil, fmt.Errorf("list devices: %w", err)
		}
		out = append(out, d)
	}
	return out, rows.Err()
}

func scanDevice(scan func(...any) error) (d Device, err error) {
	var pub, sub []byte
	var revoked, created int64
	if err = scan(&d.Name, &d.Secret, &pub, &sub, &d.Certificate, &revoked, &created); err != nil {
		return d, err
	}
	d.Revoked, d.Created = fromMillis(revoked), fromMillis(created)
	if err = json.Unmarshal(pub, &d.Publish); err == nil {
		err = json.Unmarshal(sub, &d.Subscribe)
	}
	return d, err
}

// RemoveDevice deletes a device, or returns ErrNotFound.
func (s *Store) RemoveDevice(ctx context.Context, name string) error {
	err := s.exec(ctx, func(ctx context.Context, c *sql.Conn) error {
		return deleted(c.ExecContext(ctx, `DELETE FROM device WHERE name = ?`, name))
	})
	if err != nil {
		return fmt.Errorf("device %s: %w", name, err)
	}
	return nil
}
