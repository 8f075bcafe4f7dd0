package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/admin/client"
	"github.com/headgate-io/headgate/gateway/trigger"
	"github.com/headgate-io/headgate/sync/bundle"
)

const projectHelp = "PROJECT is the folder that holds headgate.yaml; it is the current one when it is left out."

func (a *app) deployCommand() *cobra.Command {
	var only []string
	var o api.DeployOptions
	c := &cobra.Command{
		Use: "deploy [PROJECT]", Short: "Build, sign and deploy a project's functions", Args: cobra.MaximumNArgs(1),
		Long: "Build a project's functions, sign them with the author's key and make them live.\n" +
			"Events under way finish on the version they started on; none is dropped or run twice.\n\n" + projectHelp,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			if o.Percent != 0 && o.Alias == "" {
				return usageError{errors.New("--percent goes with --alias, which names what gets that part of the traffic")}
			}
			if o.Percent < 0 || o.Percent >= 100 {
				return usageError{fmt.Errorf("--percent %v: a part of the traffic is more than 0 and less than 100", o.Percent)}
			}
			tell := func(d api.Deployed) {
				if !a.json {
					a.printDeployed(d, o.Alias)
				}
			}
			done, err := a.deploy(cmd.Context(), c, projectDir(args), only, o, tell)
			if a.json {
				return errors.Join(a.printJSON(done), err)
			}
			return err
		},
	}
	c.Flags().StringArrayVar(&only, "only", nil, "deploy this function only; may be repeated")
	c.Flags().StringVar(&o.Alias, "alias", "", "point this alias to the new version, and leave live where it is")
	c.Flags().Float64Var(&o.Percent, "percent", 0, "with --alias: the part of the traffic that the new version gets")
	return c
}

func projectDir(args []string) string {
	if len(args) == 0 {
		return "."
	}
	return args[0]
}

// deploy builds the project's functions, and then sends them one by one, those
// that take work from others before these; what
// the gateway took before it refused one stays deployed and is returned with
// the fault. tell hears of each at once.
func (a *app) deploy(ctx context.Context, c *client.Client, dir string, only []string, o api.DeployOptions, tell func(api.Deployed)) ([]api.Deployed, error) {
	done := []api.Deployed{}
	p, err := openProject(dir)
	if err != nil {
		return done, err
	}
	for _, l := range trigger.Loops(p.manifest.Functions) {
		fmt.Fprintf(a.err, "warning: %s\n", l)
	}
	names, err := p.names(only)
	if err != nil {
		return done, err
	}
	names = slices.DeleteFunc(trigger.Order(p.manifest.Functions), func(name string) bool { return !slices.Contains(names, name) })
	key, err := a.authorKey()
	if err != nil {
		return done, err
	}
	bundles := make([][]byte, len(names))
	for i, name := range names {
		spec, files, err := p.build(ctx, name)
		if err != nil {
			return done, err
		}
		if bundles[i], err = bundle.Pack(spec, files, key); err != nil {
			return done, err
		}
	}
	for i, name := range names {
		raw := bundles[i]
		var d api.Deployed
		if err := c.Do(ctx, http.MethodPost, deployPath(o), raw, &d); err != nil {
			return done, fmt.Errorf("deploy %s: %w", name, err)
		}
		done = append(done, d)
		tell(d)
	}
	return done, nil
}

func (a *app) printDeployed(d api.Deployed, alias string) {
	fmt.Fprintln(a.out, deployedLine(d, alias))
	for _, s := range d.MissingSecrets {
		fmt.Fprintf(a.err, "note: secret %s of %s is not set: headgate secret set %s %s\n", s, d.Name, d.Name, s)
	}
	a.noteAbsent(&d)
}

// noteAbsent tells of sensors and actuators that a function names and the gateway
// does not have.
func (a *app) noteAbsent(d *api.Deployed) {
	for _, s := range d.Absent {
		kind, _, _ := strings.Cut(s, " ")
		fmt.Fprintf(a.err, "note: %s names %s, which this gateway does not have: 'headgate %s list' shows what it has\n", d.Name, s, kind)
	}
}

func deployPath(o api.DeployOptions) string {
	if o.Alias == "" {
		return "/v1/functions"
	}
	return "/v1/functions?" + url.Values{"alias": {o.Alias}, "percent": {strconv.FormatFloat(o.Percent, 'f', -1, 64)}}.Encode()
}

// authorKey reads the key that the author's bundles are signed with, and makes
// it the first time.
func (a *app) authorKey() (ed25519.PrivateKey, error) {
	file, err := authorKeyPath()
	if err != nil {
		return nil, err
	}
	key, created, err := bundle.AuthorKey(file)
	if err != nil {
		return nil, fmt.Errorf("%w; HEADGATE_HOME names another folder for it", err)
	}
	if created {
		fmt.Fprintf(a.err, "made your author key: %s. Keep a copy: gateways that know it refuse others.\n", file)
	}
	return key, nil
}

// deployedLine says what became of a deployment under an alias, if any was given.
func deployedLine(d api.Deployed, alias string) string {
	line := fmt.Sprintf("%s@%d is live", d.Name, d.Version)
	if d.Alias != "" {
		line = fmt.Sprintf("%s@%d is %s", d.Name, d.Version, d.Alias)
	}
	if d.Percent != 0 {
		line += fmt.Sprintf(" and gets %v%% of the traffic", d.Percent)
	}
	if !d.Changed {
		line = fmt.Sprintf("%s@%d was live already", d.Name, d.Version)
		if alias != "" {
			line += ", nothing is new for " + alias
		}
	}
	for _, t := range d.Triggers {
		line += "  " + t
	}
	if d.Pinned {
		line += "\nthe gateway now takes functions from your key only: " + d.Author
	}
	return line
}
