package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sandbox"
	"github.com/headgate-io/headgate/sync/bundle"
)

func (a *app) buildCommand() *cobra.Command {
	var out string
	c := &cobra.Command{
		Use: "build [PROJECT]", Short: "Build and sign a project's functions without deploying them", Args: cobra.MaximumNArgs(1),
		Long: "Build and sign a project's functions: one bundle a function, NAME.headgate. Each is loaded once in\n" +
			"the sandbox that a gateway uses, so that one that a gateway would refuse fails here.\n\n" + projectHelp,
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := openProject(projectDir(args))
			if err != nil {
				return err
			}
			return a.build(cmd.Context(), p, out)
		},
	}
	c.Flags().StringVarP(&out, "output", "o", "dist", "the folder for the bundles")
	return c
}

func (a *app) build(ctx context.Context, p *project, out string) (err error) {
	key, err := a.authorKey()
	if err != nil {
		return err
	}
	names, err := p.names(nil)
	if err != nil {
		return err
	}
	engine, closeEngine, err := openSandbox(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeEngine()) }()
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	built := map[string]int{}
	for _, name := range names {
		spec, files, err := p.build(ctx, name)
		if err != nil {
			return err
		}
		if err := tryLoad(ctx, engine, &spec, files); err != nil {
			return err
		}
		raw, err := bundle.Pack(spec, files, key)
		if err != nil {
			return err
		}
		file := filepath.Join(out, name+".headgate")
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
}

// tryLoad does with a function what a gateway does before it takes it.
func tryLoad(ctx context.Context, engine *sandbox.Engine, spec *function.Spec, files map[string][]byte) error {
	config, err := spec.ConfigJSON()
	if err != nil {
		return err
	}
	m, err := engine.Compile(ctx, sandbox.Code{Name: spec.Name, Main: spec.Main, Files: files, Export: spec.Export}, spec.Limits, sandbox.Setup{Config: config})
	if err != nil {
		return err
	}
	return m.Close(ctx)
}
