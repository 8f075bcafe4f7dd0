package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

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

// userCache makes the folder for what the user's tools compile. It holds code
// that they run, so it is nobody else's, and nobody else may write there: not
// even the user in whose home folder it is, when another one works there.
func userCache() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(base, 0o700); err != nil {
		return "", err
	}
	return cacheIn(base, os.Getuid())
}

// cacheIn makes the cache of the user of that number in what should be their
// folder of caches.
func cacheIn(base string, uid int) (string, error) {
	info, err := os.Stat(base)
	if err == nil {
		err = ownedBy(base, info, uid)
	}
	dir, open := base, false
	for _, level := range []string{"headgate", "sandbox"} {
		if err != nil {
			return "", err
		}
		dir = filepath.Join(dir, level)
		if err = os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return "", err
		}
		if info, err = os.Lstat(dir); err == nil {
			err = ownedBy(dir, info, uid)
		}
		if err == nil && info.Mode().Perm() != 0o700 {
			open = open || info.Mode().Perm()&0o022 != 0
			err = os.Chmod(dir, 0o700)
		}
	}
	if err == nil && open {
		// Others may have put code there: it begins anew. What lies beside it is
		// not run, and stays.
		err = errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700))
	}
	return dir, err
}

// ownedBy reports what is not a folder of that user.
func ownedBy(dir string, info fs.FileInfo, uid int) error {
	if owner, ok := info.Sys().(*syscall.Stat_t); !info.IsDir() || ok && int(owner.Uid) != uid {
		return fmt.Errorf("%s is no folder of this user's own", dir)
	}
	return nil
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
