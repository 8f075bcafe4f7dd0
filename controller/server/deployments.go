package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/headgate-io/headgate/controller/api"
	"github.com/headgate-io/headgate/controller/fleet"
	"github.com/headgate-io/headgate/controller/label"
	"github.com/headgate-io/headgate/controller/store"
	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sync/ota"
)

// DeploymentPath names a deployment.
type DeploymentPath struct {
	Deployment string `path:"deployment" maxLength:"64"`
}

func (s *Server) deployments() {
	create := op("create-deployment", http.MethodPost, "/v1/deployments", "Have a signed target run on the gateways that a selector chooses, or a function removed from them")
	create.DefaultStatus = http.StatusCreated
	change(s, create, writeFleet, s.createDeployment)
	read(s, op("list-deployments", http.MethodGet, "/v1/deployments", "List the deployments, newest first"), readFleet, s.listDeployments)
	read(s, op("get-deployment", http.MethodGet, "/v1/deployments/{deployment}", "Show a deployment and how far it is"), readFleet,
		func(ctx context.Context, tx *store.Tx, w *who, in *DeploymentPath) (api.Deployment, error) {
			d, err := tx.DeploymentOf(ctx, w.tenant(), in.Deployment)
			if err != nil {
				return api.Deployment{}, err
			}
			return s.apiDeployment(ctx, tx, d)
		})
	read(s, op("list-deployment-steps", http.MethodGet, "/v1/deployments/{deployment}/steps", "List what has happened in a deployment"), readFleet, s.listSteps)
	read(s, op("list-deployment-gateways", http.MethodGet, "/v1/deployments/{deployment}/gateways", "List the gateways that a deployment chooses, by name"), readFleet, s.listDeploymentGateways)
	s.steer("pause-deployment", "pause", "Let no further wave begin; what breaks the gate still rolls it back", func(d *store.Deployment) error {
		return become(d, store.Paused, store.Running)
	})
	s.steer("resume-deployment", "resume", "Go on after a pause", func(d *store.Deployment) error { return become(d, store.Running, store.Paused) })
	s.steer("abort-deployment", "abort", "Take it back from the gateways that it has reached: what lies beneath counts again", func(d *store.Deployment) error {
		return become(d, store.Aborted, store.Running, store.Paused)
	})
}

// become changes the state of a deployment that is in one of some.
func become(d *store.Deployment, to store.DeploymentState, from ...store.DeploymentState) error {
	if d.State == to {
		return nil
	}
	if !slices.Contains(from, d.State) {
		hint := ""
		if d.State == store.Done {
			hint = ": deploy what shall run in its place"
		}
		return huma.Error409Conflict(fmt.Sprintf("the deployment is %s%s", d.State, hint))
	}
	d.State = to
	return nil
}

// steer registers an operation on a deployment that is under way.
func (s *Server) steer(id, verb, summary string, fn func(*store.Deployment) error) {
	change(s, op(id, http.MethodPost, "/v1/deployments/{deployment}/"+verb, summary), writeFleet,
		func(ctx context.Context, tx *store.Tx, w *who, in *DeploymentPath) (out api.Deployment, e effect, err error) {
			if _, err := tx.DeploymentOf(ctx, w.tenant(), in.Deployment); err != nil {
				return out, e, err
			}
			if err := fleet.LockDeployment(ctx, tx, in.Deployment); err != nil {
				return out, e, err
			}
			d, err := tx.DeploymentOf(ctx, w.tenant(), in.Deployment)
			if err != nil {
				return out, e, err
			}
			before := d.State
			if err := fn(&d); err != nil {
				return out, e, err
			}
			if d.State != before {
				if err := s.steered(ctx, tx, w, &d); err != nil {
					return out, e, err
				}
			}
			out, err = s.apiDeployment(ctx, tx, d)
			return out, effect{"deployment." + verb, "deployment/" + d.ID, map[string]any{"state": before}, map[string]any{"state": d.State}}, err
		})
}

func (s *Server) steered(ctx context.Context, tx *store.Tx, w *who, d *store.Deployment) error {
	d.Reason = "by " + w.Account.Name
	if d.State == store.Aborted {
		d.Ended = s.deps.Now().UTC().Truncate(time.Microsecond)
	}
	if err := tx.SetDeployment(ctx, *d); err != nil {
		return err
	}
	if err := tx.AddStep(ctx, store.Step{Deployment: d.ID, At: s.deps.Now(), Wave: d.Wave, Note: string(d.State) + " " + d.Reason}); err != nil {
		return err
	}
	w.then = s.kick
	return tx.ChangeFleet(ctx, d.Tenant)
}

func (s *Server) kick(context.Context) { s.deps.Fleet.Kick() }

func (s *Server) createDeployment(ctx context.Context, tx *store.Tx, w *who, in *struct{ Body api.NewDeployment }) (out api.Deployment, e effect, err error) {
	selector, err := label.Parse(in.Body.Selector)
	if err != nil {
		return out, e, refusal(err.Error())
	}
	strategy, err := fleet.Complete(in.Body.Strategy)
	if err != nil {
		return out, e, refusal(err.Error())
	}
	targets, err := s.signed(w.tenant(), in.Body.Function, in.Body.Targets)
	if err != nil {
		return out, e, err
	}
	text, err := json.Marshal(strategy)
	if err != nil {
		return out, e, err
	}
	d := store.Deployment{
		Tenant: w.tenant(), Function: in.Body.Function, Targets: targets, Selector: selector.String(), Strategy: string(text), State: store.Running,
		Created: s.deps.Now().UTC().Truncate(time.Microsecond), CreatedBy: w.Account.Name, Waves: len(strategy.Waves),
	}
	if err := fleet.Count(ctx, tx, &d); err != nil {
		return out, e, err
	}
	if d.Chosen == 0 && d.Exempt > 0 {
		return out, e, refusal("selector: " + fleet.Nobody(d.Exempt))
	}
	if err := fleet.Deploy(ctx, tx, &d); err != nil {
		return out, e, err
	}
	w.then = s.kick
	out, err = s.apiDeployment(ctx, tx, d)
	return out, effect{"deployment.create", "deployment/" + d.ID, nil, out}, err
}

// signed are the targets of a deployment, which must be signed for what they are
// to be deployed as.
func (s *Server) signed(tenant, name string, names []string) ([]store.Target, error) {
	if name != fleet.System && !function.ValidName(name) {
		return nil, refusal(fmt.Sprintf("function: %q is neither a function's name nor %s", name, fleet.System))
	}
	if len(names) == 0 {
		if name == fleet.System {
			return nil, refusal("targets: the gateway's own binary cannot be removed: name a signed target for each architecture")
		}
		return []store.Target{}, nil
	}
	if name != fleet.System && len(names) > 1 {
		return nil, refusal("targets: a function has one")
	}
	all, err := s.deps.Targets(tenant)
	if err != nil {
		return nil, err
	}
	var out []store.Target
	for _, n := range names {
		i := slices.IndexFunc(all, func(t ota.Target) bool { return t.Name == n })
		if i < 0 {
			return nil, refusal(fmt.Sprintf("targets: %q is not signed in this tenant's repository, or was withdrawn: 'headgate fleet targets' lists what is, 'headgate publish' signs", n))
		}
		t := all[i]
		switch {
		case name == fleet.System && t.Kind != ota.System:
			return nil, refusal(fmt.Sprintf("targets: %q is the function %s, not a gateway's binary", n, t.Function))
		case name != fleet.System && t.Kind != ota.Function:
			return nil, refusal(fmt.Sprintf("targets: %q is a gateway's binary, not the function %s: deploy it as %s", n, name, fleet.System))
		case name != fleet.System && t.Function != name:
			return nil, refusal(fmt.Sprintf("targets: %q is signed as the function %s, not as %s", n, t.Function, name))
		case slices.ContainsFunc(out, func(o store.Target) bool { return o.Arch == t.Arch }):
			return nil, refusal(fmt.Sprintf("targets: two are for %s", t.Arch))
		}
		out = append(out, store.Target{Name: t.Name, SHA256: t.SHA256, Digest: t.Digest, Arch: t.Arch})
	}
	return out, nil
}

func (s *Server) listDeployments(ctx context.Context, tx *store.Tx, w *who, in *struct {
	Paging
	Function string `query:"function" maxLength:"64" doc:"All when left out"`
},
) (api.Page[api.Deployment], error) {
	return listed(in.Paging, func(p store.Page) ([]store.Deployment, error) {
		return tx.Deployments(ctx, w.tenant(), in.Function, p)
	}, func(d store.Deployment) string { return d.ID }, func(d store.Deployment) (api.Deployment, error) {
		return s.apiDeployment(ctx, tx, d)
	})
}

func (s *Server) apiDeployment(ctx context.Context, tx *store.Tx, d store.Deployment) (api.Deployment, error) {
	out := api.Deployment{
		ID: d.ID, Function: d.Function, Targets: []string{}, Selector: d.Selector, State: string(d.State), Reason: d.Reason, Created: d.Created,
		CreatedBy: d.CreatedBy, Ended: d.Ended, Wave: d.Wave, Waves: d.Waves, WaveBegan: d.WaveBegan, Progress: api.Progress{Chosen: d.Chosen, Exempt: d.Exempt},
	}
	for _, t := range d.Targets {
		out.Targets = append(out.Targets, t.Name)
	}
	var err error
	if out.Strategy, err = fleet.StrategyOf(d); err != nil {
		return out, err
	}
	var quiet time.Time // of what has ended, silence says nothing
	if d.State.Open() {
		quiet = s.deps.Now().Add(-seconds(out.Strategy.Silent))
	}
	tallies, err := tx.Tallies(ctx, d.ID, d.Wave, quiet)
	for _, t := range tallies {
		out.Progress.Reached += t.Count
		switch t.State {
		case store.GatewayLive:
			out.Progress.Live += t.Count - t.Quiet
			out.Progress.Unhealthy += t.Quiet
		case store.GatewayPending:
			out.Progress.Pending += t.Count - t.Quiet
			out.Progress.Unhealthy += t.Quiet
		default:
			out.Progress.Unhealthy += t.Count
		}
		add := func(c *api.EventCounts, inv, fail, crash, busy uint64) {
			c.Invocations, c.Failures, c.Crashes, c.BusyMicros = c.Invocations+inv, c.Failures+fail, c.Crashes+crash, c.BusyMicros+busy
		}
		add(&out.Progress.Old, t.Old.Invocations, t.Old.Failures, t.Old.Crashes, t.Old.Busy)
		add(&out.Progress.New, t.New.Invocations, t.New.Failures, t.New.Crashes, t.New.Busy)
	}
	out.Progress.Chosen = max(out.Progress.Chosen, out.Progress.Reached)
	return out, err
}

func (s *Server) listSteps(ctx context.Context, tx *store.Tx, w *who, in *struct {
	DeploymentPath
	Paging
},
) (api.Page[api.DeploymentStep], error) {
	return listed(in.Paging, func(p store.Page) ([]store.Step, error) {
		d, err := tx.DeploymentOf(ctx, w.tenant(), in.Deployment)
		if err != nil {
			return nil, err
		}
		return tx.Steps(ctx, d.ID, p)
	}, func(x store.Step) string { return x.ID }, shown(func(x store.Step) api.DeploymentStep {
		return api.DeploymentStep{At: x.At, Wave: x.Wave, Note: x.Note}
	}))
}

// listDeploymentGateways lists those that it has reached, and those that it
// chooses and has not.
func (s *Server) listDeploymentGateways(ctx context.Context, tx *store.Tx, w *who, in *struct {
	DeploymentPath
	Paging
},
) (api.Page[api.DeploymentGateway], error) {
	out := api.Page[api.DeploymentGateway]{Items: []api.DeploymentGateway{}}
	p, err := in.page()
	if err != nil {
		return out, err
	}
	d, err := tx.DeploymentOf(ctx, w.tenant(), in.Deployment)
	if err != nil {
		return out, err
	}
	strategy, err := fleet.StrategyOf(d)
	if err != nil {
		return out, err
	}
	matching, next, err := matchGateways(ctx, tx, w.tenant(), in.Paging, p, func(g store.Gateway) bool { return fleet.Chooses(d, g) })
	if err != nil {
		return out, err
	}
	out.Next = next
	reached, err := tx.ReachedOf(ctx, d.ID, ids(matching))
	if err != nil {
		return out, err
	}
	statuses, err := statusesOf(ctx, tx, w.tenant(), matching)
	if err != nil {
		return out, err
	}
	quiet := s.deps.Now().Add(-seconds(strategy.Silent))
	for _, g := range matching {
		item := api.DeploymentGateway{ID: g.ID, Name: g.Name, State: "waiting"}
		for _, r := range reached {
			if r.Gateway != g.ID {
				continue
			}
			item.Wave, item.State, item.Note = r.Wave, string(r.State), r.Note
			if d.State.Open() && r.State != store.GatewayUnhealthy && r.Seen.Before(quiet) && r.At.Before(quiet) {
				item.State, item.Note = string(store.GatewayUnhealthy), strings.TrimSuffix("silent since "+r.Seen.Format(time.RFC3339)+": "+r.Note, ": ")
			}
		}
		if said := statuses[g.ID]; said != nil && fleet.Exempt(d, said.FixedBinary) && item.State != string(store.GatewayUnhealthy) {
			item.Wave, item.State, item.Note = 0, "exempt", said.FixedBinary
		}
		out.Items = append(out.Items, item)
	}
	return out, nil
}

func ids(list []store.Gateway) []string {
	out := make([]string, len(list))
	for i, g := range list {
		out[i] = g.ID
	}
	return out
}

// matchGateways reads pages until enough gateways match, and says where the next
// page begins.
func matchGateways(ctx context.Context, tx *store.Tx, tenant string, in Paging, p store.Page, match func(store.Gateway) bool) ([]store.Gateway, string, error) {
	var matching []store.Gateway
	for len(matching) < p.Limit {
		list, err := tx.Gateways(ctx, tenant, p)
		if err != nil {
			return nil, "", err
		}
		for _, g := range list {
			if match(g) && len(matching) < p.Limit {
				matching = append(matching, g)
			}
		}
		if len(list) < p.Limit {
			break
		}
		p.After = list[len(list)-1].Name
	}
	matching, after := next(in, matching, func(g store.Gateway) string { return g.Name })
	return matching, after, nil
}
