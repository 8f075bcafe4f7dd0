package rollout

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/headgate-io/headgate/controller/fleet"
	"github.com/headgate-io/headgate/controller/label"
	"github.com/headgate-io/headgate/controller/store"
	"github.com/headgate-io/headgate/internal/fault"
	"github.com/headgate-io/headgate/sync/wire"
)

// Bounds of the work.
const (
	lookEvery = time.Second
	// patience is by how many gateways a look comes a second later: what is large
	// is looked at less often.
	patience = 1000
	page     = 500
	// batch is how many gateways are reached in one transaction, batches how many
	// of these there are in one look.
	batch   = 100
	batches = 20
	// samples bounds how many gateways that were not reached are compared with.
	samples = 200
	// lately is how long ago a gateway may have spoken to be among the first.
	lately = 20 * time.Minute
	// pause is for how long gateways may not be heard without a word about it.
	pause = time.Minute
)

// Engine carries deployments on. Run is for one goroutine; any number of engines
// may run on one database.
type Engine struct {
	store *store.Store
	kick  func()
	codec *wire.Codec
	log   *slog.Logger
	now   func() time.Time

	ready       func() error // nil is always
	last, since time.Time    // when gateways could be heard last, and since when without a break

	next    map[string]time.Time // when a deployment is looked at again
	members map[string]members   // by tenant

	looks, waves, reached, done, rolledBack, givenUp, met, failed, breaks atomic.Uint64
	open                                                                  atomic.Int64
}

// members are the gateways of a tenant, as they were.
type members struct {
	at   time.Time
	list []store.Member
}

// New makes an engine. kick has what has changed made and sent. A nil now is
// time.Now.
func New(s *store.Store, kick func(), log *slog.Logger, now func() time.Time) (*Engine, error) {
	if now == nil {
		now = time.Now
	}
	codec, err := wire.NewCodec()
	return &Engine{store: s, kick: kick, codec: codec, log: log, now: now, next: map[string]time.Time{}, members: map[string]members{}}, err
}

// Stats counts what an engine did.
type Stats struct {
	// Open are the deployments under way that were seen last.
	Open int64
	// Looks counts how often one was looked at, Waves those that were begun,
	// Reached gateways in them, Done, RolledBack and GivenUp ends, Met steps that
	// another replica had done, Failed looks that a fault ended, and Breaks after which
	// silence counted anew.
	Looks, Waves, Reached, Done, RolledBack, GivenUp, Met, Failed, Breaks uint64
}

// Stats returns the counters.
func (e *Engine) Stats() Stats {
	return Stats{
		Open: e.open.Load(), Looks: e.looks.Load(), Waves: e.waves.Load(), Reached: e.reached.Load(), Done: e.done.Load(),
		RolledBack: e.rolledBack.Load(), GivenUp: e.givenUp.Load(), Met: e.met.Load(), Failed: e.failed.Load(), Breaks: e.breaks.Load(),
	}
}

// Hear names what says why gateways cannot be heard now, nil where they can. It
// is called before Run.
func (e *Engine) Hear(ready func() error) { e.ready = ready }

// hearing notes that a look could take place. After a break, in which the process,
// the database or the broker was away, or the clock was put right, what
// gateways have not said counts from now on: they had nobody to say it to.
func (e *Engine) hearing() {
	now := e.now().Round(0) // the clock's word, whatever the process slept through
	gap := now.Sub(e.last)
	broke := gap > pause || gap < -pause
	if broke {
		e.since = now
	}
	if e.ready != nil && e.ready() != nil {
		return
	}
	if broke && !e.last.IsZero() {
		e.breaks.Add(1)
		e.log.Warn("gateways could not be heard: their silence counts from now on", "for", gap)
	}
	e.last = now
}

// Run carries deployments on until ctx ends.
func (e *Engine) Run(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		if err := e.Tick(ctx); err != nil && ctx.Err() == nil {
			e.log.Error("carry deployments on", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Tick looks at every deployment under way whose time has come. A fault of one
// keeps no other from it.
func (e *Engine) Tick(ctx context.Context) error {
	var faults []error
	seen := map[string]bool{}
	for after := ""; ; {
		var list []store.Deployment
		err := e.store.View(ctx, func(tx *store.Tx) (err error) {
			list, err = tx.OpenDeployments(ctx, store.Page{After: after, Limit: page})
			return err
		})
		if err != nil {
			return err
		}
		if after == "" {
			e.hearing()
		}
		for _, d := range list {
			seen[d.ID] = true
			if e.now().Before(e.next[d.ID]) {
				continue
			}
			if err := e.look(ctx, d); err != nil {
				e.failed.Add(1)
				e.next[d.ID] = e.now().Add(10 * lookEvery)
				faults = append(faults, fmt.Errorf("deployment %s: %w", d.ID, err))
			}
		}
		if len(list) < page {
			break
		}
		after = list[len(list)-1].ID
	}
	for id := range e.next {
		if !seen[id] {
			delete(e.next, id)
		}
	}
	if len(seen) == 0 {
		clear(e.members)
	}
	e.open.Store(int64(len(seen)))
	return errors.Join(faults...)
}

// look looks at one deployment.
func (e *Engine) look(ctx context.Context, d store.Deployment) error {
	e.looks.Add(1)
	chosen, exempt, err := e.chosen(ctx, d)
	if err != nil {
		return err
	}
	var l Look
	read := func(ctx context.Context, tx *store.Tx, d store.Deployment) error {
		l, err = e.read(ctx, tx, d, chosen)
		l.Exempt = exempt
		return err
	}
	if err := e.store.View(ctx, func(tx *store.Tx) error { return read(ctx, tx, d) }); err != nil {
		return err
	}
	e.next[d.ID] = e.now().Add(lookEvery*time.Duration(len(l.Reached)/patience) + lookEvery/2)
	if len(l.gone) > 0 {
		gone := l.gone[:min(len(l.gone), page)]
		return e.store.Update(ctx, func(tx *store.Tx) error { return tx.RemoveReached(ctx, d.ID, gone) })
	}
	if l.Deployment.Wave > 0 && d.State == store.Running {
		filled, err := e.fill(ctx, l, chosen)
		if err != nil || !filled {
			return err
		}
	}
	v := Judge(l, e.now())
	if v.Action == Stay && l.Chosen == d.Chosen && l.Exempt == d.Exempt && (d.State == store.Paused || v.Reason == d.Reason) {
		return nil
	}
	return e.step(ctx, d, read, &l)
}

// step does what is decided, once over all replicas: it decides again under the
// deployment's lock, by what is true there.
func (e *Engine) step(ctx context.Context, was store.Deployment, read func(context.Context, *store.Tx, store.Deployment) error, l *Look) error {
	var v Verdict
	met := false
	now := e.now().UTC().Truncate(time.Microsecond)
	err := e.store.Update(ctx, func(tx *store.Tx) error {
		if err := fleet.LockDeployment(ctx, tx, was.ID); err != nil {
			return err
		}
		d, err := tx.Deployment(ctx, was.ID)
		if errors.Is(err, store.ErrNotFound) {
			met = true
			return nil
		}
		if err != nil {
			return err
		}
		if fault.On(fault.StepUnlocked) {
			d = was
		}
		if met = d.State != was.State || d.Wave != was.Wave; met {
			return nil
		}
		if err := read(ctx, tx, d); err != nil {
			return err
		}
		v = Judge(*l, now)
		d.Chosen, d.Exempt = l.Chosen, l.Exempt
		return e.do(ctx, tx, d, v, now)
	})
	if err != nil {
		return err
	}
	if met {
		e.met.Add(1)
	}
	e.tell(was, v, l)
	return nil
}

// do writes what is decided.
func (e *Engine) do(ctx context.Context, tx *store.Tx, d store.Deployment, v Verdict, now time.Time) error {
	var action, note string
	switch v.Action {
	case Stay:
		if d.State == store.Running {
			d.Reason = v.Reason
		}
		return tx.SetDeployment(ctx, d)
	case Begin:
		d.Wave, d.WaveBegan, d.Reason = v.Wave, now, ""
		action, note = "deployment.wave", fmt.Sprintf("wave %d of %d begins", d.Wave, d.Waves)
		if err := tx.SetDeployment(ctx, d); err != nil {
			return err
		}
	case Finish:
		action, note = "deployment.done", "done"
		if err := fleet.Finish(ctx, tx, d, now); err != nil {
			return err
		}
	case RollBack, GiveUp:
		d.State, d.Reason, d.Ended = store.RolledBack, v.Reason, now
		action, note = "deployment.roll-back", "rolled back: "+v.Reason
		if v.Action == GiveUp {
			d.State, action, note = store.Aborted, "deployment.abort", "aborted: "+v.Reason
		}
		if err := errors.Join(tx.SetDeployment(ctx, d), tx.ChangeFleet(ctx, d.Tenant)); err != nil {
			return err
		}
	}
	if err := tx.AddStep(ctx, store.Step{Deployment: d.ID, At: now, Wave: d.Wave, Note: note}); err != nil {
		return err
	}
	return tx.AddChange(ctx, store.Change{Tenant: d.Tenant, At: now, Actor: "rollout", Action: action, Object: "deployment/" + d.ID, After: quoted(note)})
}

// tell counts and logs what was committed, and has it sent.
func (e *Engine) tell(d store.Deployment, v Verdict, l *Look) {
	delete(e.next, d.ID)
	log := e.log.With("deployment", d.ID, "function", d.Function, "tenant", d.Tenant)
	switch v.Action {
	case Stay:
		e.next[d.ID] = e.now().Add(lookEvery / 2)
		return
	case Begin:
		e.waves.Add(1)
		log.Info("a wave of a deployment begins", "wave", v.Wave, "chosen", l.Chosen, "reached", len(l.Reached))
	case Finish:
		e.done.Add(1)
		log.Info("a deployment is done", "gateways", len(l.Reached))
	case RollBack:
		e.rolledBack.Add(1)
		log.Warn("a deployment is rolled back", "wave", d.Wave, "reason", v.Reason)
	case GiveUp:
		e.givenUp.Add(1)
		log.Warn("a deployment is for none of its gateways", "reason", v.Reason)
	}
	e.kick()
}

// read reads what Judge needs.
func (e *Engine) read(ctx context.Context, tx *store.Tx, d store.Deployment, chosen []store.Member) (Look, error) {
	l := Look{Deployment: d, Chosen: len(chosen), Since: e.since}
	var err error
	if l.Strategy, err = fleet.StrategyOf(d); err != nil {
		return l, err
	}
	is := make(map[string]bool, len(chosen))
	for i := range chosen {
		is[chosen[i].ID] = true
	}
	for after := ""; ; {
		list, err := tx.ReachedBy(ctx, d.ID, store.Page{After: after, Limit: page})
		if err != nil {
			return l, err
		}
		for _, r := range list {
			if is[r.Gateway] {
				l.Reached = append(l.Reached, r)
			} else {
				l.gone = append(l.gone, r.Gateway)
			}
		}
		if len(list) < page {
			break
		}
		after = list[len(list)-1].Gateway
	}
	if d.Wave > 0 && len(l.Reached) < len(chosen) {
		l.Elsewhere, err = e.elsewhere(ctx, tx, &l, chosen)
	}
	return l, err
}

// elsewhere are the events of the version before on gateways that were not
// reached, where those of the reached are too few to compare with.
func (e *Engine) elsewhere(ctx context.Context, tx *store.Tx, l *Look, chosen []store.Member) (out []wire.Counts, err error) {
	reached := make(map[string]bool, len(l.Reached))
	var of tally
	for i := range l.Reached {
		r := &l.Reached[i]
		reached[r.Gateway] = true
		of.olds, of.news = append(of.olds, r.Old), append(of.news, r.New)
	}
	sample := l.Strategy.Gate.Sample
	of.weigh(sample)
	if l.Deployment.Function == fleet.System || of.new.voices == 0 || of.new.invocations < float64(sample) || of.old.speaks(of.new, sample) {
		return nil, nil
	}
	var ids []string
	for _, m := range chosen {
		if !reached[m.ID] && len(ids) < samples {
			ids = append(ids, m.ID)
		}
	}
	list, err := tx.ReportedOf(ctx, ids)
	for _, r := range list {
		m, err := e.codec.Decode(r.Document)
		if err != nil {
			return nil, err
		}
		said, ok := m.(*wire.Reported)
		if !ok {
			continue
		}
		if f := fleet.Of(said, l.Deployment.Function); f != nil {
			out = append(out, fleet.Present(f))
		}
	}
	return out, err
}

// chosen are the gateways that a deployment is for, in the order in which its
// waves reach them: those that spoke lately first, then in an order of its own
// that stays. exempt is how many more it is not for, since they take no binary;
// those that took them until it reached them are none of these.
func (e *Engine) chosen(ctx context.Context, d store.Deployment) (out []store.Member, exempt int, err error) {
	all, err := e.all(ctx, d.Tenant)
	if err != nil {
		return nil, 0, err
	}
	strategy, err := fleet.StrategyOf(d)
	if err != nil {
		return nil, 0, err
	}
	selector, err := label.Parse(d.Selector)
	if err != nil {
		return nil, 0, err
	}
	silent := seconds(strategy.Silent)
	type place struct {
		store.Member
		away int // how long it has not spoken: not long, longer, so long that it is silent
		rank uint64
	}
	unhealthy, err := e.unhealthy(ctx, d, all)
	if err != nil {
		return nil, 0, err
	}
	var places []place
	for _, m := range all {
		switch {
		case !fleet.IsFor(d, selector, m.Arch, m.Labels):
		case fleet.Exempt(d, m.Fixed) && !unhealthy[m.ID]:
			exempt++
		default:
			p := place{Member: m, rank: rank(d.ID, m.ID)}
			for _, long := range []time.Duration{min(silent/4, lately), silent} {
				if e.now().Sub(m.Seen) > long {
					p.away++
				}
			}
			places = append(places, p)
		}
	}
	slices.SortFunc(places, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.away, b.away), cmp.Compare(a.rank, b.rank))
	})
	out = make([]store.Member, len(places))
	for i := range places {
		out[i] = places[i].Member
	}
	return out, exempt, nil
}

// unhealthy are those of the gateways that take no binary which a deployment has
// reached, and found unhealthy.
func (e *Engine) unhealthy(ctx context.Context, d store.Deployment, all []store.Member) (map[string]bool, error) {
	out := map[string]bool{}
	var ids []string
	for _, m := range all {
		if fleet.Exempt(d, m.Fixed) {
			ids = append(ids, m.ID)
		}
	}
	for some := range slices.Chunk(ids, page) {
		err := e.store.View(ctx, func(tx *store.Tx) error {
			list, err := tx.ReachedOf(ctx, d.ID, some)
			for _, r := range list {
				out[r.Gateway] = r.State == store.GatewayUnhealthy
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// rank gives each deployment another first gateway.
func rank(deployment, gateway string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(deployment + "\x00" + gateway)) // never fails
	return h.Sum64()
}

// all are a tenant's gateways. A large tenant's are read less often.
func (e *Engine) all(ctx context.Context, tenant string) ([]store.Member, error) {
	m, ok := e.members[tenant]
	if ok && e.now().Sub(m.at) < lookEvery*time.Duration(min(len(m.list)/page, 20)) {
		return m.list, nil
	}
	m = members{at: e.now()}
	for after := ""; ; {
		var list []store.Member
		err := e.store.View(ctx, func(tx *store.Tx) (err error) {
			list, err = tx.Members(ctx, tenant, store.Page{After: after, Limit: page})
			return err
		})
		if err != nil {
			return nil, err
		}
		m.list = append(m.list, list...)
		if len(list) < page {
			break
		}
		after = list[len(list)-1].ID
	}
	e.members[tenant] = m
	return m.list, nil
}
