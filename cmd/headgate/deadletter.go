package main

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/headgate-io/headgate/gateway/admin/api"
)

func (a *app) deadLetterCommand() *cobra.Command {
	c := &cobra.Command{Use: "dlq", Short: "Look at the events that were given up, try them again or drop them"}
	c.AddCommand(a.deadLetterListCommand(), a.deadLetterShowCommand(),
		a.deadLetterMoveCommand("redrive", "redriven", "Try dead letters again, behind what waits for their functions"),
		a.deadLetterMoveCommand("drop", "dropped", "Delete dead letters for good"))
	return c
}

func (a *app) deadLetterListCommand() *cobra.Command {
	var name string
	var after int64
	var limit int
	c := &cobra.Command{
		Use: "list [FUNCTION]", Aliases: []string{"ls"}, Short: "List the dead letters, oldest first", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				name = args[0]
			}
			list, more, err := a.deadLetters(cmd, name, after, limit)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(list)
			}
			if len(list) == 0 {
				fmt.Fprintln(a.out, "No event was given up.")
				return nil
			}
			err = table(a.out, "ID TIME FUNCTION SUBJECT ATTEMPTS REASON ERROR", func(row func(...any)) {
				for _, d := range list {
					row(d.ID, day(d.Time), d.Function, d.Subject, d.Attempts, d.Reason, firstLine(d.Error))
				}
			})
			if more && err == nil {
				fmt.Fprintf(a.out, "There are more: add --after %d\n", list[len(list)-1].ID)
			}
			return err
		},
	}
	c.Flags().StringVar(&name, "function", "", "only those of this function")
	c.Flags().Int64Var(&after, "after", 0, "only those with greater ids")
	c.Flags().IntVar(&limit, "limit", 100, "how many at most; 0 is all")
	return c
}

// deadLetters reads as many pages as limit asks for, and whether more are left.
func (a *app) deadLetters(cmd *cobra.Command, name string, after int64, limit int) (all []api.DeadLetter, more bool, err error) {
	const page = 1000
	all = []api.DeadLetter{}
	for {
		ask := page
		if limit > 0 {
			ask = min(page, limit-len(all)+1)
		}
		q := url.Values{"function": {name}, "after": {strconv.FormatInt(after, 10)}, "limit": {strconv.Itoa(ask)}}
		var list []api.DeadLetter
		if err := a.call(cmd, http.MethodGet, "/v1/deadletters?"+q.Encode(), nil, &list); err != nil {
			return nil, false, err
		}
		all = append(all, list...)
		if limit > 0 && len(all) > limit {
			return all[:limit], true, nil
		}
		if len(list) < ask {
			return all, false, nil
		}
		after = list[len(list)-1].ID
	}
}

func (a *app) deadLetterShowCommand() *cobra.Command {
	return &cobra.Command{
		Use: "show ID", Short: "Show a dead letter: its event, why it was given up, and its data", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := letterID(args[0])
			if err != nil {
				return err
			}
			var d api.DeadLetterDetail
			if err := a.call(cmd, http.MethodGet, "/v1/deadletters/"+strconv.FormatInt(id, 10), nil, &d); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(d)
			}
			a.printLetter(&d)
			return nil
		},
	}
}

func (a *app) printLetter(d *api.DeadLetterDetail) {
	line := func(name string, value any) { fmt.Fprintf(a.out, "%-12s %v\n", name, value) }
	line("id", d.ID)
	line("function", fmt.Sprintf("%s@%d", d.Function, d.Version))
	line("given up", fmt.Sprintf("%s, after %s, because of %s", day(d.Time), counted(d.Attempts, "attempt"), d.Reason))
	line("error", d.Error)
	if d.Key != "" {
		line("key", d.Key)
	}
	if d.Blocks {
		line("blocks", "later events of this key wait until it is redriven or dropped")
	}
	line("event", d.EventID)
	line("type", d.Type)
	line("source", d.Source)
	if d.Subject != "" {
		line("subject", d.Subject)
	}
	line("arrived", day(d.Arrived))
	line("hops", d.Hops)
	for _, k := range slices.Sorted(maps.Keys(d.Params)) {
		line("param", k+"="+d.Params[k])
	}
	for _, k := range slices.Sorted(maps.Keys(d.Extensions)) {
		line("extension", k+"="+d.Extensions[k])
	}
	fmt.Fprintf(a.out, "data         %s\n%s\n", size(int64(len(d.Data))), shown(payload(d.Data)))
}

// deadLetterMoveCommand is redrive or drop; done is its past.
func (a *app) deadLetterMoveCommand(verb, done, short string) *cobra.Command {
	var choice api.DeadLetterChoice
	c := &cobra.Command{
		Use: verb + " [ID…]", Short: short, Args: cobra.ArbitraryArgs,
		Example: fmt.Sprintf("  headgate dlq %s 17 18\n  headgate dlq %s --function irrigate\n  headgate dlq %s --all", verb, verb, verb),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, arg := range args {
				id, err := letterID(arg)
				if err != nil {
					return err
				}
				choice.IDs = append(choice.IDs, id)
			}
			ways := 0
			for _, named := range []bool{len(choice.IDs) > 0, choice.Function != "", choice.All} {
				if named {
					ways++
				}
			}
			if ways != 1 {
				return usageError{errors.New("say which dead letters: give their ids, --function NAME, or --all")}
			}
			var out api.DeadLettersDone
			if err := a.call(cmd, http.MethodPost, "/v1/deadletters/"+verb, choice, &out); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(out)
			}
			fmt.Fprintf(a.out, "%s %s\n", done, counted(out.Letters, "dead letter"))
			return nil
		},
	}
	c.Flags().StringVar(&choice.Function, "function", "", "all of this function")
	c.Flags().BoolVar(&choice.All, "all", false, "all there are")
	return c
}

func letterID(arg string) (int64, error) {
	id, err := strconv.ParseInt(arg, 10, 64)
	if err != nil || id < 1 {
		return 0, usageError{fmt.Errorf("%q is no dead letter's id: 'headgate dlq list' shows them", arg)}
	}
	return id, nil
}
