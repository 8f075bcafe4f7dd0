package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	controllerapi "github.com/headgate-io/headgate/controller/api"
	controllerclient "github.com/headgate-io/headgate/controller/client"
	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/trigger"
	"github.com/headgate-io/headgate/sync/ota/keyring"
	"github.com/headgate-io/headgate/sync/ota/repository"
)

// fleetSystem is the name under which the gateway's own binary is deployed.
const fleetSystem = "system"

const fleetDeployHelp = `Build a project's functions, load each as a gateway loads it, sign what is not signed yet, and have
them run on the gateways that --to chooses, in waves: 1, 10, 50 and 100 per cent of them unless --waves
says otherwise. A wave that goes badly is rolled back with all before it, and the version beneath
counts again. What gateways would refuse is not signed.

With --target something that is signed already is deployed: another version, or, once the last
holder has signed, one that needed more signatures than yours. With --system it is the gateways' own
binary: the newest that is signed, the one of --version, or --binary, which is signed first.

--wait shows how it goes, and ends with 1 when it is rolled back. Without it, or when it is
interrupted, the deployment goes on by itself: 'headgate fleet deployments' shows it.`

// fleetDeploy is what 'headgate fleet deploy' is asked for.
type fleetDeploy struct {
	file, to, binary, version string
	only, targets             []string
	system, wait              bool
	strategy                  strategyFlags
}

func (a *app) fleetDeployCommand() *cobra.Command {
	var d fleetDeploy
	c := &cobra.Command{
		Use: "deploy", Short: "Have functions, or a gateway's binary, run on gateways, in waves", Long: fleetDeployHelp, Args: cobra.NoArgs,
		Example: "  headgate fleet deploy -f headgate.yaml --to 'site=north' --wait\n" +
			"  headgate fleet deploy --target functions/irrigate/0123456789abcdef.bundle --to 'site=north' --waves 100",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := d.check(cmd); err != nil {
				return usageError{err}
			}
			return a.withFleet(func(c *controllerclient.Client) error {
				if err := a.checkChosen(cmd.Context(), c, d.to, d.system); err != nil {
					return err
				}
				list, err := a.whatToDeploy(cmd.Context(), c, &d)
				if err != nil {
					return err
				}
				return a.deployAll(cmd.Context(), c, list, d.wait)
			})
		},
	}
	f := c.Flags()
	f.StringVarP(&d.file, "file", "f", "headgate.yaml", "the project: its headgate.yaml, or the folder that holds it")
	f.StringArrayVar(&d.only, "only", nil, "deploy this function of the project only; may be repeated")
	f.StringArrayVar(&d.targets, "target", nil, "deploy this signed target, as 'headgate fleet targets' lists it; may be repeated")
	f.BoolVar(&d.system, "system", false, "deploy the gateways' own binary")
	f.StringVar(&d.binary, "binary", "", "with --system: sign this binary first")
	f.StringVar(&d.version, "version", "", "with --system: the version that is deployed, or with --binary what people call it")
	d.strategy.register(c, &d.to, &d.wait)
	return c
}

func (d *fleetDeploy) check(cmd *cobra.Command) error {
	switch {
	case d.system && (len(d.targets) > 0 || len(d.only) > 0 || cmd.Flags().Changed("file")):
		return errors.New("--system goes without --file, --only and --target")
	case !d.system && (d.binary != "" || d.version != ""):
		return errors.New("--binary and --version go with --system")
	case d.binary != "" && d.version == "":
		return errors.New("--binary goes with --version: what people call it")
	case len(d.targets) > 0 && (len(d.only) > 0 || cmd.Flags().Changed("file")):
		return errors.New("--target names what is signed already: it goes without --file and --only")
	}
	return nil
}

// strategyFlags say how a deployment spreads; what is not given the controller
// decides.
type strategyFlags struct {
	cmd                               *cobra.Command
	waves                             []float64
	soak, deadline, silent            function.Duration
	unhealthy, errors, crashes, worse float64
	sample, faults                    int64
}

func (s *strategyFlags) register(c *cobra.Command, to *string, wait *bool) {
	s.cmd = c
	f := c.Flags()
	f.StringVar(to, "to", "", "the gateways with these labels, as site=north,batch!=7,!retired; all without it")
	f.BoolVar(wait, "wait", false, "show how it goes until it has ended; 1 when it was rolled back")
	f.Float64SliceVar(&s.waves, "waves", nil, "per cent of the gateways after each wave, as 1,10,100")
	f.Lookup("waves").DefValue = "" // help says [] otherwise
	f.Var(durationFlag{&s.soak}, "soak", "how long a wave is watched after its gateways have it (10m)")
	f.Var(durationFlag{&s.deadline}, "deadline", "how long the gateways of a wave may take (24h)")
	f.Var(durationFlag{&s.silent}, "silent", "after how long without a word a gateway counts as unhealthy (1h)")
	f.Int64Var(&s.sample, "sample", 0, "how many events a wave's gateways must have had (20)")
	f.Float64Var(&s.unhealthy, "unhealthy", 0, "which part of a wave's gateways may be unhealthy, in per cent (10)")
	f.Float64Var(&s.errors, "errors", 0, "by how many points the part of events that fail may grow (5)")
	f.Float64Var(&s.crashes, "crashes", 0, "the same for those in which the code itself breaks (1)")
	f.Float64Var(&s.worse, "slower", 0, "how many times as long an event may take (3)")
	f.Int64Var(&s.faults, "faults", 0, "how many faults of actuators a wave may have (0)")
}

// strategy is what was given.
func (s *strategyFlags) strategy() (out controllerapi.NewStrategy) {
	given := s.cmd.Flags().Changed
	seconds := func(name string, d function.Duration) *int64 {
		if !given(name) {
			return nil
		}
		return new(int64(time.Duration(d).Seconds()))
	}
	out.Waves = s.waves
	out.Soak, out.Deadline, out.Silent = seconds("soak", s.soak), seconds("deadline", s.deadline), seconds("silent", s.silent)
	for name, set := range map[string]func(){
		"sample":    func() { out.Gate.Sample = &s.sample },
		"unhealthy": func() { out.Gate.Unhealthy = &s.unhealthy },
		"errors":    func() { out.Gate.Errors = &s.errors },
		"crashes":   func() { out.Gate.Crashes = &s.crashes },
		"slower":    func() { out.Gate.Slower = &s.worse },
		"faults":    func() { out.Gate.Faults = &s.faults },
	} {
		if given(name) {
			set()
		}
	}
	return out
}

// whatToDeploy are the deployments to make, signed where that was asked for.
func (a *app) whatToDeploy(ctx context.Context, c *controllerclient.Client, d *fleetDeploy) ([]controllerapi.NewDeployment, error) {
	switch {
	case d.system:
		targets, err := a.systemTargets(ctx, c, d)
		return []controllerapi.NewDeployment{{Function: fleetSystem, Targets: targets, Selector: d.to, Strategy: d.strategy.strategy()}}, err
	case len(d.targets) > 0:
		return d.ofTargets(ctx, c)
	}
	dir := d.file
	if filepath.Base(dir) == "headgate.yaml" {
		dir = filepath.Dir(dir)
	}
	p, err := openProject(dir)
	if err != nil {
		return nil, err
	}
	for _, l := range trigger.Loops(p.manifest.Functions) {
		fmt.Fprintf(a.err, "warning: %s\n", l)
	}
	all, err := a.makeFunctions(ctx, p, d.only, nil)
	if err != nil {
		return nil, err
	}
	targets, err := a.signMissing(ctx, c, all)
	if err != nil {
		return nil, err
	}
	var out []controllerapi.NewDeployment
	for _, name := range trigger.Order(p.manifest.Functions) { // those that take work from others before these
		if target := targets[name]; target != "" {
			out = append(out, controllerapi.NewDeployment{Function: name, Targets: []string{target}, Selector: d.to, Strategy: d.strategy.strategy()})
		}
	}
	return out, nil
}

// signMissing publishes what is not signed yet, under no alias, and returns the
// target of each function.
func (a *app) signMissing(ctx context.Context, c *controllerclient.Client, all []made) (map[string]string, error) {
	signed, err := controllerclient.All[controllerapi.Target](ctx, c, "/v1/targets", nil)
	if err != nil {
		return nil, err
	}
	targets := map[string]string{}
	var missing []made
	for _, m := range all {
		i := slices.IndexFunc(signed, func(t controllerapi.Target) bool {
			return t.Function == m.release.Function && t.Digest == m.release.Digest
		})
		if i < 0 {
			missing = append(missing, m)
			continue
		}
		targets[m.release.Function] = signed[i].Name
	}
	if len(missing) == 0 {
		return targets, nil
	}
	names, err := a.signNow(ctx, missing)
	for i, m := range missing {
		if err == nil {
			targets[m.release.Function] = names[i]
		}
	}
	return targets, err
}

// signNow publishes, and refuses to go on where signatures of others are needed.
func (a *app) signNow(ctx context.Context, all []made) (names []string, err error) {
	report, err := a.handOver(ctx, func(r *repository.Repository, _ keyring.Ring) error {
		added, err := a.addAll(r, all)
		names = names[:0]
		for _, t := range added {
			names = append(names, t.Name)
		}
		return err
	})
	if err == nil && !report.published {
		err = fmt.Errorf("%s; then: headgate fleet deploy --target %s", moreSigns, strings.Join(names, " --target "))
	}
	return names, err
}

// ofTargets deploys what is signed already.
func (d *fleetDeploy) ofTargets(ctx context.Context, c *controllerclient.Client) (out []controllerapi.NewDeployment, err error) {
	signed, err := controllerclient.All[controllerapi.Target](ctx, c, "/v1/targets", nil)
	if err != nil {
		return nil, err
	}
	for _, name := range d.targets {
		i := slices.IndexFunc(signed, func(t controllerapi.Target) bool { return t.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("no target %s is signed: 'headgate fleet targets' lists what is", name)
		}
		fn := signed[i].Function
		if signed[i].Kind == fleetSystem {
			fn = fleetSystem
		}
		if n := slices.IndexFunc(out, func(o controllerapi.NewDeployment) bool { return o.Function == fn }); n >= 0 {
			out[n].Targets = append(out[n].Targets, name)
			continue
		}
		out = append(out, controllerapi.NewDeployment{Function: fn, Targets: []string{name}, Selector: d.to, Strategy: d.strategy.strategy()})
	}
	return out, nil
}

// systemTargets are the binaries to deploy, the newest of each architecture.
func (a *app) systemTargets(ctx context.Context, c *controllerclient.Client, d *fleetDeploy) ([]string, error) {
	if d.binary != "" {
		all, err := madeBinary(d.binary, d.version, nil)
		if err != nil {
			return nil, err
		}
		return a.signNow(ctx, all)
	}
	signed, err := controllerclient.All[controllerapi.Target](ctx, c, "/v1/targets", url.Values{"function": {fleetSystem}})
	if err != nil {
		return nil, err
	}
	newest := map[string]controllerapi.Target{}
	for _, t := range signed {
		if old, there := newest[t.Arch]; d.version != "" && t.Version != d.version || there && old.Published.After(t.Published) {
			continue
		}
		newest[t.Arch] = t
	}
	if len(newest) == 0 {
		return nil, errors.New("no such binary is signed: --binary FILE --version VERSION signs one")
	}
	var out []string
	for _, t := range newest {
		out = append(out, t.Name)
	}
	slices.Sort(out)
	return out, nil
}

// deployAll makes deployments, and waits for them if that was asked for.
func (a *app) deployAll(ctx context.Context, c *controllerclient.Client, list []controllerapi.NewDeployment, wait bool) error {
	made := []controllerapi.Deployment{}
	for _, n := range list {
		var d controllerapi.Deployment
		if err := c.Do(ctx, http.MethodPost, "/v1/deployments", n, &d); err != nil {
			return fmt.Errorf("deploy %s: %w", n.Function, err)
		}
		made = append(made, d)
		if !a.json {
			fmt.Fprintln(a.out, deploymentBegun(&d))
		}
	}
	var err error
	if wait {
		err = a.awaitDeployments(ctx, c, made)
	}
	if a.json {
		return errors.Join(a.printJSON(made), err)
	}
	return err
}

func deploymentBegun(d *controllerapi.Deployment) string {
	what := strings.Join(d.Targets, " ")
	if len(d.Targets) == 0 {
		what = "removed"
	}
	to := "all gateways"
	if d.Selector != "" {
		to = d.Selector
	}
	line := fmt.Sprintf("deployment %s: %s is %s on %s, %s", d.ID, d.Function, what, to, counted(d.Progress.Chosen, "gateway"))
	if len(d.Targets) > 0 {
		line = fmt.Sprintf("deployment %s: %s goes to %s, %s", d.ID, what, to, counted(d.Progress.Chosen, "gateway"))
	}
	if d.Progress.Chosen == 0 {
		line += "\nit chooses no gateway yet: it waits for the first; where that is not meant: headgate fleet deployment abort " + d.ID
	}
	return line
}

// pollEvery is how often a controller is asked how far something is.
const pollEvery = 500 * time.Millisecond

// awaitDeployments shows how deployments go until all have ended, and fails where
// one was not done.
func (a *app) awaitDeployments(ctx context.Context, c *controllerclient.Client, list []controllerapi.Deployment) error {
	said := make([]string, len(list))
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		open := false
		for i := range list {
			if ended(&list[i]) && said[i] != "" {
				continue
			}
			var d controllerapi.Deployment // a fresh one: what an answer leaves out is over
			if err := c.Do(ctx, http.MethodGet, "/v1/deployments/"+list[i].ID, nil, &d); err != nil {
				return err
			}
			list[i] = d
			open = open || !ended(&list[i])
			if line := deploymentLine(&list[i]); line != said[i] {
				said[i] = line
				fmt.Fprintln(a.err, line)
			}
		}
		if !open {
			return notDone(list)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func ended(d *controllerapi.Deployment) bool {
	return d.State != "running" && d.State != "paused"
}

func notDone(list []controllerapi.Deployment) error {
	var faults []error
	for i := range list {
		if d := &list[i]; d.State != "done" {
			faults = append(faults, fmt.Errorf("deployment %s of %s was %s: %s", d.ID, d.Function, d.State, d.Reason))
		}
	}
	return errors.Join(faults...)
}

// deploymentLine is how far a deployment is.
func deploymentLine(d *controllerapi.Deployment) string {
	p := &d.Progress
	line := fmt.Sprintf("%s  %s  wave %d of %d  live on %d of %d", d.Function, d.State, d.Wave, d.Waves, p.Live, p.Chosen)
	if p.Pending > 0 {
		line += fmt.Sprintf(", %d under way", p.Pending)
	}
	if p.Unhealthy > 0 {
		line += fmt.Sprintf(", %d unhealthy", p.Unhealthy)
	}
	if p.Exempt > 0 {
		line += fmt.Sprintf(", not for %d more", p.Exempt)
	}
	if d.Reason != "" {
		line += "  (" + d.Reason + ")"
	}
	return line
}

func (a *app) fleetRemoveCommand() *cobra.Command {
	var to string
	var wait bool
	var s strategyFlags
	c := &cobra.Command{
		Use: "remove FUNCTION", Aliases: []string{"rm"}, Short: "Take a function away from gateways, in waves", Args: cobra.ExactArgs(1),
		Long: "Take a function away from the gateways that --to chooses, in waves. It is a deployment like any other: aborting it brings\n" +
			"the function back.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withFleet(func(c *controllerclient.Client) error {
				if err := a.checkRemoved(cmd.Context(), c, args[0]); err != nil {
					return err
				}
				if err := a.checkChosen(cmd.Context(), c, to, false); err != nil {
					return err
				}
				if err := a.noteWithout(cmd.Context(), c, args[0], to); err != nil {
					return err
				}
				n := controllerapi.NewDeployment{Function: args[0], Selector: to, Strategy: s.strategy()}
				return a.deployAll(cmd.Context(), c, []controllerapi.NewDeployment{n}, wait)
			})
		},
	}
	s.register(c, &to, &wait)
	return c
}
