// Package enrol makes gateways members of a tenant: it exchanges a token and a
// signing request for a certificate, renews that, and says whose a certificate
// is.
package enrol

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/headgate-io/headgate/controller/ca"
	"github.com/headgate-io/headgate/controller/store"
)

// Faults of what a gateway asks for.
var (
	// ErrInvalid is what is malformed, or makes no sense.
	ErrInvalid = errors.New("invalid")
	// ErrDenied is who may not.
	ErrDenied = errors.New("denied")
	// ErrConflict is a name or a key that is taken.
	ErrConflict = errors.New("conflict")
)

// maxCSR bounds a signing request; one for P-256 has some 300 bytes.
const maxCSR = 4 << 10

// maxText bounds what a gateway says of itself.
const maxText = 128

// Service enrols gateways. It may be used from any goroutine, and by any number
// of replicas.
type Service struct {
	store     *store.Store
	authority *ca.Authority
	now       func() time.Time
	log       *slog.Logger

	enrolled, repeated, replaced, renewed, readmissions, refused atomic.Uint64
}

// New makes the service. A nil now is time.Now.
func New(s *store.Store, authority *ca.Authority, log *slog.Logger, now func() time.Time) *Service {
	if now == nil {
		now = time.Now
	}
	return &Service{store: s, authority: authority, log: log, now: now}
}

// Stats counts what the service did.
type Stats struct {
	// Enrolled counts new gateways, Replaced those that took a place, Repeated
	// those whose first answer was lost, Renewed certificates, Readmitted gateways
	// that a restored database had forgotten, and Refused everything that was not
	// admitted.
	Enrolled, Replaced, Repeated, Renewed, Readmitted, Refused uint64
}

// Stats returns the counters.
func (s *Service) Stats() Stats {
	return Stats{s.enrolled.Load(), s.replaced.Load(), s.repeated.Load(), s.renewed.Load(), s.readmissions.Load(), s.refused.Load()}
}

// Request is what a gateway asks to be enrolled with.
type Request struct {
	Token string
	// CSR is a certificate signing request in PEM. Of it only the key counts.
	CSR string
	// Hardware, Name, Replace, Version and Arch are what the gateway says of
	// itself and wants; Name and Replace may be empty.
	Hardware, Name, Replace, Version, Arch string
	// Address is where the request came from, for the audit log.
	Address string
}

func (r Request) check() error {
	var faults []error
	for field, value := range map[string]string{"hardware": r.Hardware, "version": r.Version, "arch": r.Arch} {
		if len(value) > maxText {
			faults = append(faults, fmt.Errorf("%w: %s: longer than %d bytes", ErrInvalid, field, maxText))
		}
	}
	if r.Name != "" {
		faults = append(faults, CheckName(r.Name))
	}
	return errors.Join(faults...)
}

// Member is a gateway with its new certificate.
type Member struct {
	Gateway store.Gateway
	Tenant  store.Tenant
	Issued  ca.Issued
	// Replaced says that it took the place of other hardware.
	Replaced bool
}

// Enrol admits a gateway. The same token with the same key again gives the same
// gateway again, for the first answer may have been lost.
func (s *Service) Enrol(ctx context.Context, r Request) (Member, error) {
	m, counter, err := s.enrol(ctx, r)
	if err != nil {
		s.refused.Add(1)
		return Member{}, err
	}
	counter.Add(1)
	s.log.Info("gateway enrolled", "gateway", m.Gateway.ID, "name", m.Gateway.Name, "tenant", m.Tenant.Name, "token", m.Gateway.Token)
	return m, nil
}

func (s *Service) enrol(ctx context.Context, r Request) (m Member, counter *atomic.Uint64, err error) {
	hash, err := s.parse(r.Token)
	if err != nil {
		return m, nil, err
	}
	if err := r.check(); err != nil {
		return m, nil, err
	}
	public, spki, err := readCSR(r.CSR)
	if err != nil {
		return m, nil, err
	}
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		token, err := tx.EnrolmentTokenHashed(ctx, hash)
		if errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("%w: the controller does not know this token: have another made", ErrDenied)
		}
		if err != nil {
			return err
		}
		if err := tx.Lock(ctx, "key", string(spki)); err != nil { // the same request twice at once
			return err
		}
		if m.Tenant, err = tx.Tenant(ctx, token.Tenant); err != nil {
			return err
		}
		place := admission{s: s, tx: tx, request: r, token: token, public: public, spki: spki}
		m.Gateway, m.Issued, counter, err = place.admit(ctx)
		m.Replaced = counter == &s.replaced
		return err
	})
	return m, counter, err
}

// admission is one enrolment under way.
type admission struct {
	s       *Service
	tx      *store.Tx
	request Request
	token   store.EnrolmentToken
	public  *ecdsa.PublicKey
	spki    []byte
}

func (a *admission) admit(ctx context.Context) (g store.Gateway, issued ca.Issued, counter *atomic.Uint64, err error) {
	key, err := a.tx.KeyNamed(ctx, sha256.Sum256(a.spki))
	switch {
	case err == nil:
		g, err = a.again(ctx, key)
		counter = &a.s.repeated
	case !errors.Is(err, store.ErrNotFound):
		return g, issued, nil, err
	case a.token.Replaces != "":
		g, err = a.replace(ctx)
		counter = &a.s.replaced
	default:
		g, err = a.add(ctx)
		counter = &a.s.enrolled
	}
	if err != nil {
		return g, issued, nil, err
	}
	issued, err = a.s.authority.Gateway(g.ID, g.Tenant, a.public)
	if err != nil {
		return g, issued, nil, err
	}
	g.Serial, g.Expires, g.Renewed = issued.Serial, issued.Expires, a.s.now()
	return g, issued, counter, a.tx.SetGateway(ctx, g)
}

// again gives a gateway that its answer did not reach another certificate.
func (a *admission) again(ctx context.Context, key store.Key) (store.Gateway, error) {
	taken := fmt.Errorf("%w: the key is a gateway's already: enrol with a new one", ErrConflict)
	g, err := a.tx.Gateway(ctx, key.Gateway)
	if err != nil {
		return g, err
	}
	if g.Token != a.token.ID || !key.Until.IsZero() || !g.Revoked.IsZero() || !a.token.Revoked.IsZero() {
		return g, taken
	}
	return g, nil
}

func (a *admission) use(ctx context.Context) error {
	err := a.tx.UseEnrolmentToken(ctx, a.token.ID, a.s.now())
	if errors.Is(err, store.ErrUsedUp) {
		return fmt.Errorf("%w: the token is %w: have another made", ErrDenied, err)
	}
	return err
}

func (a *admission) add(ctx context.Context) (store.Gateway, error) {
	r := a.request
	if r.Replace != "" {
		return store.Gateway{}, fmt.Errorf("%w: this token admits new gateways only: have one made with --replace %s", ErrDenied, r.Replace)
	}
	if err := a.use(ctx); err != nil {
		return store.Gateway{}, err
	}
	now := a.s.now()
	g := store.Gateway{
		ID: store.NewID(), Tenant: a.token.Tenant, Name: r.Name, Labels: a.token.Labels, Hardware: r.Hardware, Arch: r.Arch, Version: r.Version,
		Token: a.token.ID, Enrolled: now, Renewed: now,
	}
	if g.Name == "" {
		g.Name = "gw-" + g.ID[:8]
	}
	err := a.tx.AddGateway(ctx, g)
	if errors.Is(err, store.ErrExists) {
		return g, fmt.Errorf("%w: there is a gateway %q: choose another name, or replace that one with a token made for it", ErrConflict, g.Name)
	}
	if err != nil {
		return g, err
	}
	return g, errors.Join(a.addKey(ctx, g), a.record(ctx, "gateway.enrol", g, nil))
}

// replace gives new hardware the place of a gateway: its identity, name and
// labels. What the old hardware has is good for nothing any more.
func (a *admission) replace(ctx context.Context) (store.Gateway, error) {
	r := a.request
	g, err := a.tx.Gateway(ctx, a.token.Replaces)
	if errors.Is(err, store.ErrNotFound) {
		return g, fmt.Errorf("%w: the gateway that the token is for was deleted", ErrConflict)
	}
	if err != nil {
		return g, err
	}
	if r.Replace != "" && r.Replace != g.Name && r.Replace != g.ID {
		return g, fmt.Errorf("%w: the token is for the place of %s, not of %s", ErrDenied, g.Name, r.Replace)
	}
	if r.Name != "" && r.Name != g.Name {
		return g, fmt.Errorf("%w: name: it takes the place of %s, and that name", ErrInvalid, g.Name)
	}
	if err := a.use(ctx); err != nil {
		return g, err
	}
	before := g
	now := a.s.now()
	g.Hardware, g.Arch, g.Version, g.Token, g.Enrolled, g.Revoked = r.Hardware, r.Arch, r.Version, a.token.ID, now, time.Time{}
	if err := errors.Join(a.tx.EndKeys(ctx, g.ID, now), a.tx.AddPutOut(ctx, g.ID, now), a.tx.ForgetSession(ctx, g.ID)); err != nil {
		return g, err
	}
	return g, errors.Join(a.addKey(ctx, g), a.record(ctx, "gateway.replace", g, &before))
}

func (a *admission) addKey(ctx context.Context, g store.Gateway) error {
	return a.tx.AddKey(ctx, store.Key{Gateway: g.ID, Public: a.spki, Since: a.s.now()})
}

func (a *admission) record(ctx context.Context, action string, g store.Gateway, before *store.Gateway) error {
	c := store.Change{
		Tenant: g.Tenant, At: a.s.now(), Actor: "enrolment", Token: a.token.ID, Address: a.request.Address,
		Action: action, Object: "gateway/" + g.ID, After: about(g),
	}
	if before != nil {
		c.Before = about(*before)
	}
	return a.tx.AddChange(ctx, c)
}

// about is what the audit log says of a gateway that enrolled.
func about(g store.Gateway) string {
	b, err := json.Marshal(map[string]any{"name": g.Name, "labels": g.Labels, "hardware": g.Hardware, "version": g.Version, "token": g.Token})
	if err != nil {
		panic(err) // a bug: strings and a map of strings
	}
	return string(b)
}

// readCSR takes the key from a signing request, whose signature shows that who
// asks has the private one. Names in it count for nothing.
func readCSR(text string) (*ecdsa.PublicKey, []byte, error) {
	if len(text) > maxCSR {
		return nil, nil, fmt.Errorf("%w: csr: longer than %d bytes", ErrInvalid, maxCSR)
	}
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE REQUEST" || len(rest) > 0 {
		return nil, nil, fmt.Errorf("%w: csr: want one CERTIFICATE REQUEST in PEM", ErrInvalid)
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: csr: %w", ErrInvalid, err)
	}
	public, ok := csr.PublicKey.(*ecdsa.PublicKey)
	if !ok || public.Curve != elliptic.P256() {
		return nil, nil, fmt.Errorf("%w: csr: the key must be ECDSA on P-256", ErrInvalid)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, nil, fmt.Errorf("%w: csr: its signature is not of its own key: %w", ErrInvalid, err)
	}
	// The one encoding of the key, whatever the request had.
	spki, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: csr: %w", ErrInvalid, err)
	}
	return public, spki, nil
}
