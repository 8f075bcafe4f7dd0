package main

import (
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/headgate-io/headgate/gateway/admin/api"
)

func (a *app) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use: "doctor", Short: "Look at a gateway and say what is wrong with it", Args: cobra.NoArgs,
		Long: "Look at a gateway: its database, disk, flash, memory, clock, queue and listeners. Prints what it found and what\n" +
			"to do. Ends with 1 when something does not do what it should.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			var checks []api.Check
			if err := c.Do(cmd.Context(), http.MethodGet, "/v1/doctor", nil, &checks); err != nil {
				return err
			}
			failed := 0
			for _, x := range checks {
				if x.Status == "fail" {
					failed++
				}
			}
			if a.json {
				err = a.printJSON(checks)
			} else {
				a.printChecks(checks)
			}
			if err == nil && failed > 0 {
				err = fmt.Errorf("%d of %d checks failed", failed, len(checks))
			}
			return err
		},
	}
}

func (a *app) printChecks(checks []api.Check) {
	for _, x := range checks {
		fmt.Fprintf(a.out, "%-4s  %-10s %s\n", x.Status, x.Name, x.Detail)
		if x.Advice != "" {
			fmt.Fprintf(a.out, "      %-10s → %s\n", "", x.Advice)
		}
	}
}
