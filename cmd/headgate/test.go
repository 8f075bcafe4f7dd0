package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/headgate-io/headgate/gateway/functest"
	"github.com/headgate-io/headgate/sandbox"
)

var errTestsFailed = errors.New("tests failed")

// caseReport is a case in --json.
type caseReport struct {
	Name     string   `json:"name"`
	Function string   `json:"function"`
	Passed   bool     `json:"passed"`
	Faults   []string `json:"faults,omitempty"`
	Fuel     uint64   `json:"fuel"`
}

func (a *app) testCommand() *cobra.Command {
	return &cobra.Command{
		Use: "test [PROJECT]", Short: "Run a project's recorded events and compare what they do", Args: cobra.MaximumNArgs(1),
		Long: "Run the recorded events of tests.yaml through the project's triggers and functions, in the\n" +
			"sandbox that a gateway uses, and compare what each asks for with what is expected.\n\n" + projectHelp,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.test(cmd.Context(), projectDir(args))
		},
	}
}

func (a *app) test(ctx context.Context, dir string) (err error) {
	p, err := openProject(dir)
	if err != nil {
		return err
	}
	file, err := functest.Read(filepath.Join(dir, functest.FileName), p.manifest)
	if err != nil {
		return err
	}
	engine, closeEngine, err := openSandbox(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeEngine()) }()

	subjects := map[string]functest.Subject{}
	reports := []caseReport{}
	failed := 0
	for i := range file.Tests {
		c := &file.Tests[i]
		s, ok := subjects[c.Function]
		if !ok {
			spec, files, err := p.build(ctx, c.Function)
			if err != nil {
				return err
			}
			s = functest.Subject{Spec: spec, Code: files}
			subjects[c.Function] = s
		}
		r, err := functest.Run(ctx, engine, s, c)
		if err != nil {
			return err
		}
		if len(r.Faults) > 0 {
			failed++
		}
		reports = append(reports, caseReport{c.Name, c.Function, len(r.Faults) == 0, r.Faults, r.Result.Fuel})
		if !a.json {
			a.printCase(r)
		}
	}
	if a.json {
		err = a.printJSON(reports)
	} else {
		fmt.Fprintf(a.out, "%d passed, %d failed\n", len(reports)-failed, failed)
	}
	if failed > 0 {
		return errors.Join(err, errTestsFailed)
	}
	return err
}

// openSandbox opens a sandbox like a gateway's. What it compiles is kept in the
// user's cache: the script engines alone take a second. Without a place for it
// the cache goes with the sandbox.
func openSandbox(ctx context.Context) (*sandbox.Engine, func() error, error) {
	remove := func() error { return nil }
	cache, err := userCache()
	if err != nil {
		if cache, err = os.MkdirTemp("", "headgate-sandbox-"); err != nil {
			return nil, nil, err
		}
		remove = func() error { return os.RemoveAll(cache) }
	}
	engine, err := sandbox.New(ctx, sandbox.Config{CacheDir: cache})
	if err != nil {
		return nil, nil, errors.Join(err, remove())
	}
	return engine, func() error {
		return errors.Join(engine.Close(context.WithoutCancel(ctx)), remove())
	}, nil
}

func (a *app) printCase(r *functest.Report) {
	if len(r.Faults) == 0 {
		fmt.Fprintf(a.out, "ok    %s: %s\n", r.Case.Function, r.Case.Name)
		return
	}
	fmt.Fprintf(a.out, "FAIL  %s: %s\n", r.Case.Function, r.Case.Name)
	for _, f := range r.Faults {
		fmt.Fprintf(a.out, "        %s\n", strings.ReplaceAll(f, "\n", "\n          "))
	}
	for _, l := range r.Logs {
		fmt.Fprintf(a.out, "        log %-5s %s\n", l.Level, l.Text)
	}
}
