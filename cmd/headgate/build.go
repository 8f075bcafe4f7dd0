package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/headgate-io/headgate/sync/bundle"
)

func (a *app) buildCommand() *cobra.Command {
	var out string
	c := &cobra.Command{
		Use: "build [PROJECT]", Short: "Build and sign a project's functions without deploying them", Args: cobra.MaximumNArgs(1),
		Long: "Build and sign a project's functions: one bundle a function, NAME.headgate.\n\n" + projectHelp,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := openProject(projectDir(args))
			if err != nil {
				return err
			}
			keyFile, err := authorKeyPath()
			if err != nil {
				return err
			}
			key, _, err := bundle.AuthorKey(keyFile)
			if err != nil {
				return err
			}
			names, err := p.names(nil)
			if err != nil {
				return err
			}
			built := map[string]int{}
			for _, name := range names {
				spec, files, err := p.build(cmd.Context(), name)
				if err != nil {
					return err
				}
				raw, err := bundle.Pack(spec, files, key)
				if err != nil {
					return err
				}
				file := filepath.Join(out, name+".headgate")
				if err := os.MkdirAll(out, 0o755); err != nil {
					return err
				}
				if err := os.WriteFile(file, raw, 0o644); err != nil {
					return err
				}
				built[file] = len(raw)
				if !a.json {
					fmt.Fprintf(a.out, "%s  %s\n", file, size(int64(len(raw))))
				}
			}
			if a.json {
				return a.printJSON(built)
			}
			return nil
		},
	}
	c.Flags().StringVarP(&out, "output", "o", "dist", "the folder for the bundles")
	return c
}
