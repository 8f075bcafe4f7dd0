package registry

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"github.com/headgate-io/headgate/gateway/admin"
	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/dispatch"
	"github.com/headgate-io/headgate/gateway/store"
)

var validAlias = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)

// weights of a split are kept in hundredths of a percent.
const hundredths = dispatch.AllTraffic / 100

// SetAlias points an alias of a function to a version, or splits live between
// two. What runs ends on the version that it began with.
func (r *Registry) SetAlias(ctx context.Context, name, alias string, to api.AliasTarget) (api.Alias, error) {
	r.change.Lock()
	defer r.change.Unlock()
	live, err := r.get(name)
	if err != nil {
		return api.Alias{}, err
	}
	a := store.Alias{Function: name, Name: alias, Version: to.Version, Split: to.Split, Weight: int(to.Percent*hundredths + 0.5)}
	if err := checkAlias(&a); err != nil {
		return api.Alias{}, admin.Refusal(err)
	}
	// What cannot run is found before anything changes.
	for _, number := range [...]int{a.Version, a.Split} {
		if number != 0 && (number != live.version.Number || live.broken != nil) {
			if _, err := r.ready(ctx, name, number); err != nil {
				return api.Alias{}, err
			}
		}
	}
	if err := r.deps.Store.SetAlias(ctx, a); err != nil {
		return api.Alias{}, err
	}
	return shownAlias(&a), r.follow(ctx, name, live)
}

func checkAlias(a *store.Alias) error {
	switch {
	case !validAlias.MatchString(a.Name):
		return fmt.Errorf("%q cannot be an alias: it starts with a letter and has only a-z, 0-9 and -, 32 at most", a.Name)
	case a.Split == 0 && a.Weight == 0:
		return nil
	case a.Name != aliasLive:
		return fmt.Errorf("alias %s cannot be split: only %s has traffic", a.Name, aliasLive)
	case a.Split == a.Version:
		return fmt.Errorf("version %d cannot take a part of its own traffic: name another", a.Split)
	case a.Split == 0:
		return errors.New("name the version that takes the part")
	case a.Weight <= 0 || a.Weight >= dispatch.AllTraffic:
		return errors.New("a split's part is more than 0 and less than 100 percent")
	}
	return nil
}

// DropAlias deletes an alias. Its version stays, and is not loaded any more
// when no other alias points to it.
func (r *Registry) DropAlias(ctx context.Context, name, alias string) error {
	r.change.Lock()
	defer r.change.Unlock()
	live, err := r.get(name)
	if err != nil {
		return err
	}
	if alias == aliasLive {
		return admin.Refusal(fmt.Errorf("%s cannot be without %s: 'headgate remove %s' takes the function away", name, aliasLive, name))
	}
	if err := r.deps.Store.DropAlias(ctx, name, alias); err != nil {
		return err
	}
	return r.follow(ctx, name, live)
}

// follow makes run what the function's aliases say now.
func (r *Registry) follow(ctx context.Context, name string, live *deployment) error {
	aliases, err := r.aliasesOf(ctx, name)
	if err != nil {
		return err
	}
	for _, a := range aliases {
		if a.Name != aliasLive || a.Version == live.version.Number {
			continue
		}
		d, err := r.ready(ctx, name, a.Version)
		if err != nil {
			return err
		}
		d.deployed = a.Updated
		return r.activate(ctx, d, aliases)
	}
	if live.broken != nil {
		return nil //nolint:nilerr // nothing changes for a version that has not run since the start
	}
	return r.direct(ctx, live, aliases)
}

func (r *Registry) aliasesOf(ctx context.Context, name string) ([]store.Alias, error) {
	all, err := r.deps.Store.Aliases(ctx)
	if err != nil {
		return nil, err
	}
	return byFunction(all)[name], nil
}

func byFunction(all []store.Alias) map[string][]store.Alias {
	out := map[string][]store.Alias{}
	for _, a := range all {
		out[a.Function] = append(out[a.Function], a)
	}
	return out
}

// ready is a version that can run: one that is loaded already, or one that is
// compiled now and kept for the alias that is about to point to it.
func (r *Registry) ready(ctx context.Context, name string, number int) (*deployment, error) {
	r.mu.Lock()
	d := r.others[name][number]
	if live := r.live[name]; d == nil && live != nil && live.version.Number == number && live.broken == nil {
		d = live
	}
	r.mu.Unlock()
	if d != nil {
		return d, nil
	}
	v, b, err := r.stored(ctx, name, number)
	if err != nil {
		return nil, err
	}
	if d, err = r.compile(ctx, b, v); err != nil {
		return nil, err
	}
	r.keep(d)
	return d, nil
}

// direct has live run, and beside it what the aliases point to. A version that
// cannot run gets no traffic and is reported.
func (r *Registry) direct(ctx context.Context, live *deployment, aliases []store.Alias) error {
	name := live.spec.Name
	t := dispatch.Traffic{Live: live.function}
	others := map[int]*deployment{}
	for i := range aliases {
		a := &aliases[i]
		for _, number := range [...]int{a.Version, a.Split} {
			if number == 0 || number == live.version.Number || others[number] != nil {
				continue
			}
			d, err := r.ready(ctx, name, number)
			if err != nil {
				r.deps.Logger.Error("version does not run", "function", name, "version", number, "alias", a.Name, "error", err)
				continue
			}
			others[number] = d
			t.Others = append(t.Others, d.function)
		}
		if a.Name == aliasLive && others[a.Split] != nil {
			t.Split, t.Weight = a.Split, uint32(a.Weight)
		}
	}
	if err := r.deps.Dispatcher.SetTraffic(t); err != nil {
		return err
	}
	live.ran = true
	for _, d := range others {
		d.ran = true
	}
	r.mu.Lock()
	before := r.others[name]
	r.live[name], r.others[name], r.aliases[name] = live, others, aliases
	r.mu.Unlock()
	for number, d := range before {
		// What was made ready and never ran is not the dispatcher's to retire.
		if others[number] == nil && !d.ran {
			r.retire(d)
		}
	}
	return nil
}

// Resolve is the number of the version that "8" or an alias names; 0 is the one
// that traffic falls to, for live and for nothing.
func (r *Registry) Resolve(name, qualifier string) (int, error) {
	if qualifier == "" || qualifier == aliasLive {
		return 0, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.aliases[name] {
		if a.Name == qualifier {
			return a.Version, nil
		}
	}
	if number, err := strconv.Atoi(qualifier); err == nil {
		live := r.live[name]
		if r.others[name][number] != nil || live != nil && live.version.Number == number {
			return number, nil
		}
		return 0, admin.Refusal(fmt.Errorf("%s@%d is not loaded: point an alias to it, 'headgate alias set %s NAME %d'", name, number, name, number))
	}
	return 0, admin.Refusal(fmt.Errorf("%s has no alias %q: 'headgate describe %s' shows its aliases", name, qualifier, name))
}

func shownAlias(a *store.Alias) api.Alias {
	return api.Alias{Name: a.Name, Version: a.Version, Split: a.Split, Percent: float64(a.Weight) / hundredths, Updated: a.Updated}
}

// publishAs stores a version beside the live one, points an alias to it, and
// gives it a part of the traffic where one is asked for.
func (r *Registry) publishAs(ctx context.Context, d *deployment, raw []byte, o api.DeployOptions) error {
	live, err := r.get(d.spec.Name)
	if err != nil {
		return admin.Refusal(fmt.Errorf("%s is not deployed yet: deploy it without --alias first", d.spec.Name))
	}
	main := store.Alias{Function: d.spec.Name, Name: aliasLive, Version: live.version.Number, Weight: int(o.Percent*hundredths + 0.5)}
	if err := checkAlias(&store.Alias{Name: o.Alias, Version: d.version.Number}); err != nil {
		return admin.Refusal(err)
	}
	if o.Alias == aliasLive {
		return admin.Refusal(fmt.Errorf("a deploy is %s without --alias", aliasLive))
	}
	if main.Weight != 0 {
		main.Split = d.version.Number
		if err := checkAlias(&main); err != nil {
			return admin.Refusal(err)
		}
	}
	if d.version.Number, err = r.deps.Store.PutVersion(ctx, d.version, raw, o.Alias); err != nil {
		return err
	}
	d.deployed, d.function.Version = time.Now(), d.version.Number
	if main.Weight != 0 {
		main.Split = d.version.Number
		if err := r.deps.Store.SetAlias(ctx, main); err != nil {
			return err
		}
	}
	r.keep(d)
	if err := r.follow(ctx, d.spec.Name, live); err != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		if !d.ran {
			delete(r.others[d.spec.Name], d.version.Number)
		}
		return err
	}
	return nil
}

// keep holds a version ready for an alias.
func (r *Registry) keep(d *deployment) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.others[d.spec.Name] == nil {
		r.others[d.spec.Name] = map[int]*deployment{}
	}
	r.others[d.spec.Name][d.version.Number] = d
}
