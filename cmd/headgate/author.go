package main

import (
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/headgate-io/headgate/gateway/admin/api"
)

const authorHelp = `Show or forget whose functions the gateway takes. The first deploy pins its author's key;
other authors are refused from then on.

Who has lost that key can let go of it on the gateway itself: 'headgate author forget'.
What is deployed goes on running, and the next deploy pins its author.`

func (a *app) authorCommand() *cobra.Command {
	c := &cobra.Command{Use: "author", Short: "Show or forget whose functions the gateway takes", Long: authorHelp}
	c.AddCommand(&cobra.Command{
		Use: "show", Short: "Print the pinned author's key",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var author api.Author
			if err := a.call(cmd, http.MethodGet, "/v1/author", nil, &author); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(author)
			}
			if author.Key == "" {
				fmt.Fprintln(a.out, "No author is pinned: the next deploy pins its own.")
				return nil
			}
			fmt.Fprintln(a.out, author.Key)
			return nil
		},
	})
	c.AddCommand(&cobra.Command{
		Use: "forget", Short: "Let the next deploy pin its author; on the gateway itself only",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.call(cmd, http.MethodDelete, "/v1/author", nil, nil); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(api.Author{})
			}
			fmt.Fprintln(a.out, "forgotten; the next deploy pins its author")
			return nil
		},
	})
	return c
}
