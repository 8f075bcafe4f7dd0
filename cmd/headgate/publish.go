package main

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/headgate-io/headgate/sync/ota"
	"github.com/headgate-io/headgate/sync/ota/keyring"
	"github.com/headgate-io/headgate/sync/ota/repository"
)

const publishHelp = `Build a project's functions, sign them, and put them into a repository, from which gateways take
them: 'headgate keys init' makes one. Each is loaded first as a gateway loads it: what gateways would
refuse is not signed. With --binary it is the gateways' own binary.

The repository is that of the controller that you are logged in to ('headgate fleet login'), unless
REPOSITORY names a folder with one. The controller verifies the signatures; it cannot make any.

They become what --alias names, live if nothing else is said, on each gateway that takes its updates
from there. --hold publishes them without: 'headgate repository use' does the rest.

` + projectHelp

func (a *app) publishCommand() *cobra.Command {
	var only, aliases []string
	var binary, version string
	var hold bool
	c := &cobra.Command{
		Use: "publish [REPOSITORY] [PROJECT]", Short: "Sign functions, or a gateway's binary, for a fleet", Long: publishHelp, Args: cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if hold {
				aliases = nil
			}
			dir := ""
			if len(args) == 2 || len(args) == 1 && isRepository(args[0]) {
				dir, args = args[0], args[1:]
			}
			if dir != "" && !isRepository(dir) { // before anything is built
				_, err := repository.Open(dir, time.Now)
				return err
			}
			var made []made
			var err error
			switch {
			case binary != "" && (len(args) == 1 || version == ""):
				return usageError{errors.New("--binary goes with --version, and without a project")}
			case binary != "":
				made, err = madeBinary(binary, version, aliases)
			default:
				var p *project
				if p, err = openProject(projectDir(args)); err == nil {
					made, err = a.makeFunctions(cmd.Context(), p, only, aliases)
				}
			}
			if err != nil {
				return err
			}
			return a.changeKeys(cmd.Context(), dir, func(r *repository.Repository, _ keyring.Ring) error {
				_, err := a.addAll(r, made)
				return err
			})
		},
	}
	c.Flags().StringArrayVar(&only, "only", nil, "publish this function only; may be repeated")
	c.Flags().StringArrayVar(&aliases, "alias", []string{ota.Live}, "what the new version becomes; may be repeated")
	c.Flags().BoolVar(&hold, "hold", false, "leave every alias where it is")
	c.Flags().StringVar(&binary, "binary", "", "publish this 'headgate' binary for gateways on the image")
	c.Flags().StringVar(&version, "version", "", "with --binary: what people call it")
	return c
}

// made is content that is going to be signed.
type made struct {
	open    func() (io.ReadCloser, error)
	release ota.Release
}

// addAll stages what was made.
func (a *app) addAll(r *repository.Repository, all []made) (added []ota.Target, err error) {
	for _, m := range all {
		f, err := m.open()
		if err != nil {
			return nil, err
		}
		t, err := r.Add(f, m.release)
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
		fmt.Fprintf(a.err, "signing %s (%s)\n", t.Name, size(t.Bytes))
		added = append(added, t)
	}
	return added, nil
}

// makeFunctions builds a project's bundles, of which gateways take each.
func (a *app) makeFunctions(ctx context.Context, p *project, only, aliases []string) (all []made, err error) {
	names, err := p.names(only)
	if err != nil {
		return nil, err
	}
	err = a.tried(ctx, p, names, func(name string, b tried) error {
		all = append(all, made{
			open:    func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.raw)), nil },
			release: ota.Release{Kind: ota.Function, Function: name, Digest: b.digest, Aliases: aliases},
		})
		return nil
	})
	return all, err
}

// arches are Go's names of the machines that a binary can be for.
var arches = map[elf.Machine]string{elf.EM_AARCH64: "arm64", elf.EM_ARM: "arm", elf.EM_X86_64: "amd64"}

func madeBinary(file, version string, aliases []string) ([]made, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	e, err := elf.NewFile(f)
	if err != nil {
		return nil, fmt.Errorf("%s is no program for Linux: give the binary 'headgate' itself, not its archive (%w)", file, err)
	}
	arch, ok := arches[e.Machine]
	if !ok {
		return nil, fmt.Errorf("%s is a program for %v, which no gateway is", file, e.Machine)
	}
	open := func() (io.ReadCloser, error) { return os.Open(file) }
	return []made{{open, ota.Release{Kind: ota.System, Arch: arch, Version: version, Aliases: aliases}}}, nil
}

func (a *app) repositoryCommand() *cobra.Command {
	c := &cobra.Command{Use: "repository", Short: "Look at a repository of signed updates, and change what gateways run"}
	c.AddCommand(a.repositoryListCommand(), a.repositoryUseCommand(), a.repositoryWithdrawCommand(), a.repositoryRefreshCommand())
	return c
}

func (a *app) repositoryListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list [REPOSITORY]", Short: "List what is signed, and what gateways make of it", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return a.look(cmd.Context(), a.printTargets)
			}
			r, err := repository.Open(args[0], time.Now)
			if err != nil {
				return err
			}
			return a.printTargets(r)
		},
	}
}

func (a *app) printTargets(r *repository.Repository) error {
	all, err := r.Published(false)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(all)
	}
	for _, t := range all {
		fmt.Fprintf(a.out, "%-52s %8s  %s  %s\n", t.Name, size(t.Bytes), t.Published.Local().Format(time.DateTime), strings.Join(t.Aliases, ","))
	}
	return nil
}

func (a *app) repositoryUseCommand() *cobra.Command {
	var aliases []string
	c := &cobra.Command{
		Use: "use [REPOSITORY] TARGET", Short: "Have gateways run a version that is signed already: an earlier one, or a held one", Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, args := folderOf(args, 1)
			return a.changeKeys(cmd.Context(), dir, func(r *repository.Repository, _ keyring.Ring) error { return r.Point(args[0], aliases...) })
		},
	}
	c.Flags().StringArrayVar(&aliases, "alias", []string{ota.Live}, "what it becomes; may be repeated")
	return c
}

func (a *app) repositoryWithdrawCommand() *cobra.Command {
	return &cobra.Command{
		Use: "withdraw [REPOSITORY] TARGET", Short: "Sign a version no more: no gateway takes it from now on", Args: cobra.RangeArgs(1, 2),
		Long: "Sign a version no more: no gateway takes it from now on. Gateways that run it go on.",
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, args := folderOf(args, 1)
			return a.changeKeys(cmd.Context(), dir, func(r *repository.Repository, _ keyring.Ring) error { return r.Withdraw(args[0]) })
		},
	}
}

func (a *app) repositoryRefreshCommand() *cobra.Command {
	return &cobra.Command{
		Use: "refresh REPOSITORY", Short: "Sign with the online key how new all is; to be run every day", Args: cobra.ExactArgs(1),
		Long: "Sign snapshot and timestamp anew where half of their time is over. Gateways whose repository is not refreshed go on\n" +
			"with what they run, and take nothing new after a week. A controller does this by itself, with the online key in its folder keys.",
		RunE: func(_ *cobra.Command, args []string) error {
			r, err := repository.Open(args[0], time.Now)
			if err != nil {
				return err
			}
			ring, err := ring()
			if err != nil {
				return err
			}
			keys, err := ringKeys(ring)
			if err != nil {
				return err
			}
			var pass []byte
			for _, k := range keys {
				if !r.Online(k.id) {
					continue
				}
				key, err := a.openKey(ring, k.name, &pass)
				if err != nil {
					return err
				}
				done, err := r.Refresh(key)
				if err == nil && !a.json {
					fmt.Fprintln(a.out, map[bool]string{true: "signed anew", false: "nothing is due"}[done])
				}
				return err
			}
			return errors.New("your ring has not the online key: 'headgate keys list' shows which one it is")
		},
	}
}
