package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	controllerapi "github.com/headgate-io/headgate/controller/api"
	controllerclient "github.com/headgate-io/headgate/controller/client"
	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/sync/wire"
)

// answeredQuestion is one whose answer is read by who asked.
type answeredQuestion struct {
	controllerapi.Question
	Answer json.RawMessage `json:"answer,omitempty"`
}

// ask asks a gateway and waits for its answer.
func (a *app) ask(ctx context.Context, c *controllerclient.Client, gateway string, n controllerapi.NewQuestion, into any) (*answeredQuestion, error) {
	var q answeredQuestion
	path := "/v1/gateways/" + url.PathEscape(gateway) + "/questions"
	if err := c.Do(ctx, http.MethodPost, path, n, &q); err != nil {
		return nil, err
	}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	asked := time.Now()
	for {
		if err := c.Do(ctx, http.MethodGet, path+"/"+url.PathEscape(q.ID), nil, &q); err != nil {
			return nil, err
		}
		switch {
		case q.Error != "":
			return nil, fmt.Errorf("%s answers: %s", gateway, q.Error)
		case !q.Answered.IsZero():
			if err := json.Unmarshal(q.Answer, into); err != nil {
				return nil, fmt.Errorf("the answer of %s cannot be read; another version of 'headgate' may: %w", gateway, err)
			}
			return &q, nil
		case time.Since(asked) > time.Duration(n.Seconds)*time.Second:
			return nil, fmt.Errorf("%s has not answered in %v: 'headgate fleet gateways' shows when it was seen last; --within waits longer for one that is away", gateway, time.Duration(n.Seconds)*time.Second)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-tick.C:
		}
	}
}

// askFlags is how long an answer may take.
func askFlags(c *cobra.Command) *function.Duration {
	within := function.Duration(time.Minute)
	c.Flags().Var(durationFlag{&within}, "within", "how long the gateway may take; one that is away is asked when it is back within it")
	return &within
}

func (a *app) fleetLogsCommand() *cobra.Command {
	lines := 100
	c := &cobra.Command{
		Use: "logs GATEWAY [FUNCTION]", Short: "Ask a gateway for the newest lines that its functions logged", Args: cobra.RangeArgs(1, 2),
	}
	within := askFlags(c)
	c.Flags().IntVarP(&lines, "lines", "n", lines, "how many at most")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		n := controllerapi.NewQuestion{What: wire.AskLogs, Lines: lines, Seconds: int64(within.Std().Seconds())}
		if len(args) == 2 {
			n.Function = args[1]
		}
		return a.withFleet(func(c *controllerclient.Client) error {
			var list []api.LogLine
			q, err := a.ask(cmd.Context(), c, args[0], n, &list)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(list)
			}
			if len(list) == 0 {
				fmt.Fprintln(a.err, "note: it has no such lines; 'headgate fleet state", args[0]+"' shows its functions")
			}
			for _, l := range list {
				fmt.Fprintln(a.out, logLine(l))
			}
			if q.Cut {
				fmt.Fprintln(a.err, "note: there is more than an answer holds: ask for one function")
			}
			return nil
		})
	}
	return c
}

func (a *app) fleetDoctorCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "doctor GATEWAY", Short: "Have a gateway look at itself, and say what is wrong with it", Args: cobra.ExactArgs(1),
		Long: "Have a gateway look at itself. Ends with 1 when something does not do what it should.",
	}
	within := askFlags(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		n := controllerapi.NewQuestion{What: wire.AskDoctor, Seconds: int64(within.Std().Seconds())}
		return a.withFleet(func(c *controllerclient.Client) error {
			var checks []api.Check
			if _, err := a.ask(cmd.Context(), c, args[0], n, &checks); err != nil {
				return err
			}
			var err error
			if a.json {
				err = a.printJSON(checks)
			} else {
				a.printChecks(checks)
			}
			return errors.Join(err, failedChecks(checks))
		})
	}
	return c
}
