package main

import (
	"errors"
	"fmt"
	"net/http"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/headgate-io/headgate/gateway"
	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/admin/client"
)

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print this program's version and, where one is running, the gateway's",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var about api.About
			err := a.call(cmd, http.MethodGet, "/v1/about", nil, &about)
			if err != nil && !errors.Is(err, client.ErrUnreachable) {
				return err
			}
			own := api.About{Version: gateway.Version(), Go: runtime.Version(), Target: runtime.GOOS + "/" + runtime.GOARCH}
			if a.json {
				out := map[string]any{"client": map[string]string{"version": own.Version, "go": own.Go, "target": own.Target}}
				if err == nil {
					out["gateway"] = about
				}
				return a.printJSON(out)
			}
			fmt.Fprintf(a.out, "client   %s  %s  %s\n", own.Version, own.Go, own.Target)
			if err == nil {
				fmt.Fprintf(a.out, "gateway  %s  %s  %s  up since %s\n", about.Version, about.Go, about.Target, day(about.Started))
			}
			return nil
		},
	}
}
