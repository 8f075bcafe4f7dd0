package enrol

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/headgate-io/headgate/controller/ca"
	"github.com/headgate-io/headgate/controller/store"
)

// Identify says whose a client's certificate is: that of a gateway which is not
// revoked, shown with a key that is the gateway's still. ErrDenied is all else.
func (s *Service) Identify(ctx context.Context, c *x509.Certificate) (store.Gateway, error) {
	if err := s.authority.Verify(c, 0); err != nil {
		return store.Gateway{}, fmt.Errorf("%w: %w", ErrDenied, err)
	}
	return s.known(ctx, c)
}

// known is the gateway that a verified certificate is of.
func (s *Service) known(ctx context.Context, c *x509.Certificate) (g store.Gateway, err error) {
	err = s.store.View(ctx, func(tx *store.Tx) (err error) {
		g, _, err = owner(ctx, tx, c)
		return err
	})
	if errors.Is(err, errForgotten) {
		return s.readmitted(ctx, c)
	}
	return g, err
}

// owner is the gateway that a verified certificate is of, and its key.
func owner(ctx context.Context, tx *store.Tx, c *x509.Certificate) (store.Gateway, store.Key, error) {
	key, err := tx.KeyNamed(ctx, sha256.Sum256(c.RawSubjectPublicKeyInfo))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return store.Gateway{}, key, err
	}
	if err != nil {
		return store.Gateway{}, key, nobody(ctx, tx, c)
	}
	if key.Gateway != c.Subject.CommonName || !key.Until.IsZero() {
		return store.Gateway{}, key, errNobody
	}
	g, err := tx.Gateway(ctx, key.Gateway)
	if err == nil && !g.Revoked.IsZero() {
		err = fmt.Errorf("%w: the gateway was revoked", ErrDenied)
	}
	return g, key, err
}

// Renew gives the gateway that shows this certificate another, for the key in
// the signing request: the same or a new one. A certificate that ended up to
// ca.Grace ago is good for this alone. Keys older than the one shown end: that
// the newer one is used says that its certificate has arrived.
func (s *Service) Renew(ctx context.Context, shown *x509.Certificate, csr string) (Member, error) {
	m, err := s.renew(ctx, shown, csr)
	if err != nil {
		s.refused.Add(1)
		return Member{}, err
	}
	s.renewed.Add(1)
	s.log.Info("certificate renewed", "gateway", m.Gateway.ID, "name", m.Gateway.Name, "tenant", m.Tenant.Name, "expires", m.Issued.Expires)
	return m, nil
}

func (s *Service) renew(ctx context.Context, shown *x509.Certificate, csr string) (m Member, err error) {
	err = s.authority.Verify(shown, ca.Grace)
	if errors.Is(err, ca.ErrExpired) {
		return m, fmt.Errorf("%w: %w more than %d days ago: enrol again, with a token made with --replace", ErrDenied, err, int(ca.Grace/(24*time.Hour)))
	}
	if err != nil {
		return m, fmt.Errorf("%w: %w", ErrDenied, err)
	}
	public, spki, err := readCSR(csr)
	if err != nil {
		return m, err
	}
	if _, err := s.known(ctx, shown); err != nil {
		return m, err
	}
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		if err := tx.Lock(ctx, "gateway", shown.Subject.CommonName); err != nil {
			return err
		}
		g, key, err := owner(ctx, tx, shown)
		if err != nil {
			return err
		}
		if m.Tenant, err = tx.Tenant(ctx, g.Tenant); err != nil {
			return err
		}
		if err := s.takeKey(ctx, tx, g, spki); err != nil {
			return err
		}
		if err := tx.EndKeysBefore(ctx, g.ID, key.Since, s.now()); err != nil {
			return err
		}
		if m.Issued, err = s.authority.Gateway(g.ID, g.Tenant, public); err != nil {
			return err
		}
		g.Serial, g.Expires, g.Renewed = m.Issued.Serial, m.Issued.Expires, s.now()
		m.Gateway = g
		return tx.SetGateway(ctx, g)
	})
	return m, err
}

// takeKey makes a key the gateway's, where it is not already.
func (s *Service) takeKey(ctx context.Context, tx *store.Tx, g store.Gateway, spki []byte) error {
	err := tx.AddKey(ctx, store.Key{Gateway: g.ID, Public: spki, Since: s.now()})
	if !errors.Is(err, store.ErrExists) {
		return err
	}
	old, err := tx.KeyNamed(ctx, sha256.Sum256(spki))
	if err != nil {
		return err
	}
	if old.Gateway != g.ID || !old.Until.IsZero() {
		return fmt.Errorf("%w: csr: the key is another gateway's, or was given up: make a new one", ErrConflict)
	}
	return nil
}
