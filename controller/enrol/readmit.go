package enrol

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/headgate-io/headgate/controller/ca"
	"github.com/headgate-io/headgate/controller/store"
)

// errNobody is a certificate whose key is no gateway's, or was once.
var errNobody = fmt.Errorf("%w: the certificate is of no gateway: it was replaced or deleted; enrol again", ErrDenied)

// errForgotten is a certificate whose key the database does not know, and that was
// issued in a time which it has forgotten (store.Window).
var errForgotten = fmt.Errorf("%w: the certificate is of the time between a backup and its restore", ErrDenied)

// nobody says why a certificate is good for nothing whose key is not known:
// errForgotten where the gateway may be readmitted.
func nobody(ctx context.Context, tx *store.Tx, c *x509.Certificate) error {
	windows, err := tx.Windows(ctx)
	if err != nil {
		return err
	}
	issued := ca.Issuing(c)
	for _, w := range windows {
		// Certificates have whole seconds.
		if len(c.Subject.Organization) == 1 && c.Subject.CommonName != "" && !issued.Before(w.From.Truncate(time.Second)) && !issued.After(w.To) {
			return errForgotten
		}
	}
	return errNobody
}

// readmit gives a gateway its place again that enrolled between a backup and its
// restore. What its certificate says is the authority's word: which gateway it is,
// and whose. Its name and labels are forgotten. One that took the place of other
// hardware gets it again.
func (s *Service) readmit(ctx context.Context, tx *store.Tx, c *x509.Certificate) error {
	id, tenant, issued := c.Subject.CommonName, c.Subject.Organization[0], ca.Issuing(c)
	if gone, err := tx.Gone(ctx, id); err != nil || gone {
		return errors.Join(fmt.Errorf("%w: the gateway was deleted; enrol again", ErrDenied), err)
	}
	if _, err := tx.Tenant(ctx, tenant); err != nil {
		if errors.Is(err, store.ErrNotFound) {
			err = fmt.Errorf("%w: the gateway's tenant is not here; enrol again", ErrDenied)
		}
		return err
	}
	g, err := tx.Gateway(ctx, id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		g = store.Gateway{ID: id, Tenant: tenant, Name: "gw-" + id[:min(8, len(id))], Enrolled: issued, Renewed: issued}
		if g.Name, err = freeName(ctx, tx, &g); err != nil {
			return err
		}
		if err := tx.AddGateway(ctx, g); err != nil {
			return err
		}
		if err := tx.RaiseDesired(ctx, id, store.RevisionFloor(s.now())); err != nil {
			return err
		}
	case err != nil:
		return err
	case !g.Revoked.IsZero() || g.Tenant != tenant:
		return fmt.Errorf("%w: the gateway was revoked", ErrDenied)
	default:
		if err := superseded(ctx, tx, id, issued); err != nil {
			return err
		}
		if err := errors.Join(tx.EndKeysBefore(ctx, id, issued, s.now()), tx.ForgetSession(ctx, id)); err != nil {
			return err
		}
	}
	g.Serial, g.Expires = c.SerialNumber.Text(16), c.NotAfter
	if err := tx.SetGateway(ctx, g); err != nil {
		return err
	}
	if err := tx.AddKey(ctx, store.Key{Gateway: id, Public: c.RawSubjectPublicKeyInfo, Since: issued}); err != nil {
		return err
	}
	return tx.AddChange(ctx, store.Change{
		Tenant: tenant, At: s.now(), Actor: "enrolment", Action: "gateway.readmit", Object: "gateway/" + id, After: about(g),
	})
}

// superseded refuses a certificate that was made before another key became the
// gateway's: that of hardware whose place was taken since, on the lost day or
// after the restore. The key that it is for is nowhere among those that ended.
func superseded(ctx context.Context, tx *store.Tx, id string, issued time.Time) error {
	keys, err := tx.Keys(ctx, id)
	if err != nil {
		return err
	}
	if len(keys) > 0 && keys[len(keys)-1].Since.Truncate(time.Second).After(issued) { // certificates have whole seconds
		return fmt.Errorf("%w: the gateway has a newer key: it was replaced; enrol again", ErrDenied)
	}
	return nil
}

// freeName is the gateway's name, or a longer one where that is taken.
func freeName(ctx context.Context, tx *store.Tx, g *store.Gateway) (string, error) {
	_, err := tx.GatewayOf(ctx, g.Tenant, g.Name)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return g.Name, nil
	case err != nil:
		return "", err
	}
	return "gw-" + strings.ToLower(g.ID), nil
}

// readmitted runs readmit in a transaction of its own.
func (s *Service) readmitted(ctx context.Context, c *x509.Certificate) (g store.Gateway, err error) {
	fresh := false
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		if err := tx.Lock(ctx, "gateway", c.Subject.CommonName); err != nil {
			return err
		}
		g, _, err = owner(ctx, tx, c)
		if fresh = errors.Is(err, errForgotten); !fresh {
			return err // another replica was faster
		}
		if err := s.readmit(ctx, tx, c); err != nil {
			return err
		}
		g, _, err = owner(ctx, tx, c)
		return err
	})
	if err == nil && fresh {
		s.readmissions.Add(1)
		s.log.Warn("a gateway that enrolled after the backup was readmitted: give it its name and labels again", "gateway", g.ID, "name", g.Name)
	}
	return g, err
}
