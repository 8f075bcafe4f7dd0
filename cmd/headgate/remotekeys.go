package main

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	controllerclient "github.com/headgate-io/headgate/controller/client"
	"github.com/headgate-io/headgate/sync/ota"
	"github.com/headgate-io/headgate/sync/ota/keyring"
	"github.com/headgate-io/headgate/sync/ota/repository"
)

// initAtController makes root and targets keys here, has the controller make its
// online key, and publishes the first root.
func (a *app) initAtController(ctx context.Context, name string) error {
	trust, err := trustDir()
	if err != nil {
		return err
	}
	ring, err := ring()
	if err != nil {
		return err
	}
	return a.withFleet(func(client *controllerclient.Client) error {
		got, err := atController(ctx, client, 0)
		if err != nil {
			return err
		}
		switch there, pinned := len(got.Root)+len(got.StagedRoot) > 0, ota.Pinned(trust); {
		case there && pinned:
			return fmt.Errorf("%w at the controller, and this machine knows its root: nothing is left to do; 'headgate keys list --fleet' shows who signs", repository.ErrExists)
		case there:
			return fmt.Errorf("%w at the controller: 'headgate keys trust' has this machine believe it", repository.ErrExists)
		case pinned:
			return fmt.Errorf("this machine believes the root of another fleet that was here: where this one was restored or put back, restore a backup that has its keys; remove %s only if that fleet is gone for good", trust)
		}
		online, err := onlineKey(ctx, client)
		if err != nil {
			return err
		}
		pass, err := a.newPassphrase()
		if err != nil {
			return err
		}
		root, targets, err := makeKeys(ring, name, pass)
		if err != nil {
			return err
		}
		dir, err := os.MkdirTemp("", "headgate-repository-*")
		if err != nil {
			return err
		}
		c := &checkout{client: client, dir: dir, state: got.State}
		defer c.remove()
		public := func(k ed25519.PrivateKey) []ed25519.PublicKey {
			return []ed25519.PublicKey{k.Public().(ed25519.PublicKey)}
		}
		c.repo, err = repository.Create(dir, time.Now, repository.Plan{Root: public(root), Targets: public(targets), Online: online, RootThreshold: 1, TargetsThreshold: 1})
		if err != nil {
			return err
		}
		if _, err := c.repo.Sign(root, targets); err != nil {
			return err
		}
		files, err := c.repo.Files()
		if err != nil {
			return err
		}
		fmt.Fprintf(a.err, "made the keys %s-root and %s-targets in %s. Keep a copy: without them nothing can be published or taken back.\n", name, name, ring.Dir)
		report, err := a.signAndPush(ctx, c, ring, &pass)
		if err != nil {
			return err
		}
		if err := ota.Pin(trust, files.StagedRoot); err != nil {
			return err
		}
		return a.printReport(report)
	})
}

// makeKeys makes the keys of people.
func makeKeys(ring keyring.Ring, name string, pass []byte) (root, targets ed25519.PrivateKey, err error) {
	if root, err = ring.Create(name+"-"+string(repository.Root), pass); err == nil {
		targets, err = ring.Create(name+"-"+string(repository.Targets), pass)
	}
	if err != nil {
		err = fmt.Errorf("%w; --name gives this fleet's keys another name", err)
	}
	return root, targets, err
}

// signAtController shows what waits, asks, and signs it.
func (a *app) signAtController(ctx context.Context, yes bool) error {
	report, err := a.withCheckout(ctx, func(c *checkout, ring keyring.Ring) error {
		if err := a.showChanges(c.repo); err != nil {
			return err
		}
		ids, err := ringIDs(ring)
		if err != nil || len(c.repo.Unknown(ids)) == 0 || yes {
			return err
		}
		return a.confirm("sign it with the keys of your ring?")
	})
	if err != nil {
		return err
	}
	return a.printReport(report)
}

// confirm asks for a yes.
func (a *app) confirm(question string) error {
	f, ok := a.in.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return usageError{errors.New("no terminal to ask on: read what is to be signed, and give --yes")}
	}
	fmt.Fprintf(a.err, "%s [y/N] ", question)
	line, err := bufio.NewReader(f).ReadString('\n')
	if err != nil {
		return err
	}
	if answer := strings.ToLower(strings.TrimSpace(line)); answer != "y" && answer != "yes" {
		return errors.New("nothing was signed")
	}
	return nil
}

func (a *app) keysDiscardCommand() *cobra.Command {
	return &cobra.Command{
		Use: "discard", Short: "Throw away what waits for signatures at the controller", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return fleetDo(a, cmd, http.MethodDelete, "/v1/repository/staged", nil, func(*struct{}) { fmt.Fprintln(a.out, "nothing waits any more") })
		},
	}
}

func (a *app) keysTrustCommand() *cobra.Command {
	return &cobra.Command{
		Use: "trust [ROOT]", Short: "Have this machine believe the controller's present root, or the one in a file", Args: cobra.MaximumNArgs(1),
		Long: "Have this machine believe the controller's present root, or the one in a file: from it on it follows the changes that the\n" +
			"root's keys have signed. Compare the keys with another holder's ('headgate keys list --fleet'): somebody who holds the\n" +
			"controller may show you keys of their own.",
		RunE: func(cmd *cobra.Command, args []string) error {
			trust, err := trustDir()
			if err != nil {
				return err
			}
			return a.withFleet(func(client *controllerclient.Client) error {
				got, err := atController(cmd.Context(), client, 0)
				if err != nil {
					return err
				}
				root := got.Root
				if len(args) == 1 {
					if root, err = os.ReadFile(args[0]); err != nil {
						return err
					}
				}
				if len(root) == 0 {
					return errNoRepository
				}
				if err := ota.Pin(trust, root); err != nil {
					return fmt.Errorf("%w: remove %s to begin anew", err, trust)
				}
				c, err := a.checkOut(cmd.Context(), client)
				if err != nil {
					return err
				}
				defer c.remove()
				if !a.json {
					fmt.Fprintf(a.out, "trusts the root with SHA-256 %x\n", sha256.Sum256(root))
				}
				return a.printRepository(c.repo, "")
			})
		},
	}
}

// listAtController shows who may sign, and what waits.
func (a *app) listAtController(ctx context.Context) error {
	return a.look(ctx, func(r *repository.Repository) error { return a.printRepository(r, "") })
}

// look reads the controller's repository.
func (a *app) look(ctx context.Context, at func(*repository.Repository) error) error {
	return a.withFleet(func(client *controllerclient.Client) error {
		c, err := a.checkOut(ctx, client)
		if err != nil {
			return err
		}
		defer c.remove()
		return at(c.repo)
	})
}

// rotateOnline has the controller make another online key, and the root name it
// in the place of those before.
func (a *app) rotateOnline(ctx context.Context) error {
	return a.withFleet(func(client *controllerclient.Client) error {
		next, err := onlineKey(ctx, client)
		if err != nil {
			return err
		}
		return a.changeAtController(ctx, func(r *repository.Repository, _ keyring.Ring) error {
			change := repository.Change{Role: repository.Online, Add: []ed25519.PublicKey{next}}
			for _, k := range r.Keys() {
				if k.Role != repository.Online {
					continue
				}
				for _, id := range k.IDs {
					old, err := r.Public(id)
					if err != nil {
						return err
					}
					change.Remove = append(change.Remove, old)
				}
			}
			return r.ChangeKeys(change)
		})
	})
}

// isRepository reports whether a folder has a repository.
func isRepository(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "metadata"))
	return err == nil
}

// ringNames are the names of the ring's keys by the IDs that repositories give them.
func ringNames() (map[string]string, error) {
	ring, err := ring()
	if err != nil {
		return nil, err
	}
	keys, err := ringKeys(ring)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, k := range keys {
		out[k.id] = k.name
	}
	return out, nil
}
