package update

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/headgate-io/headgate/sync/bundle"
	"github.com/headgate-io/headgate/sync/ota"
)

// Stage is how far an update of a function is.
type Stage string

// The stages. Live, Refused and RolledBack are ends: the same target is not
// tried again until Retry, or until another is signed.
const (
	Fetching    Stage = "fetching"
	Permissions Stage = "waits for allow"
	Trying      Stage = "trial"
	InCanary    Stage = "canary"
	Watched     Stage = "live, watched"
	LiveNow     Stage = "live"
	Refused     Stage = "refused"
	RolledBack  Stage = "rolled back"
)

func (s Stage) ended() bool { return s == LiveNow || s == Refused || s == RolledBack }

// aliasUpdate points to a version that has a part of the traffic.
const aliasUpdate = "update"

// begin takes a function towards a target, as far as it goes without waiting.
// What it fetches is set aside at the end of round.
func (p *Pipeline) begin(ctx, round context.Context, w *Want) {
	t := w.Target
	live, there := p.cfg.Functions.Live(t.Function)
	r, err := p.taken(ctx, w, &live, there)
	if err != nil {
		p.failed(fmt.Errorf("%s: %w", t.Function, err))
		return
	}
	if r == nil {
		return
	}
	if live.Digest != t.Digest {
		r.From, r.Before = live.Version, live.Before
	}
	r.Deadline = p.cfg.Clock.Steady().Add(p.cfg.Canary.Within)
	if there && slices.Contains(r.Proven, t.Digest) && p.goBack(ctx, r) {
		return
	}
	p.step(ctx, r, Fetching, t.Name)
	raw, b, err := p.fetch(round, t)
	if err != nil {
		switch {
		case errors.Is(err, errNotIt):
			p.refuse(ctx, r, err)
		case round.Err() == nil:
			p.step(ctx, r, Fetching, err.Error()+": it is tried again")
		}
		return
	}
	if p.prepare(ctx, r, raw, b, &live, there) {
		p.send(ctx, r, raw, there)
	}
	if r.Stage != Permissions { // which needs it again
		if err := p.cfg.Client.Drop(t); err != nil {
			p.failed(err)
		}
	}
}

// taken is the rollout that brings a want, new or gone on with; nil where there
// is nothing to do but to wait, or nothing at all.
func (p *Pipeline) taken(ctx context.Context, w *Want, live *Live, there bool) (*Rollout, error) {
	p.deciding.Lock()
	defer p.deciding.Unlock()
	t := &w.Target
	r := p.rollout(t.Function)
	runs := there && live.Digest == t.Digest
	same := r != nil && r.Target.SHA256 == t.SHA256
	if same && r.Attempt != w.Attempt && r.Stage != Refused && r.Stage != RolledBack && (r.Stage != LiveNow || runs) {
		r.Attempt = w.Attempt
		p.step(ctx, r, r.Stage, "wanted by another deployment")
	}
	again := !same || r.Attempt != w.Attempt
	switch {
	case r != nil && r.Stage == RolledBack && !r.Back:
		return nil, p.back(ctx, r) // first things first
	case !again && r.Stage == LiveNow && !there && w.Attempt != "":
		// Somebody took it away by hand.
	case !again && (r.Stage.ended() || r.Stage == InCanary || r.Stage == Watched || r.Stage == Permissions && !r.Allowed):
		return nil, nil
	case !again:
		return r, nil
	case r != nil && r.Stage == InCanary:
		// First what was decided: a restart must not give it another chance.
		p.end(ctx, r, RolledBack, "another version is wanted: "+t.Name)
		if err := p.back(ctx, r); err != nil {
			return nil, err
		}
	}
	if runs && r == nil && w.Attempt == "" {
		return nil, nil // it always did
	}
	next := &Rollout{Target: *t, Attempt: w.Attempt, Began: p.cfg.Clock.Now()}
	if r != nil {
		next.Proven, next.Steps = r.Proven, r.epitaph()
	}
	if there && (r == nil || r.Stage != Watched || r.Target.Digest != live.Digest) {
		next.prove(live.Digest)
	}
	p.count(func(s *Stats) { s.Begun++ })
	if runs {
		next.Version, next.base = live.Version, live.Before
		p.step(ctx, next, LiveNow, fmt.Sprintf("version %d runs already", live.Version))
		p.watchAll()
		return nil, nil
	}
	return next, nil
}

// goBack makes a version live again that was, and ended well; false is one that
// is not here any more. It is watched like any other.
func (p *Pipeline) goBack(ctx context.Context, r *Rollout) bool {
	name := r.Target.Function
	number, err := p.cfg.Functions.Stored(ctx, name, r.Target.Digest)
	if err != nil || number == 0 {
		return false
	}
	r.Version = number
	p.step(ctx, r, Trying, fmt.Sprintf("version %d ran here before and ended well", number))
	if err := p.cfg.Functions.Go(ctx, name, number); err != nil {
		if ctx.Err() == nil {
			p.failed(fmt.Errorf("%s: %w", name, err))
		}
		return false
	}
	p.count(func(s *Stats) { s.Returned++ })
	r.Since = p.cfg.Clock.Steady()
	p.step(ctx, r, Watched, fmt.Sprintf("version %d takes all of the traffic", number))
	p.watchAll()
	return true
}

// errNotIt is a target that is not what the owner says of it.
var errNotIt = errors.New("it is not what was signed")

// fetch brings a bundle, and opens it.
func (p *Pipeline) fetch(ctx context.Context, t ota.Target) ([]byte, *bundle.Bundle, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchWithin)
	defer cancel()
	var file string
	err := p.meanwhile(ctx, func() (err error) { file, err = p.cfg.Client.Fetch(ctx, t); return err })
	if err != nil {
		return nil, nil, err
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, err
	}
	b, err := bundle.Open(raw)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errNotIt, err)
	}
	if b.Spec.Name != t.Function || b.Digest != t.Digest {
		return nil, nil, fmt.Errorf("%w: it is %s with the digest %s", errNotIt, b.Spec.Name, b.Digest)
	}
	return raw, b, nil
}

// prepare compiles, shows and tries; false ends it here.
func (p *Pipeline) prepare(ctx context.Context, r *Rollout, raw []byte, b *bundle.Bundle, live *Live, there bool) bool {
	if err := p.cfg.Functions.Check(ctx, raw); err != nil {
		p.refuse(ctx, r, err)
		return false
	}
	r.NewPermissions = nil
	if there {
		r.NewPermissions = added(&live.Spec, &b.Spec)
	}
	if len(r.NewPermissions) > 0 {
		note := "new: " + strings.Join(r.NewPermissions, ", ")
		if p.cfg.AskPermissions && !r.Allowed {
			p.step(ctx, r, Permissions, note)
			p.count(func(s *Stats) { s.Waiting++ })
			return false
		}
		p.step(ctx, r, Trying, note)
	}
	if !there {
		return true
	}
	within, cancel := context.WithTimeout(ctx, tryWithin)
	defer cancel()
	tried, err := p.cfg.Trial.Try(within, b)
	if err != nil && ctx.Err() != nil {
		return false
	}
	if err == nil && len(tried.Worse) > 0 {
		err = fmt.Errorf("recorded events that ended well do not any more: %s", strings.Join(tried.Worse, "; "))
	}
	if err != nil {
		p.refuse(ctx, r, err)
		return false
	}
	p.step(ctx, r, Trying, tried.String())
	return true
}

// String says what came of a trial.
func (t Tried) String() string {
	if t.Events == 0 {
		return "no events of it are recorded: 'headgate recordings start' keeps some for the next one"
	}
	return fmt.Sprintf("%d recorded events, %d with other effects, %d that say too little", t.Events, t.Different, t.Unknown)
}

// send gives a version its traffic.
func (p *Pipeline) send(ctx context.Context, r *Rollout, raw []byte, there bool) {
	var err error
	percent := p.cfg.Canary.Percent
	if !there || percent == 0 {
		r.Version, err = p.cfg.Functions.Install(ctx, raw, "", 0)
	} else {
		r.Version, err = p.cfg.Functions.Install(ctx, raw, aliasUpdate, percent)
	}
	switch {
	case err != nil && ctx.Err() == nil:
		p.refuse(ctx, r, err)
	case err != nil:
	case !there:
		r.prove(r.Target.Digest)
		p.end(ctx, r, LiveNow, fmt.Sprintf("version %d is its first", r.Version))
	default:
		r.Since = p.cfg.Clock.Steady()
		stage, note := Watched, fmt.Sprintf("version %d takes all of the traffic", r.Version)
		if percent > 0 {
			stage, note = InCanary, fmt.Sprintf("version %d takes %v%% of the traffic", r.Version, percent)
		}
		p.step(ctx, r, stage, note)
		p.watchAll()
	}
}

// meanwhile waits for something slow, and judges what is under way all the
// while.
func (p *Pipeline) meanwhile(ctx context.Context, slow func() error) error {
	done := make(chan error, 1)
	go func() { done <- slow() }() // it ends with its ctx, and is waited for
	look := time.NewTicker(p.cfg.LookEvery)
	defer look.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-look.C:
			p.look(ctx)
		}
	}
}

// look judges what is under way.
func (p *Pipeline) look(ctx context.Context) {
	for _, r := range p.all() {
		if ctx.Err() != nil {
			return
		}
		if err := p.lookAt(ctx, r.Target.Function); err != nil {
			p.failed(fmt.Errorf("%s: %w", r.Target.Function, err))
		}
	}
}

func (p *Pipeline) lookAt(ctx context.Context, name string) error {
	p.deciding.Lock()
	defer p.deciding.Unlock()
	switch r := p.rollout(name); {
	case r.Stage == InCanary || r.Stage == Watched:
		return p.judge(ctx, r)
	case r.Stage == RolledBack && !r.Back:
		return p.back(ctx, r)
	}
	return nil
}

// goOn deals with a version that got traffic in the moment that the gateway
// ended, before that was written down: nobody would judge it. What got a part
// gives it back, and begins anew; what got all of it is watched.
func (p *Pipeline) goOn(ctx context.Context) {
	for _, r := range p.all() {
		if r.Stage != Trying && r.Stage != Fetching || r.From == 0 {
			continue
		}
		if err := p.resume(ctx, r); err != nil {
			p.failed(fmt.Errorf("%s: %w", r.Target.Function, err))
		}
	}
	p.watchAll()
}

func (p *Pipeline) resume(ctx context.Context, r *Rollout) error {
	name := r.Target.Function
	if live, there := p.cfg.Functions.Live(name); there && live.Digest == r.Target.Digest {
		r.Version, r.Since = live.Version, p.cfg.Clock.Steady()
		r.Deadline = r.Since.Add(p.cfg.Canary.Within)
		p.step(ctx, r, Watched, fmt.Sprintf("version %d has all of the traffic", r.Version))
		return nil
	}
	digest, err := p.cfg.Functions.Aliased(ctx, name, aliasUpdate)
	if err != nil || digest == "" {
		return err
	}
	return p.takeBack(ctx, r)
}

// judge takes a rollout one step on, or back, if it is time.
func (p *Pipeline) judge(ctx context.Context, r *Rollout) error {
	live, there := p.cfg.Functions.Live(r.Target.Function)
	if !there || live.Version != r.From && live.Version != r.Version {
		p.end(ctx, r, Refused, "somebody else changed what runs")
		return p.cfg.Functions.Drop(ctx, r.Target.Function, aliasUpdate)
	}
	before, now := p.counts(r)
	if reason := worse(before, now, &p.cfg.Canary); reason != "" {
		// First what was decided: a restart must not give it another chance.
		p.count(func(s *Stats) { s.RolledBack++ })
		r.Old, r.New = before, now
		r.disprove(r.Target.Digest)
		p.end(ctx, r, RolledBack, reason)
		return p.back(ctx, r)
	}
	at := p.cfg.Clock.Steady()
	enough := now.Invocations >= uint64(p.cfg.Canary.Sample)
	late := at.After(r.Deadline)
	if at.Sub(r.Since) < p.cfg.Canary.For || !enough && !late {
		return p.keepCounts(ctx, r, keepEvery)
	}
	note := fmt.Sprintf("%d events, %d failed", now.Invocations, now.Failures)
	if !enough {
		note += ": too few to judge by, and its time is over"
	}
	if r.Stage == Watched {
		r.Old, r.New = before, now
		r.prove(r.Target.Digest)
		p.end(ctx, r, LiveNow, note)
		return nil
	}
	if err := p.cfg.Functions.Go(ctx, r.Target.Function, r.Version); err != nil {
		return err
	}
	if err := p.cfg.Functions.Drop(ctx, r.Target.Function, aliasUpdate); err != nil {
		return err
	}
	r.Before, r.Since, r.Deadline = before, at, at.Add(p.cfg.Canary.Within)
	r.Side, r.New, r.kept = Count{}, Count{}, at
	p.step(ctx, r, Watched, note)
	p.watchAll()
	return nil
}

// back carries a rollback out, and writes that down.
func (p *Pipeline) back(ctx context.Context, r *Rollout) error {
	if err := p.takeBack(ctx, r); err != nil {
		return err
	}
	r.Back = true
	return p.save(ctx, r)
}

// takeBack makes the version before take everything again.
func (p *Pipeline) takeBack(ctx context.Context, r *Rollout) error {
	if err := p.cfg.Functions.Go(ctx, r.Target.Function, r.From); err != nil {
		return err
	}
	return p.cfg.Functions.Drop(ctx, r.Target.Function, aliasUpdate)
}

func (p *Pipeline) refuse(ctx context.Context, r *Rollout, err error) {
	if errors.Is(err, ErrLater) {
		p.failed(fmt.Errorf("%s: %w", r.Target.Function, err))
		p.step(ctx, r, Fetching, err.Error())
		return
	}
	p.count(func(s *Stats) { s.Refused++ })
	p.end(ctx, r, Refused, err.Error())
}

func (p *Pipeline) end(ctx context.Context, r *Rollout, stage Stage, note string) {
	if stage == LiveNow {
		p.count(func(s *Stats) { s.WentLive++ })
		p.begins(r)
	}
	p.step(ctx, r, stage, note)
	p.watchAll()
}

// begins notes what the function had done when a version of it became live.
func (p *Pipeline) begins(r *Rollout) {
	if live, there := p.cfg.Functions.Live(r.Target.Function); there {
		r.base = live.Before
	}
}

func (p *Pipeline) count(f func(*Stats)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f(&p.stats)
}

// Allow lets a version with new permissions go on.
func (p *Pipeline) Allow(ctx context.Context, name string) error {
	p.deciding.Lock()
	defer p.deciding.Unlock()
	r := p.rollout(name)
	if r == nil || r.Stage != Permissions {
		return fmt.Errorf("no update of %s waits: 'headgate update status' shows what does", name)
	}
	r.Allowed = true
	p.step(ctx, r, Permissions, "allowed")
	p.Check()
	return nil
}

// Retry has what was refused or rolled back tried again.
func (p *Pipeline) Retry(ctx context.Context, name string) error {
	p.deciding.Lock()
	defer p.deciding.Unlock()
	r := p.rollout(name)
	if r == nil || r.Stage != Refused && r.Stage != RolledBack {
		return fmt.Errorf("no update of %s was refused or rolled back", name)
	}
	if r.Stage == RolledBack && !r.Back {
		return fmt.Errorf("the update of %s is being taken back just now: ask again in a moment", name)
	}
	r.Back = false
	p.step(ctx, r, Fetching, "to be tried again")
	p.Check()
	return nil
}

// step writes down how far a rollout is. The disk may refuse it: then a restart
// goes on from the step before.
func (p *Pipeline) step(ctx context.Context, r *Rollout, stage Stage, note string) {
	changed := r.Stage != stage
	r.Stage = stage
	s := Step{Time: p.cfg.Clock.Now(), Stage: stage, Note: note}
	if n := len(r.Steps); n > 0 && r.Steps[n-1].Stage == stage && r.Steps[n-1].Note == note {
		r.Steps[n-1] = s // the same again
	} else if r.Steps = append(r.Steps, s); len(r.Steps) > maxSteps {
		r.Steps = r.Steps[len(r.Steps)-maxSteps:]
	}
	if changed || note != "" {
		p.cfg.Logger.Info("update", "function", r.Target.Function, "stage", string(stage), "target", r.Target.Name, "version", r.Version, "note", note)
	}
	if err := p.save(context.WithoutCancel(ctx), r); err != nil {
		p.failed(fmt.Errorf("write down how far the update of %s is: %w", r.Target.Function, err))
	}
	if p.cfg.Stepped != nil {
		p.cfg.Stepped()
	}
}

// elapsed is for eyes.
func (p *Pipeline) elapsed(since time.Time) time.Duration { return p.cfg.Clock.Steady().Sub(since) }
