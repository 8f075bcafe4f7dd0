package main

import (
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/headgate-io/headgate/gateway/admin/api"
)

func (a *app) timerCommand() *cobra.Command {
	c := &cobra.Command{Use: "timer", Short: "Fire what is due later"}
	c.AddCommand(a.timerRunCommand())
	return c
}

func (a *app) timerRunCommand() *cobra.Command {
	return &cobra.Command{
		Use: "run FUNCTION [SCHEDULE]", Short: "Fire a function's timer now",
		Args: cobra.RangeArgs(1, 2), Example: "  headgate timer run nightly\n  headgate timer run nightly '0 2 * * *'",
		Long: "Fire a function's timer now, beside its schedule: when it fires next stays as it is. The call returns when the\n" +
			"event is safe; like any firing it is tried again as the function's retry says. SCHEDULE is the cron or every of the\n" +
			"trigger that is meant, where there are several. 'headgate describe FUNCTION' shows when they fire next.",
		RunE: func(cmd *cobra.Command, args []string) error {
			run := api.TimerRun{Function: args[0]}
			if len(args) > 1 {
				run.Schedule = args[1]
			}
			var ran api.TimerRan
			if err := a.call(cmd, http.MethodPost, "/v1/timers", run, &ran); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(ran)
			}
			if !ran.Started {
				_, err := fmt.Fprintf(a.out, "%s of %s fired and started nothing: its when is false\n", ran.Trigger, ran.Function)
				return err
			}
			_, err := fmt.Fprintf(a.out, "%s of %s fired\n", ran.Trigger, ran.Function)
			return err
		},
	}
}
