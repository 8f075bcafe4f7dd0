package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/headgate-io/headgate/gateway/registry"
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

func (a *app) build(ctx context.Context, p *project, out string) error {
	names, err := p.names(nil)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	built := map[string]int{}
	err = a.tried(ctx, p, names, func(name string, b tried) error {
		file := filepath.Join(out, name+".headgate")
		if err := os.WriteFile(file, b.raw, 0o644); err != nil {
			return err
		}
		built[file] = len(b.raw)
		if !a.json {
			fmt.Fprintf(a.out, "%s  %s\n", file, size(int64(len(b.raw))))
		}
		return nil
	})
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(built)
	}
	return nil
}

// tried is a bundle that gateways would take.
type tried struct {
	raw    []byte
	digest string
}

// tried builds functions of a project, signs them as their author, and hands
// each to next once it was loaded as gateways load it.
func (a *app) tried(ctx context.Context, p *project, names []string, next func(name string, b tried) error) (err error) {
	key, err := a.authorKey()
	if err != nil {
		return err
	}
	engine, closeEngine, err := openSandbox(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeEngine()) }()
	for _, name := range names {
		spec, files, err := p.build(ctx, name)
		if err != nil {
			return err
		}
		raw, err := bundle.Pack(spec, files, key)
		if err != nil {
			return err
		}
		if err := registry.Try(ctx, engine, raw); err != nil {
			return err
		}
		digest, err := bundle.Digest(spec, files)
		if err != nil {
			return err
		}
		if err := next(name, tried{raw: raw, digest: digest}); err != nil {
			return err
		}
	}
	return nil
}
