package main

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway"
	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/sensors/actuate/guard"
)

func (a *app) actuatorCommand() *cobra.Command {
	c := &cobra.Command{Use: "actuator", Short: "Switch valves, pumps and lamps, and see what they are"}
	c.AddCommand(a.actuatorOnCommand(), a.actuatorOffCommand(), a.actuatorListCommand(), a.actuatorHistoryCommand())
	return c
}

func (a *app) actuatorOnCommand() *cobra.Command {
	var lease function.Duration
	var level string
	c := &cobra.Command{
		Use: "on NAME", Short: "Switch an actuator on for a time", Args: cobra.ExactArgs(1),
		Example: "  headgate actuator on valve-1 --for 10m\n  headgate actuator on fan --for 1h --level 40%",
		Long: "Switch an actuator on. It goes off by itself when the time is over, whatever happens until then; asking again\n" +
			"prolongs it, to max_on at most. Interlocks hold for operators too: the answer says what forbids it.",
		RunE: func(cmd *cobra.Command, args []string) error {
			value, err := parseLevel(level)
			if err != nil {
				return err
			}
			return a.actuate(cmd, args[0], api.ActuatorCommand{Value: value, Lease: lease.Std()})
		},
	}
	c.Flags().Var(durationFlag{&lease}, "for", "how long, as 90s, 10m or 2h (default the actuator's default_lease)")
	c.Flags().StringVar(&level, "level", "100%", "how far, of one that can be dimmed")
	return c
}

func parseLevel(text string) (float64, error) {
	number, percent := strings.CutSuffix(text, "%")
	v, err := strconv.ParseFloat(number, 64)
	if percent {
		v /= 100
	}
	if err != nil || math.IsNaN(v) || v <= 0 || v > 1 {
		return 0, fmt.Errorf("--level %q: write a percentage above 0%%, such as 40%%", text)
	}
	return v, nil
}

func (a *app) actuatorOffCommand() *cobra.Command {
	return &cobra.Command{
		Use: "off NAME...", Short: "Switch actuators off, and what requires them", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, name := range args {
				if err := a.actuate(cmd, name, api.ActuatorCommand{}); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func (a *app) actuate(cmd *cobra.Command, name string, c api.ActuatorCommand) error {
	var g api.ActuatorGrant
	if err := a.call(cmd, http.MethodPost, "/v1/actuators/"+url.PathEscape(name), c, &g); err != nil {
		return err
	}
	switch {
	case a.json:
		return a.printJSON(g)
	case g.Value == 0:
		fmt.Fprintf(a.out, "%s is off\n", g.Actuator)
	case c.Lease > 0 && g.Granted < c.Lease-time.Second:
		fmt.Fprintf(a.out, "%s is on for %v, until %s: more is not granted now\n", g.Actuator, g.Granted.Round(time.Second), g.Until.Local().Format(time.TimeOnly))
	default:
		fmt.Fprintf(a.out, "%s is on for %v, until %s\n", g.Actuator, g.Granted.Round(time.Second), g.Until.Local().Format(time.TimeOnly))
	}
	return nil
}

func (a *app) actuatorListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the actuators: what they are, for how long, and what is wrong", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var list []api.Actuator
			if err := a.call(cmd, http.MethodGet, "/v1/actuators", nil, &list); err != nil {
				return err
			}
			const none = "There is no actuator. Name one under actuators: in the configuration; docs/actuators.md has examples."
			return printList(a, list, none, "ACTUATOR WIRED STATE LEFT WHO 24H NOTE", func(x *api.Actuator) []any {
				state, left, used := x.State, "", x.Used.Round(time.Second).String()
				if x.State == "on" {
					left = x.Left.Round(time.Second).String()
					if x.Value < 1 {
						state = fmt.Sprintf("on %.0f%%", x.Value*100)
					}
				}
				if x.MaxPerDay > 0 {
					used += " of " + x.MaxPerDay.String()
				}
				note := x.Fault
				if note == "" {
					note = x.Feedback
				}
				return []any{x.Name, x.Wired, state, left, x.Who, used, note}
			})
		},
	}
}

func (a *app) actuatorHistoryCommand() *cobra.Command {
	var limit int
	c := &cobra.Command{
		Use: "history [NAME]", Short: "Show the safety ledger: who switched what, until when, and how it ended", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			q := url.Values{"limit": {strconv.Itoa(limit)}}
			if len(args) > 0 {
				q.Set("actuator", args[0])
			}
			var list []api.ActuatorRecord
			if err := a.call(cmd, http.MethodGet, "/v1/actuator-records?"+q.Encode(), nil, &list); err != nil {
				return err
			}
			return printList(a, list, "Nothing has been switched yet.", "TIME ACTUATOR HAPPENS LEASE WHO REASON", func(r *api.ActuatorRecord) []any {
				lease := ""
				if r.Lease > 0 {
					lease = r.Lease.Round(time.Second).String()
				}
				return []any{day(r.Time), r.Actuator, r.Happens, lease, r.Who, r.Reason}
			})
		},
	}
	c.Flags().IntVarP(&limit, "limit", "n", 50, "how many, the newest")
	return c
}

// guardCommand is for supervisors: the guard process itself is started by the
// gateway.
func (a *app) guardCommand() *cobra.Command {
	var f runFlags
	var safe bool
	c := &cobra.Command{
		Use: "guard --safe", Short: "Switch off every actuator that hangs on this board", Args: cobra.NoArgs, Hidden: true,
		Long: "Switch off every actuator of the configuration that hangs on this board, and end. A supervisor runs it when the\n" +
			"gateway has stopped (ExecStopPost of systemd). A guard process that still holds the pins is ended first.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !safe {
				return fmt.Errorf("the gateway starts its guard by itself; --safe switches everything off")
			}
			cfg, err := f.load(false)
			if err != nil {
				return err
			}
			units, err := gateway.GuardUnits(&cfg)
			if err != nil || len(units) == 0 {
				return err
			}
			if err := os.MkdirAll(cfg.StateDir, 0o750); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), safeWithin)
			defer cancel()
			return guard.MakeSafe(ctx, units, guard.NewLock(filepath.Join(cfg.StateDir, gateway.GuardLock)), guard.Open())
		},
	}
	f.register(c)
	c.Flags().BoolVar(&safe, "safe", false, "switch everything off and end")
	return c
}

// safeWithin bounds what a supervisor waits for.
const safeWithin = 20 * time.Second
