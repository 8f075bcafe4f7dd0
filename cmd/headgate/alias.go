package main

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/headgate-io/headgate/gateway/admin/api"
)

const aliasHelp = `Name versions of a function, and say which of them gets the traffic.

  headgate deploy --alias canary --percent 10   # a new version, for a tenth of the traffic
  headgate invoke irrigate@canary '{}'          # or irrigate@8
  headgate logs irrigate@8 -f
  headgate alias set irrigate live 8            # all of it
  headgate rollback irrigate                    # or back

live is the alias that triggers start: with live's triggers, whatever version gets the event. A
split goes by the ordering key: the events of one key stay with one version, and a part that grows
takes no key away from the version that has it. Where there is no key it goes by the event.`

func (a *app) aliasCommand() *cobra.Command {
	c := &cobra.Command{Use: "alias", Short: "Name versions and split traffic between them", Long: aliasHelp}
	c.AddCommand(a.aliasListCommand(), a.aliasSetCommand(), a.aliasRemoveCommand())
	return c
}

func (a *app) aliasListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list FUNCTION", Short: "List a function's aliases", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var f api.FunctionDetail
			if err := a.call(cmd, http.MethodGet, functionPath(args[0]), nil, &f); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(f.Aliases)
			}
			return table(a.out, "ALIAS VERSION SPLIT UPDATED", func(row func(...any)) {
				for _, x := range f.Aliases {
					row(x.Name, x.Version, splitText(&x), day(x.Updated))
				}
			})
		},
	}
}

// splitText is who gets how much beside the alias's version.
func splitText(x *api.Alias) string {
	if x.Split == 0 {
		return ""
	}
	return fmt.Sprintf("%s%% to %d", strconv.FormatFloat(x.Percent, 'f', -1, 64), x.Split)
}

func (a *app) aliasSetCommand() *cobra.Command {
	var split string
	c := &cobra.Command{
		Use: "set FUNCTION ALIAS VERSION", Short: "Point an alias to a version", Args: cobra.ExactArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			version, err := strconv.Atoi(args[2])
			if err != nil || version < 1 {
				return usageError{fmt.Errorf("version %q: want a number; 'headgate describe %s' shows the versions", args[2], args[0])}
			}
			to := api.AliasTarget{Version: version}
			if to.Split, to.Percent, err = parseSplit(split); err != nil {
				return usageError{err}
			}
			var set api.Alias
			if err := a.call(cmd, http.MethodPut, aliasPath(args[0], args[1]), to, &set); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(set)
			}
			line := fmt.Sprintf("%s@%s is version %d", args[0], set.Name, set.Version)
			if set.Split != 0 {
				line += ", " + splitText(&set)
			}
			fmt.Fprintln(a.out, line)
			return nil
		},
	}
	c.Flags().StringVar(&split, "split", "", "VERSION=PERCENT: a second version and the part of live's traffic that it gets, as 8=10%")
	return c
}

// parseSplit reads 8=10%, 8=10 or nothing.
func parseSplit(text string) (version int, percent float64, err error) {
	if text == "" {
		return 0, 0, nil
	}
	left, right, ok := strings.Cut(text, "=")
	version, err = strconv.Atoi(left)
	if ok && err == nil {
		percent, err = strconv.ParseFloat(strings.TrimSuffix(right, "%"), 64)
	}
	if !ok || err != nil || version < 1 || !(percent > 0 && percent < 100) {
		return 0, 0, fmt.Errorf("--split %q: want VERSION=PERCENT, such as 8=10%%", text)
	}
	return version, percent, nil
}

func (a *app) aliasRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use: "remove FUNCTION ALIAS", Aliases: []string{"rm"}, Short: "Remove an alias; its version stays", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.call(cmd, http.MethodDelete, aliasPath(args[0], args[1]), nil, nil); err != nil {
				return err
			}
			return a.printRemoved(args[0] + "@" + args[1])
		},
	}
}

func aliasPath(function, alias string) string {
	return functionPath(function, "aliases", alias)
}

// qualified takes name@version or name@alias apart.
func qualified(text string) (name, qualifier string) {
	name, qualifier, _ = strings.Cut(text, "@")
	return name, qualifier
}
