package main

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	controllerapi "github.com/headgate-io/headgate/controller/api"
	controllerclient "github.com/headgate-io/headgate/controller/client"
)

func (a *app) fleetDeploymentsCommand() *cobra.Command {
	var fn string
	c := &cobra.Command{
		Use: "deployments", Short: "List the deployments, newest first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			query := url.Values{}
			if fn != "" {
				query.Set("function", fn)
			}
			const none = "Nothing was deployed yet. Deploy something: headgate fleet deploy"
			return fleetList(a, cmd, "/v1/deployments", query, none, "DEPLOYMENT FUNCTION TARGET TO STATE WAVE LIVE UNHEALTHY CREATED", func(d *controllerapi.Deployment) []any {
				p := &d.Progress
				return []any{
					d.ID, d.Function, deployed(d), everywhere(d.Selector), d.State, fmt.Sprintf("%d/%d", d.Wave, d.Waves), fmt.Sprintf("%d/%d", p.Live, p.Chosen), p.Unhealthy, day(d.Created),
				}
			})
		},
	}
	c.Flags().StringVar(&fn, "function", "", "of this function, or system")
	return c
}

// deployed is what a deployment brings.
func deployed(d *controllerapi.Deployment) string {
	if len(d.Targets) == 0 {
		return "(removed)"
	}
	return strings.Join(d.Targets, ",")
}

// secondsText is a time as people write it: 24h, 10m, 90s.
func secondsText(n int64) string {
	text := (time.Duration(n) * time.Second).String()
	if short, ok := strings.CutSuffix(text, "m0s"); ok {
		text = short + "m"
	}
	if short, ok := strings.CutSuffix(text, "h0m"); ok {
		text = short + "h"
	}
	return text
}

// everywhere is a selector for eyes.
func everywhere(selector string) string {
	if selector == "" {
		return "(all)"
	}
	return selector
}

func (a *app) fleetDeploymentCommand() *cobra.Command {
	c := &cobra.Command{Use: "deployment", Short: "Show, pause, resume or abort one deployment"}
	var every bool
	show := &cobra.Command{
		Use: "show ID", Short: "Show a deployment: what it does now, what is next, and its gateways", Args: cobra.ExactArgs(1),
		Long: "Show a deployment: what it does now, what is next and what to type, what has happened in it, and its gateways, those\n" +
			"that are unhealthy first.",
		RunE: func(cmd *cobra.Command, args []string) error { return a.showDeployment(cmd, args[0], every) },
	}
	show.Flags().BoolVar(&every, "all", false, fmt.Sprintf("every gateway; %d otherwise", shownGateways))
	c.AddCommand(show)
	for _, v := range []struct{ verb, short string }{
		{"pause", "Let no further wave begin; what goes badly is still rolled back"},
		{"resume", "Go on after a pause"},
		{"abort", "Take it back from the gateways that it has reached: what lies beneath counts again"},
	} {
		c.AddCommand(&cobra.Command{
			Use: v.verb + " ID", Short: v.short, Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				return fleetDo(a, cmd, http.MethodPost, "/v1/deployments/"+url.PathEscape(args[0])+"/"+v.verb, nil, func(d *controllerapi.Deployment) { fmt.Fprintln(a.out, deploymentLine(d)) })
			},
		})
	}
	return c
}

// shownDeployment is a deployment with all that belongs to it.
type shownDeployment struct {
	controllerapi.Deployment
	Steps    []controllerapi.DeploymentStep    `json:"steps"`
	Gateways []controllerapi.DeploymentGateway `json:"gateways"`
}

func (a *app) showDeployment(cmd *cobra.Command, id string, every bool) error {
	return a.withFleet(func(c *controllerclient.Client) (err error) {
		var d shownDeployment
		path := "/v1/deployments/" + url.PathEscape(id)
		if err := c.Do(cmd.Context(), http.MethodGet, path, nil, &d.Deployment); err != nil {
			return err
		}
		if d.Steps, err = controllerclient.All[controllerapi.DeploymentStep](cmd.Context(), c, path+"/steps", nil); err != nil {
			return err
		}
		if d.Gateways, err = controllerclient.All[controllerapi.DeploymentGateway](cmd.Context(), c, path+"/gateways", nil); err != nil {
			return err
		}
		if a.json {
			return a.printJSON(d)
		}
		return a.printDeployment(&d, every)
	})
}

// gatewayStands is how it stands with a gateway, for eyes.
func gatewayStands(d *controllerapi.Deployment, state string) string {
	switch {
	case state == "exempt":
		return "not for this gateway"
	case state == "waiting" && ended(d) && d.State != "done":
		return "not reached"
	}
	return state
}

// shownGateways is how many gateways of a deployment fit a screen.
const shownGateways = 20

func (a *app) printDeployment(d *shownDeployment, every bool) error {
	fmt.Fprintf(a.out, "deployment  %s\nfunction    %s\ntarget      %s\nto          %s\ncreated     %s by %s\n",
		d.ID, d.Function, deployed(&d.Deployment), everywhere(d.Selector), day(d.Created), d.CreatedBy)
	s, p := &d.Strategy, &d.Progress
	waves := strings.ReplaceAll(strings.Trim(fmt.Sprint(s.Waves), "[]"), " ", ", ")
	fmt.Fprintf(a.out, "waves       %s %%, each watched for %s, done within %s\n", waves, secondsText(s.Soak), secondsText(s.Deadline))
	fmt.Fprintf(a.out, "gateways    %d chosen, %d reached: %d live, %d under way, %d unhealthy (%g %% may be)", p.Chosen, p.Reached, p.Live, p.Pending, p.Unhealthy, s.Gate.Unhealthy)
	if p.Exempt > 0 {
		fmt.Fprintf(a.out, "; not for %d more", p.Exempt)
	}
	fmt.Fprintln(a.out)
	if p.New.Invocations > 0 {
		fmt.Fprintf(a.out, "events      %d with it, %d failed, %d broke; %d before, %d failed, %d broke\n",
			p.New.Invocations, p.New.Failures, p.New.Crashes, p.Old.Invocations, p.Old.Failures, p.Old.Crashes)
	}
	fmt.Fprintf(a.out, "state       %s\n", stands(d))
	for _, l := range ahead(d) {
		fmt.Fprintf(a.out, "%-11s %s\n", l[0], l[1])
	}
	fmt.Fprintln(a.out)
	for _, x := range d.Steps {
		fmt.Fprintf(a.out, "%s  %s\n", day(x.At), x.Note)
	}
	return a.printDeploymentGateways(d, every)
}

// stands is what a deployment does now, and why.
func stands(d *shownDeployment) string {
	text := d.State
	if !ended(&d.Deployment) && d.Wave > 0 {
		text += fmt.Sprintf(", wave %d of %d", d.Wave, d.Waves)
	}
	if d.Reason != "" {
		text += ": " + d.Reason
	}
	return text
}

// ahead is what is next in a deployment, and what may be typed: each line with
// its label.
func ahead(d *shownDeployment) (lines [][2]string) {
	verb := func(verb, what string) [2]string {
		return [2]string{"", fmt.Sprintf("headgate fleet deployment %-7s %s  %s", verb, d.ID, what)}
	}
	switch d.State {
	case "running":
		next := "it is done when this wave has ended well"
		if d.Wave < d.Waves && d.Wave < len(d.Strategy.Waves) {
			next = fmt.Sprintf("wave %d of %d, to %g %% of the gateways, when this one has ended well", d.Wave+1, d.Waves, d.Strategy.Waves[d.Wave])
		}
		if d.Wave > 0 {
			latest := d.WaveBegan.Add(time.Duration(d.Strategy.Deadline+d.Strategy.Soak) * time.Second)
			next += "; by " + day(latest) + " at the latest, or it is rolled back"
		} else if d.Progress.Chosen == 0 {
			next = fmt.Sprintf("wave 1 of %d, when a gateway has such labels", d.Waves)
		}
		lines = append(lines, [2]string{"next", next}, verb("pause", "lets no further wave begin"), verb("abort", "takes it back everywhere"))
	case "paused":
		lines = append(lines, [2]string{"next", "nothing until somebody says so; what goes badly is still rolled back"}, verb("resume", "goes on"), verb("abort", "takes it back everywhere"))
	case "rolled back", "aborted":
		lines = append(lines, [2]string{"next", "nothing: what was there before runs again. Mend it, and deploy again"})
	}
	for i := range d.Gateways {
		if g := &d.Gateways[i]; g.State == "unhealthy" {
			lines = append(lines, [2]string{"", "headgate fleet state " + g.Name + "  says more of it"})
			if d.Function != fleetSystem {
				lines = append(lines, [2]string{"", "headgate fleet logs " + g.Name + " " + d.Function + "  asks for its log"})
			}
			break // the others alike
		}
	}
	for i := range lines {
		if lines[i][0] == "" && (i == 0 || lines[i-1][0] == "next") {
			lines[i][0] = "type"
		}
	}
	return lines
}

// printDeploymentGateways lists gateways, those first that somebody has to look
// at.
func (a *app) printDeploymentGateways(d *shownDeployment, every bool) error {
	fmt.Fprintln(a.out)
	if len(d.Gateways) == 0 {
		fmt.Fprintln(a.out, "It chooses no gateway yet: it waits for the first.")
		return nil
	}
	order := []string{"unhealthy", "pending", "live", "waiting", "exempt"}
	list := slices.Clone(d.Gateways)
	slices.SortStableFunc(list, func(x, y controllerapi.DeploymentGateway) int {
		return cmp.Compare(slices.Index(order, x.State), slices.Index(order, y.State))
	})
	left := 0
	if !every && len(list) > shownGateways {
		left = len(list) - shownGateways
		list = list[:shownGateways]
	}
	err := table(a.out, "GATEWAY WAVE STATE NOTE", func(row func(...any)) {
		for i := range list {
			g := &list[i]
			row(g.Name, g.Wave, gatewayStands(&d.Deployment, g.State), firstLine(g.Note))
		}
	})
	if left > 0 {
		fmt.Fprintf(a.out, "and %s more: --all lists them\n", counted(left, "gateway"))
	}
	return err
}
