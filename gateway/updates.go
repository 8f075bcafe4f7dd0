package gateway

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/admin"
	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/fetch"
	"github.com/headgate-io/headgate/gateway/recording"
	"github.com/headgate-io/headgate/gateway/slot"
	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/gateway/update"
	"github.com/headgate-io/headgate/sync/bundle"
	"github.com/headgate-io/headgate/sync/ota"
)

// repository is where the gateway takes its updates and whom it believes: by its
// configuration, else by its enrolment.
func (g *Gateway) repository() (url string, root []byte, err error) {
	c, m := &g.cfg.Updates, g.enrolment.State()
	if c.Root != "" {
		if root, err = os.ReadFile(c.Root); err != nil {
			return "", nil, fmt.Errorf("updates.root: %w", err)
		}
	}
	url = c.URL
	if m == nil {
		return url, root, nil
	}
	if url == "" {
		url = m.Content
	}
	if root != nil || len(m.Root) == 0 {
		return url, root, nil
	}
	// What a controller says once is pinned; it cannot say something else later.
	switch err := ota.Pin(g.cfg.UpdatesDir(), m.Root); {
	case errors.Is(err, ota.ErrPinned):
		g.log.Warn("the controller names another root than the one that is pinned, which stays: updates.root in the configuration changes it")
	case err != nil:
		g.log.Error("the root that the controller gave cannot be pinned: nothing comes from its repository", "error", err)
	}
	return url, nil, nil
}

// openUpdates makes the gateway take what its owner signed, where a root is
// pinned.
func (g *Gateway) openUpdates(ctx context.Context) error {
	c, dir := &g.cfg.Updates, g.cfg.UpdatesDir()
	url, root, err := g.repository()
	if err != nil {
		return err
	}
	if root == nil && !ota.Pinned(dir) {
		if c.URL != "" {
			return fmt.Errorf("updates.url: %w", ota.ErrNoRoot)
		}
		return nil
	}
	cfg := ota.Config{Dir: dir, Root: root, Clock: g.clock.Load(), Logger: g.log, ReserveBytes: int64(c.Reserve)}
	if url != "" {
		client, err := g.contentClient()
		if err != nil {
			return err
		}
		if cfg.Source, err = ota.NewSource(url, client); err != nil {
			return fmt.Errorf("updates.url: %w", err)
		}
	}
	signed, err := ota.Open(cfg)
	if err != nil {
		return fmt.Errorf("updates.root: %w", err)
	}
	g.signed.Store(signed)
	if url == "" {
		return nil
	}
	p := update.Config{
		LookEvery: min(5*time.Second, c.Canary.For.Std()/4),
		Client:    signed, Functions: updated{g}, Trial: trial{g}, Memory: g.store, Missing: store.ErrNotFound, Clock: g.clock.Load(), Logger: g.log,
		Desired: g.desired.Wanted, Stepped: g.uplink.Report,
		Arch: arch, Interval: c.Interval.Std(), AskPermissions: c.AskPermissions,
		Canary: update.Canary{Percent: c.Canary.Percent, For: c.Canary.For.Std(), Sample: c.Canary.Sample, Within: c.Canary.Within.Std(), Slower: c.Canary.Slower},
	}
	if g.system.slots != nil {
		p.System = ownBinary{g.system}
	}
	pipeline, err := update.New(ctx, p)
	if err != nil {
		return err
	}
	g.updates.Store(pipeline)
	return nil
}

// runUpdates takes updates until ctx ends, where there is a repository.
func (g *Gateway) runUpdates(ctx context.Context) {
	if p := g.updates.Load(); p != nil && g.updating.CompareAndSwap(false, true) {
		g.background.Go(func() { p.Run(ctx) })
	}
}

// enrolledUpdates follows a change of the membership: the first that brings a
// root begins the updates.
func (g *Gateway) enrolledUpdates(ctx context.Context) {
	if g.updates.Load() != nil {
		return
	}
	if err := g.openUpdates(ctx); err != nil {
		g.log.Error("updates do not begin", "error", err)
		return
	}
	g.runUpdates(ctx)
}

// contentClient asks repositories. What it brings is believed for its
// signatures; TLS keeps others from looking on, and says to the controller who
// asks.
func (g *Gateway) contentClient() (*http.Client, error) {
	var extra []*x509.Certificate
	if file := g.cfg.Updates.CA; file != "" {
		var err error
		if extra, err = fetch.ReadCAs(file); err != nil {
			return nil, fmt.Errorf("updates.ca: %w", err)
		}
	}
	roots, err := fetch.Roots(extra)
	if err != nil {
		return nil, err
	}
	public := func(host string) *tls.Config {
		return &tls.Config{RootCAs: roots, ServerName: host, MinVersion: tls.VersionTLS13, Time: g.now}
	}
	return &http.Client{Transport: &http.Transport{
		DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			host, _, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			conf := public(host)
			// The certificate of now: it is renewed while the gateway runs.
			if m := g.enrolment.State(); m != nil && ofContent(m.Content, address) {
				conf = m.TLS(enrolmentClock{g})(host)
			}
			d := tls.Dialer{NetDialer: &net.Dialer{Timeout: 30 * time.Second}, Config: conf}
			return d.DialContext(ctx, network, address)
		},
		DisableCompression: true, ResponseHeaderTimeout: time.Minute, MaxResponseHeaderBytes: 64 << 10, IdleConnTimeout: time.Minute, MaxIdleConns: 2,
	}}, nil
}

// ofContent reports whether an address is that of the controller's content.
func ofContent(content, address string) bool {
	u, err := url.Parse(content)
	if err != nil || u.Scheme != "https" {
		return false
	}
	port := u.Port()
	if port == "" {
		port = "443"
	}
	return net.JoinHostPort(u.Hostname(), port) == address
}

// mayDirect refuses what an author hands over where the owner decides.
func (g *Gateway) mayDirect() error {
	if g.signed.Load() == nil || g.cfg.Updates.AllowDirect {
		return nil
	}
	return errors.New("this gateway takes what its owner signed, from a repository: 'headgate fleet deploy' where its controller is, 'headgate publish' for a folder; or let it take both with updates.allow_direct in its configuration")
}

// verifyBinary takes a binary that the owner signed and that has not expired,
// from wherever it comes.
func (g *Gateway) verifyBinary(ctx context.Context, path string) error {
	signed := g.signed.Load()
	if signed == nil || g.cfg.Updates.AllowDirect {
		return nil
	}
	sum, err := fileDigest(path)
	if err != nil {
		return err
	}
	t, err := signed.Trusted(ctx)
	if err != nil {
		return fmt.Errorf("it is not known what the gateway's owner has signed: %w", err)
	}
	if s, ok := t.Signed(ota.System, sum); !ok || s.Arch != arch {
		return fmt.Errorf("the gateway's owner has not signed this binary (%s): 'headgate publish --binary' it, or set updates.allow_direct", sum)
	}
	return nil
}

func fileDigest(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// updated is the registry as updates see it.
type updated struct{ g *Gateway }

var _ update.Functions = updated{}

// Live is the version that runs.
func (u updated) Live(name string) (update.Live, bool) {
	s, ok := u.g.registry.Live(name)
	if !ok {
		return update.Live{}, false
	}
	stats := u.g.dispatcher.FunctionStats(name)
	before := update.Count{Invocations: stats.Invocations, Failures: stats.Errors, Timed: stats.Invocations, Busy: stats.Busy}
	for o, n := range stats.Outcomes {
		if update.Crashed(function.Outcome(o)) {
			before.Crashes += n
		}
	}
	return update.Live{Version: s.Version, Digest: s.Digest, Spec: s.Spec, Before: before}, true
}

// Stored is the number of the version with a digest.
func (u updated) Stored(ctx context.Context, name, digest string) (int, error) {
	versions, err := u.g.store.Versions(ctx, name)
	if err != nil {
		return 0, err
	}
	for _, v := range versions {
		if v.Digest == digest {
			return v.Number, nil
		}
	}
	return 0, nil
}

// Remove takes a function away.
func (u updated) Remove(ctx context.Context, name string) error {
	if err := u.g.registry.Remove(ctx, name); err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	return u.g.desired.Removed(ctx, name)
}

// Aliased is the digest of the version that an alias points to.
func (u updated) Aliased(ctx context.Context, name, alias string) (string, error) {
	f, err := u.g.registry.Describe(ctx, name)
	if errors.Is(err, store.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	for _, a := range f.Aliases {
		if a.Name != alias {
			continue
		}
		for _, v := range f.Versions {
			if v.Version == a.Version {
				return v.Digest, nil
			}
		}
	}
	return "", nil
}

// Check compiles a bundle.
func (u updated) Check(ctx context.Context, raw []byte) error {
	return later(u.g.registry.Check(ctx, raw))
}

// later marks a fault of the disk, of which the version is not the cause.
func later(err error) error {
	if store.NoRoom(err) {
		return fmt.Errorf("%w: %w", err, update.ErrLater)
	}
	return err
}

// Install stores a bundle as the next version.
func (u updated) Install(ctx context.Context, raw []byte, alias string, percent float64) (int, error) {
	d, err := u.g.registry.Install(ctx, raw, api.DeployOptions{Alias: alias, Percent: percent})
	return d.Version, later(err)
}

// Go makes a version live.
func (u updated) Go(ctx context.Context, name string, version int) error {
	_, err := u.g.registry.Rollback(ctx, name, version)
	return err
}

// Drop takes an alias away.
func (u updated) Drop(ctx context.Context, name, alias string) error {
	if err := u.g.registry.DropAlias(ctx, name, alias); !errors.Is(err, store.ErrNotFound) {
		return err
	}
	return nil
}

// trial runs recorded events.
type trial struct{ g *Gateway }

// tries is how many recorded events new code is tried on: the newest.
const tries = 16

// Try runs the newest recorded events of a function on new code. What it would
// do is compared, and nothing of it is done.
func (t trial) Try(ctx context.Context, b *bundle.Bundle) (update.Tried, error) {
	var out update.Tried
	for _, item := range t.g.recordings.List(b.Spec.Name) {
		if out.Events == tries || ctx.Err() != nil {
			break
		}
		if err := t.try(ctx, b, item.ID, &out); err != nil {
			return out, err
		}
	}
	return out, nil //nolint:nilerr // a trial whose time is over says what it found until then
}

func (t trial) try(ctx context.Context, b *bundle.Bundle, id string, out *update.Tried) error {
	r, err := t.g.recordings.Get(id)
	if errors.Is(err, recording.ErrNotFound) {
		return nil // it has just made room for another
	}
	if err != nil {
		return err
	}
	spec, err := t.g.registry.Configured(b.Spec)
	if err != nil {
		return err
	}
	got, err := r.Run(ctx, t.g.engine, spec, b.Files, nil, false)
	if err != nil {
		return err
	}
	ok := function.OK.String()
	out.Events++
	switch {
	case len(got.Unanswered) > 0:
		out.Unknown++
	case r.Outcome.Outcome == ok && got.Outcome.Outcome != ok:
		out.Worse = append(out.Worse, fmt.Sprintf("%s (%s): %s", id, got.Outcome.Outcome, got.Outcome.Error))
	case len(got.Differences) > 0:
		out.Different++
	}
	return nil
}

// ownBinary is the gateway's own.
type ownBinary struct{ *system }

// Wants reports whether a signed binary is neither the one that runs nor one
// that was taken back. A deployment of its own has it tried again.
func (o ownBinary) Wants(t ota.Target, attempt string) (bool, error) {
	state, err := o.slots.Load()
	if err != nil || state.Trial != nil {
		return false, err
	}
	if f := state.Failure; f != nil && f.SHA256 == t.SHA256 && (attempt == "" || attempt == f.Attempt) {
		return false, nil
	}
	running := state.Slots[state.Current].SHA256
	if state.Current == slot.Base {
		if running, err = fileDigest(o.slots.Path(slot.Base)); err != nil {
			return false, err
		}
	}
	return running != t.SHA256, nil
}

// Take stages a binary; the launcher confirms it or takes it back.
func (o ownBinary) Take(ctx context.Context, file string, t ota.Target, attempt string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = o.stage(ctx, f, slot.Update{SHA256: t.SHA256, Attempt: attempt})
	return err
}

// updateAdmin is updates as the admin API shows them.
type updateAdmin struct{ g *Gateway }

var _ admin.Updates = updateAdmin{}

var errNoUpdates = errors.New("this gateway asks no repository: set updates.url and updates.root in its configuration, or enrol it")

// Status says how far updates are.
func (u updateAdmin) Status() api.Updates {
	out := api.Updates{Pinned: u.g.signed.Load() != nil, Direct: u.g.mayDirect() == nil, Desired: u.g.shownDesired(), Functions: []api.Update{}}
	p := u.g.updates.Load()
	if p == nil {
		return out
	}
	if out.URL = u.g.cfg.Updates.URL; out.URL == "" {
		out.URL = u.g.enrolment.State().Content
	}
	s := p.Status()
	out.Checked, out.Error, out.Root, out.Expires = s.Checked, s.Error, s.Root, s.Expires
	for i := range s.All {
		out.Functions = append(out.Functions, shownUpdate(&s.All[i]))
	}
	for _, m := range s.Missing {
		out.Missing = append(out.Missing, api.MissingTarget{Function: m.Function, Target: m.Target, Why: m.Why})
	}
	return out
}

func shownUpdate(p *update.Progress) api.Update {
	out := api.Update{
		Function: p.Target.Function, Target: p.Target.Name, Attempt: p.Attempt, Stage: string(p.Stage), Began: p.Began, Version: p.Version, From: p.From,
		For: p.For, NewPermissions: p.NewPermissions, Steps: []api.UpdateStep{},
	}
	if p.For > 0 || p.New.Invocations > 0 {
		count := func(c update.Count) *api.UpdateCount {
			return &api.UpdateCount{Invocations: c.Invocations, Failures: c.Failures, Crashes: c.Crashes, Mean: c.Mean()}
		}
		out.Old, out.New = count(p.Old), count(p.New)
	}
	for _, s := range p.Steps {
		out.Steps = append(out.Steps, api.UpdateStep{Time: s.Time, Stage: string(s.Stage), Note: s.Note})
	}
	return out
}

// Check has the repository asked now; where no root is pinned yet the controller,
// whether there is one.
func (u updateAdmin) Check(ctx context.Context) error {
	if p := u.g.updates.Load(); p != nil {
		p.Check()
		return nil
	}
	if u.g.enrolment.State() == nil {
		return admin.Refusal(errNoUpdates)
	}
	switch there, err := u.g.enrolment.AskRoot(ctx); {
	case err != nil:
		return admin.Refusal(err)
	case !there:
		return admin.Refusal(errors.New("the fleet has no keys yet: its owner makes them with 'headgate keys init'"))
	}
	return nil // the updates begin, and ask the repository first
}

// Allow lets a version with new permissions go on.
func (u updateAdmin) Allow(ctx context.Context, name string) error {
	p := u.g.updates.Load()
	if p == nil {
		return admin.Refusal(errNoUpdates)
	}
	if err := p.Allow(ctx, name); err != nil {
		return admin.Refusal(err)
	}
	return nil
}

// Retry has what was refused or rolled back tried again.
func (u updateAdmin) Retry(ctx context.Context, name string) error {
	p := u.g.updates.Load()
	if p == nil {
		return admin.Refusal(errNoUpdates)
	}
	if err := p.Retry(ctx, name); err != nil {
		return admin.Refusal(err)
	}
	return nil
}

func (g *Gateway) updateStats() update.Stats {
	if p := g.updates.Load(); p != nil {
		return p.Stats()
	}
	return update.Stats{}
}

func (g *Gateway) signedStats() ota.Stats {
	if c := g.signed.Load(); c != nil {
		return c.Stats()
	}
	return ota.Stats{}
}
