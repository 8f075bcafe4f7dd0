package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/headgate-io/headgate/function/schema"
)

func (a *app) schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use: "schema", Short: "Print the JSON Schema of headgate.yaml, for editors", Args: cobra.NoArgs,
		Long: "Print the JSON Schema of headgate.yaml. Editors with a YAML language server take it:\n\n" +
			"    headgate schema > headgate.schema.json\n\n" +
			"and, as the first line of headgate.yaml:\n\n" +
			"    # yaml-language-server: $schema=headgate.schema.json\n",
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprint(a.out, schema.Manifest())
			return err
		},
	}
}
