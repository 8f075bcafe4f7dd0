package registry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/admin"
	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/sync/bundle"
)

// Deploy verifies a bundle, compiles it, stores it as the function's next
// version and makes it live, or what the options say. Nothing changes when any
// of it fails.
//
// The first deploy pins its author's key to the gateway; from then on no other
// author's bundle is taken.
func (r *Registry) Deploy(ctx context.Context, raw []byte, o api.DeployOptions) (api.Deployed, error) {
	r.change.Lock()
	defer r.change.Unlock()
	b, err := bundle.Open(raw)
	if err != nil {
		return api.Deployed{}, admin.Refusal(err)
	}
	if r.deps.Direct != nil {
		if err := r.deps.Direct(); err != nil {
			return api.Deployed{}, admin.Refusal(err)
		}
	}
	pinned, err := r.checkAuthor(ctx, b.Author)
	if err != nil {
		return api.Deployed{}, err
	}
	return r.deploy(ctx, raw, b, o, pinned)
}

// Install is Deploy for a bundle that the owner of the fleet has signed for: no
// author is asked for or pinned.
func (r *Registry) Install(ctx context.Context, raw []byte, o api.DeployOptions) (api.Deployed, error) {
	r.change.Lock()
	defer r.change.Unlock()
	b, err := bundle.Open(raw)
	if err != nil {
		return api.Deployed{}, admin.Refusal(err)
	}
	return r.deploy(ctx, raw, b, o, true)
}

// Check reports why a bundle would not be taken, and keeps nothing of it.
func (r *Registry) Check(ctx context.Context, raw []byte) error {
	r.change.Lock()
	defer r.change.Unlock()
	b, err := bundle.Open(raw)
	if err != nil {
		return admin.Refusal(err)
	}
	if err := r.checkBuckets(&b.Spec); err != nil {
		return admin.Refusal(err)
	}
	d, err := r.compile(ctx, b, store.Version{Function: b.Spec.Name, Digest: b.Digest})
	if err != nil {
		return err
	}
	defer giveBack()
	r.retire(d)
	return nil
}

// deploy takes a bundle whose author may; pinned says that it is not to be
// remembered as such.
func (r *Registry) deploy(ctx context.Context, raw []byte, b *bundle.Bundle, o api.DeployOptions, pinned bool) (api.Deployed, error) {
	if d, err := r.get(b.Spec.Name); err == nil && d.version.Digest == b.Digest && d.broken == nil {
		return r.deployed(d, false), r.setTimers(ctx, d)
	}
	if err := r.checkBuckets(&b.Spec); err != nil {
		return api.Deployed{}, admin.Refusal(err)
	}
	began := time.Now()
	next, err := r.nextVersion(ctx, b.Spec.Name)
	if err != nil {
		return api.Deployed{}, err
	}
	v := store.Version{Function: b.Spec.Name, Number: next, Created: began, Digest: b.Digest, Author: b.Author.String()}
	d, err := r.compile(ctx, b, v)
	if err != nil {
		return api.Deployed{}, err
	}
	defer giveBack()
	compiled := time.Since(began)
	if !pinned {
		err = r.deps.Store.SetMeta(ctx, metaAuthor, []byte(v.Author))
	}
	switch {
	case err != nil:
	case o.Alias != "":
		err = r.publishAs(ctx, d, raw, o)
	default:
		err = r.publish(ctx, d, raw)
	}
	if err != nil {
		if !d.ran {
			r.retire(d)
		}
		return api.Deployed{}, err
	}
	out := r.deployed(d, true)
	out.Alias, out.Percent = o.Alias, o.Percent
	out.Pinned, out.CompileMillis = !pinned, compiled.Milliseconds()
	return out, nil
}

// checkBuckets refuses what names buckets that there are not. Functions that run
// already go on when their bucket goes.
func (r *Registry) checkBuckets(s *function.Spec) error {
	var faults []error
	s.Buckets(func(bucket string, path ...any) {
		if r.deps.Buckets != nil && function.ValidBucket(bucket) && !r.deps.Buckets(bucket) {
			faults = append(faults, fmt.Errorf("%s: there is no bucket %s: its operator declares it in the gateway's configuration, as objects: {buckets: {%s: {quota: 256MiB}}}",
				function.FieldPath(append([]any{s.Name}, path...)), bucket, bucket))
		}
	})
	return errors.Join(faults...)
}

// publish stores the version and makes it live.
func (r *Registry) publish(ctx context.Context, d *deployment, raw []byte) error {
	number, err := r.deps.Store.PutVersion(ctx, d.version, raw, aliasLive)
	if err != nil {
		return err
	}
	d.version.Number, d.deployed = number, time.Now()
	aliases, err := r.aliasesOf(ctx, d.spec.Name)
	if err != nil {
		return err
	}
	return r.activate(ctx, d, aliases)
}

// nextVersion is the number that the store will give.
func (r *Registry) nextVersion(ctx context.Context, name string) (int, error) {
	versions, err := r.deps.Store.Versions(ctx, name)
	if err != nil || len(versions) == 0 {
		return 1, err
	}
	return versions[0].Number + 1, nil
}

// metaAuthor is where the pinned author's key is kept.
const metaAuthor = "author"

func (r *Registry) checkAuthor(ctx context.Context, author bundle.Key) (pinned bool, err error) {
	raw, err := r.deps.Store.Meta(ctx, metaAuthor)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil || len(raw) == 0 {
		return false, err
	}
	if string(raw) != author.String() {
		return true, admin.Refusal(fmt.Errorf("this gateway takes functions from author %s only, and this bundle is signed by %s: deploy with that author's key (HEADGATE_HOME names its folder); where it is lost, 'headgate author forget' on the gateway lets another in", raw, author))
	}
	return true, nil
}

// Author is the pinned author's key; empty while none is pinned.
func (r *Registry) Author(ctx context.Context) (string, error) {
	raw, err := r.deps.Store.Meta(ctx, metaAuthor)
	if errors.Is(err, store.ErrNotFound) {
		return "", nil
	}
	return string(raw), err
}

// ForgetAuthor lets the next deploy pin its author. What is deployed goes on.
func (r *Registry) ForgetAuthor(ctx context.Context) error {
	r.change.Lock()
	defer r.change.Unlock()
	return r.deps.Store.SetMeta(ctx, metaAuthor, []byte{})
}

// Rollback makes an earlier version live again; 0 takes back a split, and where
// there is none makes the newest one before the live one live.
func (r *Registry) Rollback(ctx context.Context, name string, number int) (api.Deployed, error) {
	r.change.Lock()
	defer r.change.Unlock()
	live, err := r.get(name)
	if err != nil {
		return api.Deployed{}, err
	}
	split := r.isSplit(name)
	if number == 0 && split {
		number = live.version.Number
	}
	if number == live.version.Number && live.broken == nil && !split {
		return r.deployed(live, false), nil
	}
	if number == 0 {
		if number, err = r.before(ctx, name, live.version.Number); err != nil {
			return api.Deployed{}, err
		}
	}
	d := live
	if number != live.version.Number || live.broken != nil {
		if d, err = r.ready(ctx, name, number); err != nil {
			return api.Deployed{}, err
		}
	}
	if err := r.deps.Store.SetAlias(ctx, store.Alias{Function: name, Name: aliasLive, Version: number}); err != nil {
		return api.Deployed{}, err
	}
	aliases, err := r.aliasesOf(ctx, name)
	if err != nil {
		return api.Deployed{}, err
	}
	d.deployed = time.Now()
	return r.deployed(d, true), r.activate(ctx, d, aliases)
}

func (r *Registry) isSplit(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.aliases[name] {
		if a.Split != 0 {
			return true
		}
	}
	return false
}

func (r *Registry) before(ctx context.Context, name string, number int) (int, error) {
	versions, err := r.deps.Store.Versions(ctx, name)
	if err != nil {
		return 0, err
	}
	for _, v := range versions {
		if v.Number < number {
			return v.Number, nil
		}
	}
	return 0, admin.Refusal(fmt.Errorf("%s@%d has no version before it to go back to", name, number))
}

// Remove takes a function away: its triggers at once, then its versions. Its
// state stays, and so do durable events that wait for it, until a function of
// that name is deployed again.
func (r *Registry) Remove(ctx context.Context, name string) error {
	r.change.Lock()
	defer r.change.Unlock()
	if _, err := r.get(name); err != nil {
		return err
	}
	if r.deps.Routes != nil {
		r.deps.Routes.Remove(name)
	}
	r.deps.Triggers.Remove(name)
	r.deps.Dispatcher.RemoveFunction(name)
	if err := r.deps.Timers.Set(ctx, name, nil); err != nil {
		return err
	}
	if err := r.deps.Store.RemoveFunction(ctx, name); err != nil {
		return err
	}
	r.mu.Lock()
	delete(r.live, name)
	delete(r.others, name)
	delete(r.aliases, name)
	r.mu.Unlock()
	if r.deps.Removed != nil {
		r.deps.Removed(name)
	}
	return nil
}
