package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/admin"
	"github.com/headgate-io/headgate/gateway/store"
)

// errMisfit is a configuration that does not fit a version.
var errMisfit = errors.New("the configuration that is laid over the manifest's does not fit")

// Lay says which configuration is laid over the functions' own, before Load.
func (r *Registry) Lay(overlays map[string][]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.overlays = maps.Clone(overlays)
	if r.overlays == nil {
		r.overlays = map[string][]byte{}
	}
}

// Configure lays a JSON object over a function's own configuration, key by key;
// null takes a key away, and an empty overlay leaves the function's own. Its
// versions stay what they are: those that are loaded go on with the new
// configuration, and invocations under way end with the one that they began
// with. A function that is not there gets it when it comes.
//
// A value of another type than the manifest's is refused, and nothing changes. A
// key that the manifest does not name is handed to the function, which may read
// it.
func (r *Registry) Configure(ctx context.Context, name string, overlay []byte) error {
	r.change.Lock()
	defer r.change.Unlock()
	if _, err := parseOverlay(overlay); err != nil {
		return admin.Refusal(fmt.Errorf("config of %s: %w", name, err))
	}
	before := r.overlayOf(name)
	r.setOverlay(name, overlay)
	if err := r.reconfigure(ctx, name, overlay); err != nil {
		r.setOverlay(name, before)
		return err
	}
	return nil
}

// Configured is a spec with the configuration that is laid over it.
func (r *Registry) Configured(spec function.Spec) (function.Spec, error) {
	return lay(spec, r.overlayOf(spec.Name))
}

func (r *Registry) overlayOf(name string) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.overlays[name]
}

func (r *Registry) setOverlay(name string, overlay []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.overlays[name] = bytes.Clone(overlay); len(overlay) == 0 {
		delete(r.overlays, name)
	}
}

// reconfigure makes the loaded versions of a function anew, of code that is
// compiled already. All of them can run before the first does.
func (r *Registry) reconfigure(ctx context.Context, name string, overlay []byte) error {
	live, err := r.get(name)
	if err != nil || live.broken != nil || bytes.Equal(live.overlay, overlay) {
		return nil //nolint:nilerr // what does not run gets it when it does
	}
	r.mu.Lock()
	old := map[int]*deployment{live.version.Number: live}
	maps.Copy(old, r.others[name])
	aliases := r.aliases[name]
	r.mu.Unlock()
	next := map[int]*deployment{}
	for number, was := range old {
		_, b, err := r.stored(ctx, name, number)
		if err == nil {
			next[number], err = r.compile(ctx, b, was.version)
		}
		if err != nil {
			delete(next, number)
			r.discard(slices.Collect(maps.Values(next)))
			return err
		}
		next[number].deployed = was.deployed
	}
	defer giveBack()
	for number, d := range next {
		if number != live.version.Number {
			r.keep(d)
		}
	}
	return r.swap(ctx, next[live.version.Number], aliases)
}

// swap has the same versions run, made anew. Nothing else happens that happens
// when a version goes live: no retained message is told again.
func (r *Registry) swap(ctx context.Context, d *deployment, aliases []store.Alias) error {
	if err := r.direct(ctx, d, aliases); err != nil {
		return err
	}
	if err := r.deps.Triggers.Set(triggerFunction(&d.spec, d.version.Number)); err != nil {
		return err
	}
	if r.deps.Routes != nil {
		r.deps.Routes.Set(&d.spec)
	}
	return nil
}

func parseOverlay(overlay []byte) (map[string]any, error) {
	if len(overlay) == 0 {
		return nil, nil
	}
	var values map[string]any
	if err := json.Unmarshal(overlay, &values); err != nil {
		return nil, fmt.Errorf("it is no JSON object: %w", err)
	}
	return values, nil
}

// lay is a spec whose config has an overlay laid over it.
func lay(spec function.Spec, overlay []byte) (function.Spec, error) {
	values, err := parseOverlay(overlay)
	if err != nil || len(values) == 0 {
		return spec, err
	}
	var faults []error
	config := maps.Clone(spec.Config)
	if config == nil {
		config = map[string]any{}
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		v, own := values[key], spec.Config[key]
		switch {
		case v == nil:
			delete(config, key)
		case own != nil && kindOf(v) != kindOf(own):
			faults = append(faults, fmt.Errorf("%s: config.%s is a %s in the manifest, and a %s here", spec.Name, key, kindOf(own), kindOf(v)))
		default:
			config[key] = v
		}
	}
	if len(faults) > 0 {
		return spec, fmt.Errorf("%w: %w", errMisfit, errors.Join(faults...))
	}
	spec.Config = config
	return spec, nil
}

// kindOf is the type of a value in JSON.
func kindOf(v any) string {
	switch v.(type) {
	case bool:
		return "boolean"
	case string:
		return "string"
	case []any:
		return "list"
	case map[string]any:
		return "object"
	}
	return "number"
}

// configured says which keys of a deployment's config are not its manifest's.
func (d *deployment) configured() (keys []string) {
	values, err := parseOverlay(d.overlay)
	if err != nil {
		return nil
	}
	for key, v := range values {
		if v == nil {
			key += " (none)"
		}
		keys = append(keys, key)
	}
	slices.SortFunc(keys, strings.Compare)
	return keys
}

// State is a function as it runs, for whoever asks after all of them.
type State struct {
	Name, Digest string
	Version      int
	// Overlay is the configuration that is laid over its own.
	Overlay []byte
	Broken  error
}

// States are all functions, by name.
func (r *Registry) States() []State {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]State, 0, len(r.live))
	for name, d := range r.live {
		out = append(out, State{Name: name, Digest: d.version.Digest, Version: d.version.Number, Overlay: d.overlay, Broken: d.broken})
	}
	slices.SortFunc(out, func(a, b State) int { return strings.Compare(a.Name, b.Name) })
	return out
}
