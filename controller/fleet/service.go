package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/headgate-io/headgate/controller/store"
	"github.com/headgate-io/headgate/internal/fault"
	"github.com/headgate-io/headgate/sync/wire"
)

// Sender says something to a gateway through the broker; a gateway that is not
// connected does not hear it.
type Sender interface {
	Send(ctx context.Context, gateway string, message []byte) error
}

// Service makes desired states and sends them, and takes what gateways say of
// them. It may be used from any goroutine.
type Service struct {
	store  *store.Store
	codec  *wire.Codec
	log    *slog.Logger
	now    func() time.Time
	sender Sender
	kick   chan struct{}
	plans  plans

	made, unchanged, contended, refused, sent, unsent     atomic.Uint64
	reports, late, answers, telemetry, cut, trimmed, lost atomic.Uint64
}

// New makes a service that speaks through a sender. A nil now is time.Now.
func New(s *store.Store, sender Sender, log *slog.Logger, now func() time.Time) (*Service, error) {
	if now == nil {
		now = time.Now
	}
	codec, err := wire.NewCodec()
	return &Service{store: s, codec: codec, log: log, now: now, sender: sender, kick: make(chan struct{}, 1)}, err
}

// Stats counts what the service did.
type Stats struct {
	// Made counts desired states that became others, Unchanged those that were
	// looked at and had not, Contended those that another replica had in hand, and
	// Refused those that are more than a gateway takes.
	Made, Unchanged, Contended, Refused uint64
	// Sent counts messages to gateways, Unsent those that the broker did not take.
	Sent, Unsent uint64
	// Reports counts what gateways said of their state, LateReports those that came
	// twice or late.
	Reports, LateReports uint64
	// Answers counts answers to questions, LostAnswers those that nobody waits for.
	Answers, LostAnswers uint64
	// Telemetry counts messages of topics that were kept; TelemetryCut those that
	// were too large, and TelemetryTrimmed topics that made room for newer ones.
	Telemetry, TelemetryCut, TelemetryTrimmed uint64
}

// Stats returns the counters.
func (s *Service) Stats() Stats {
	return Stats{
		Made: s.made.Load(), Unchanged: s.unchanged.Load(), Contended: s.contended.Load(), Refused: s.refused.Load(),
		Sent: s.sent.Load(), Unsent: s.unsent.Load(), Reports: s.reports.Load(), LateReports: s.late.Load(),
		Answers: s.answers.Load(), LostAnswers: s.lost.Load(),
		Telemetry: s.telemetry.Load(), TelemetryCut: s.cut.Load(), TelemetryTrimmed: s.trimmed.Load(),
	}
}

// Kick has what has changed looked at now: it is called after a commit.
func (s *Service) Kick() {
	select {
	case s.kick <- struct{}{}:
	default: // it will be anyway
	}
}

// Bounds of the work.
const (
	batch      = 100
	sending    = 16
	lookEvery  = time.Second
	pushEvery  = 5 * time.Second
	pushAgain  = 30 * time.Second
	seenLately = 20 * time.Minute
	holdFor    = 30 * time.Second
	fleets     = 16
	sendTime   = 15 * time.Second
	attempts   = 5
)

// Run makes and sends until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var pushed time.Time
	for {
		err := s.Make(ctx)
		if now := s.now(); now.Sub(pushed) >= pushEvery {
			pushed = now
			err = errors.Join(err, s.pushAgain(ctx))
		}
		if err != nil && ctx.Err() == nil {
			s.log.Error("make what is wanted of gateways", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-s.kick:
		}
	}
}

// Make makes what has changed, once, and sends it.
func (s *Service) Make(ctx context.Context) error {
	return errors.Join(s.makeTouched(ctx), s.makeFleets(ctx))
}

// makeTouched makes the desired states of gateways that something of their own
// has changed of.
func (s *Service) makeTouched(ctx context.Context) error {
	for after := ""; ; {
		var ids []string
		err := s.store.View(ctx, func(tx *store.Tx) (err error) {
			ids, err = tx.DesiredToMake(ctx, after, batch)
			return err
		})
		if err != nil || len(ids) == 0 {
			return err
		}
		if err := s.makeAndSend(ctx, ids); err != nil {
			return err
		}
		after = ids[len(ids)-1]
	}
}

// makeFleets makes the desired states of tenants whose plan has changed, of one
// tenant on one replica at a time.
func (s *Service) makeFleets(ctx context.Context) error {
	var list []store.Fleet
	err := s.store.View(ctx, func(tx *store.Tx) (err error) {
		list, err = tx.FleetsToMake(ctx, s.now(), fleets)
		return err
	})
	for _, f := range list {
		err = errors.Join(err, s.makeFleet(ctx, f))
	}
	return err
}

func (s *Service) makeFleet(ctx context.Context, f store.Fleet) error {
	held := false
	err := s.store.Update(ctx, func(tx *store.Tx) (err error) {
		if held, err = tx.HoldFleet(ctx, f.Tenant, s.now(), s.now().Add(holdFor)); err != nil || !held {
			return err
		}
		f, err = tx.Fleet(ctx, f.Tenant)
		return err
	})
	if err != nil || !held {
		return err
	}
	kept := s.now()
	for after := ""; ; {
		var list []store.Gateway
		err := s.store.View(ctx, func(tx *store.Tx) (err error) {
			list, err = tx.GatewaysByID(ctx, f.Tenant, store.Page{After: after, Limit: batch})
			return err
		})
		if err != nil {
			return err
		}
		if len(list) == 0 {
			break
		}
		ids := make([]string, len(list))
		for i, g := range list {
			ids[i] = g.ID
		}
		if err := s.makeAndSend(ctx, ids); err != nil {
			return err
		}
		after = ids[len(ids)-1]
		if s.now().Sub(kept) > holdFor/3 {
			kept = s.now()
			if err := s.store.Update(ctx, func(tx *store.Tx) error { return tx.KeepFleet(ctx, f.Tenant, kept.Add(holdFor)) }); err != nil {
				return err
			}
		}
	}
	return s.store.Update(ctx, func(tx *store.Tx) error { return tx.FleetMade(ctx, f.Tenant, f.Revision) })
}

// pushAgain sends once more what gateways that spoke lately do not know of.
func (s *Service) pushAgain(ctx context.Context) error {
	var list []store.Desired
	err := s.store.View(ctx, func(tx *store.Tx) (err error) {
		list, err = tx.DesiredToPush(ctx, s.now().Add(-pushAgain), s.now().Add(-seenLately), batch)
		return err
	})
	if err != nil || len(list) == 0 {
		return err
	}
	ids := make([]string, len(list))
	for i := range list {
		ids[i] = list[i].Gateway
	}
	if err := s.store.Update(ctx, func(tx *store.Tx) error { return tx.SetPushed(ctx, ids, s.now()) }); err != nil {
		return err
	}
	s.send(ctx, list)
	return nil
}

func (s *Service) makeAndSend(ctx context.Context, ids []string) error {
	for n := 1; ; n++ {
		changed, err := s.make(ctx, ids, nil)
		if errors.Is(err, store.ErrNotFound) && n < attempts {
			continue // one of them was deleted meanwhile: the others are made
		}
		if err == nil {
			s.send(ctx, changed)
		}
		return err
	}
}

// candidate is a desired state that is to be written.
type candidate struct {
	d, was store.Desired
	// pushes is true where it became another; out where its gateway was put out,
	// and is told nothing.
	pushes, out bool
}

// make makes the desired states of some gateways, and returns those that became
// others. follows is what gateways say they know of, where they have just said
// so: their state is settled even where it is what it was.
func (s *Service) make(ctx context.Context, ids []string, follows map[string]uint64) (changed []store.Desired, err error) {
	var writes []candidate
	err = s.store.View(ctx, func(tx *store.Tx) error {
		writes, err = s.candidates(ctx, tx, ids, follows)
		return err
	})
	if err != nil || len(writes) == 0 {
		return nil, err
	}
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		changed = nil
		for _, c := range writes {
			ok, err := tx.SetDesired(ctx, c.d, c.was)
			switch {
			case err != nil: // ErrNotFound says that a gateway was deleted meanwhile
				return err
			case !ok:
				s.contended.Add(1)
			case c.pushes && !c.out:
				changed = append(changed, c.d)
			}
		}
		return nil
	})
	if err == nil {
		s.made.Add(uint64(len(changed)))
	}
	return changed, err
}

func (s *Service) candidates(ctx context.Context, tx *store.Tx, ids []string, follows map[string]uint64) (out []candidate, err error) {
	gateways, err := tx.GatewaysOf(ctx, ids)
	if err != nil {
		return nil, err
	}
	facts, err := Facts(ctx, tx, gateways)
	if err != nil {
		return nil, err
	}
	list, err := tx.DesiredOf(ctx, ids)
	if err != nil {
		return nil, err
	}
	before := make(map[string]store.Desired, len(list))
	for _, d := range list {
		before[d.Gateway] = d
	}
	for i := range gateways {
		p, err := s.plans.of(ctx, tx, gateways[i].Tenant)
		if err != nil {
			return nil, err
		}
		was, there := before[gateways[i].ID]
		if !there {
			was = store.Desired{Gateway: gateways[i].ID, Touched: -1}
		}
		said, settle := follows[was.Gateway]
		c, err := s.candidate(p, facts[i], was, said)
		if err != nil {
			return nil, err
		}
		c.out = !gateways[i].Revoked.IsZero()
		if c.pushes || there && (was.Fleet == 0 || settle && was.Fleet != c.d.Fleet || c.d.Error != was.Error) {
			out = append(out, c)
		} else {
			s.unchanged.Add(1)
		}
	}
	return out, nil
}

// candidate makes one. Where a gateway knows of a newer state than was ever made
// here, which a database that was restored from a backup has forgotten, the next
// one is newer still.
func (s *Service) candidate(p *Plan, g Gateway, was store.Desired, said uint64) (candidate, error) {
	c := candidate{d: was, was: was}
	c.d.Fleet, c.d.Error = max(p.Revision, 1), ""
	d, err := p.Desired(g)
	var document []byte
	if err == nil {
		document, err = s.codec.Encode(d)
	}
	if err != nil {
		s.refused.Add(1)
		c.d.Error = short(err.Error())
		return c, nil
	}
	ahead := said > was.Revision && said < maxNumber
	if was.Revision == 0 && empty(d) && !ahead || !ahead && bytes.Equal(document, was.Document) {
		return c, nil
	}
	c.d.Document, c.d.Revision, c.d.Pushed, c.pushes = document, max(was.Revision, boundless(said, ahead))+1, s.now(), true
	if fault.On(fault.RevisionStands) && was.Revision > 0 {
		c.d.Revision = was.Revision
	}
	return c, nil
}

func boundless(said uint64, ahead bool) uint64 {
	if ahead {
		return said
	}
	return 0
}

// Facts are what plans need to know of some gateways.
func Facts(ctx context.Context, tx *store.Tx, gateways []store.Gateway) ([]Gateway, error) {
	ids := make([]string, len(gateways))
	out := make([]Gateway, len(gateways))
	at := make(map[string]*Gateway, len(gateways))
	for i, g := range gateways {
		ids[i] = g.ID
		out[i] = Gateway{ID: g.ID, Arch: g.Arch, Labels: g.Labels, Reached: map[string]bool{}}
		at[g.ID] = &out[i]
	}
	reached, err := tx.ReachedAmong(ctx, ids)
	if err != nil {
		return nil, err
	}
	for _, r := range reached {
		at[r.Gateway].Reached[r.Deployment] = true
	}
	secrets, err := tx.SealedSecrets(ctx, ids)
	if err != nil {
		return nil, err
	}
	for _, s := range secrets {
		at[s.Gateway].Secrets = append(at[s.Gateway].Secrets, s)
	}
	return out, nil
}

// send sends desired states, some at once.
func (s *Service) send(ctx context.Context, list []store.Desired) {
	var group errgroup.Group
	group.SetLimit(sending)
	for _, d := range list {
		group.Go(func() error {
			b, err := s.message(d)
			if err == nil {
				err = s.say(ctx, d.Gateway, b)
			}
			if err != nil && ctx.Err() == nil {
				s.log.Debug("what is wanted of a gateway was not sent", "gateway", d.Gateway, "error", err)
			}
			return nil
		})
	}
	_ = group.Wait() // none returns one
}

func (s *Service) say(ctx context.Context, gateway string, message []byte) error {
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	if err := s.sender.Send(ctx, gateway, message); err != nil {
		s.unsent.Add(1)
		return err
	}
	s.sent.Add(1)
	return nil
}

// read is the desired state of a document, with its revision.
func (s *Service) read(d store.Desired) (*wire.Desired, error) {
	if len(d.Document) == 0 {
		return &wire.Desired{Revision: d.Revision}, nil
	}
	m, err := s.codec.Decode(d.Document)
	if err != nil {
		return nil, fmt.Errorf("what is wanted of gateway %s: %w", d.Gateway, err)
	}
	out, ok := m.(*wire.Desired)
	if !ok {
		return nil, fmt.Errorf("what is wanted of gateway %s is a %T", d.Gateway, m)
	}
	out.Revision = d.Revision
	return out, nil
}

func (s *Service) message(d store.Desired) ([]byte, error) {
	m, err := s.read(d)
	if err != nil {
		return nil, err
	}
	return s.codec.Encode(m)
}
