package main

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/headgate-io/headgate/gateway/admin/api"
)

const updateHelp = `Look at what the gateway takes from its owner's repository, and decide where it asks.

A new version is fetched and verified, tried on recorded events, gets a part of the traffic, then
all of it, and is watched; one that does worse takes itself back. docs/updates.md has the whole way.`

func (a *app) updateCommand() *cobra.Command {
	c := &cobra.Command{Use: "update", Short: "Look at signed updates, and decide where the gateway asks", Long: updateHelp}
	c.AddCommand(a.updateStatusCommand(), a.updateCheckCommand(),
		a.updateDecide("allow", "Let a version with new permissions go on", "allowed: it goes on"),
		a.updateDecide("retry", "Try again what was refused or rolled back", "it is tried again"))
	return c
}

func (a *app) updateStatusCommand() *cobra.Command {
	return &cobra.Command{
		Use: "status [FUNCTION]", Short: "Say how far updates are, and each step that one took", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var u api.Updates
			if err := a.call(cmd, http.MethodGet, "/v1/updates", nil, &u); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(u)
			}
			if len(args) == 0 {
				return a.printUpdates(&u)
			}
			for i := range u.Functions {
				if u.Functions[i].Function == args[0] {
					a.printUpdate(&u.Functions[i])
					return nil
				}
			}
			return fmt.Errorf("%s had no update yet", args[0])
		},
	}
}

func (a *app) printUpdates(u *api.Updates) error {
	switch {
	case !u.Pinned:
		fmt.Fprintln(a.out, "no root is pinned: functions come from their author, by 'headgate deploy'")
	case u.URL == "":
		fmt.Fprintln(a.out, "a root is pinned, and no repository is asked: updates.url names one")
	case u.Checked.IsZero():
		fmt.Fprintf(a.out, "repository  %s, not asked yet\n", u.URL)
	default:
		fmt.Fprintf(a.out, "repository  %s, asked %s\n", u.URL, day(u.Checked))
	}
	if !u.Expires.IsZero() {
		fmt.Fprintf(a.out, "signed      root version %d, until %s\n", u.Root, day(u.Expires))
	}
	if u.Error != "" {
		fmt.Fprintf(a.out, "waits       %s\n", u.Error)
	}
	printDesired(a.out, u)
	if len(u.Functions) == 0 {
		return nil
	}
	return table(a.out, "FUNCTION STAGE VERSION FROM SINCE LAST", func(row func(...any)) {
		for i := range u.Functions {
			f := &u.Functions[i]
			last := api.UpdateStep{Time: f.Began}
			if n := len(f.Steps); n > 0 {
				last = f.Steps[n-1]
			}
			row(f.Function, f.Stage, f.Version, f.From, day(last.Time), last.Note)
		}
	})
}

// printDesired says what the controller wants, and what it waits for.
func printDesired(w io.Writer, u *api.Updates) {
	d := u.Desired
	if d == nil {
		return
	}
	fmt.Fprintf(w, "desired     revision %d: %s, %s\n", d.Revision, counted(d.Functions, "function"), counted(d.Secrets, "secret"))
	if d.Error != "" {
		fmt.Fprintf(w, "waits       %s\n", d.Error)
	}
	for _, m := range u.Missing {
		fmt.Fprintf(w, "waits       %s for the repository: %s\n", cmp.Or(m.Function, "the gateway's binary"), m.Why)
	}
}

func (a *app) printUpdate(f *api.Update) {
	fmt.Fprintf(a.out, "%s  %s  version %d  %s\n", f.Function, f.Stage, f.Version, f.Target)
	if len(f.NewPermissions) > 0 {
		fmt.Fprintf(a.out, "new permissions: %s\n", strings.Join(f.NewPermissions, ", "))
	}
	if f.New != nil && f.Old != nil {
		for _, x := range []struct {
			version int
			n       *api.UpdateCount
		}{{f.From, f.Old}, {f.Version, f.New}} {
			if x.version == 0 {
				continue // there was none before
			}
			fmt.Fprintf(a.out, "version %d: %d events, %d failed, %d crashed, %s each\n", x.version, x.n.Invocations, x.n.Failures, x.n.Crashes, millis(x.n.Mean))
		}
	}
	for _, s := range f.Steps {
		fmt.Fprintf(a.out, "%s  %-15s %s\n", s.Time.Local().Format(time.DateTime), s.Stage, s.Note)
	}
}

func (a *app) updateCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use: "check", Short: "Ask the repository now", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.call(cmd, http.MethodPost, "/v1/updates", nil, nil)
		},
	}
}

func (a *app) updateDecide(verb, short, said string) *cobra.Command {
	return &cobra.Command{
		Use: verb + " FUNCTION", Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.call(cmd, http.MethodPost, "/v1/updates/"+args[0]+"/"+verb, nil, nil); err != nil {
				return err
			}
			if !a.json {
				fmt.Fprintln(a.out, said)
			}
			return nil
		},
	}
}
