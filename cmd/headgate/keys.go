package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/headgate-io/headgate/sync/ota/keyring"
	"github.com/headgate-io/headgate/sync/ota/repository"
)

const keysHelp = `Make and change the keys that a fleet's gateways believe.

A repository is at the controller that you are logged in to ('headgate fleet login'), or, with its name,
a folder that any static server can serve. Its root keys say who may sign what, its
targets keys sign functions and binaries; both stay with people, each in a file below
HEADGATE_HOME/keys that a passphrase opens (HEADGATE_KEYS_PASSPHRASE, or asked for). The online key
signs how new all of it is; it can withhold what is new, and make no gateway run anything.

Where a role takes several signatures each holder runs 'headgate keys sign'; with the
last one that is needed the change is published. docs/updates.md has the whole way.`

const roleHelp = "\n\nROLE is root, targets or online. A KEY is the name of one in your ring, a public key, or its id."

func (a *app) keysCommand() *cobra.Command {
	c := &cobra.Command{Use: "keys", Short: "Make and change the keys that a fleet's gateways believe", Long: keysHelp}
	c.AddCommand(a.keysInitCommand(), a.keysNewCommand(), a.keysAddCommand(), a.keysRotateCommand(), a.keysRemoveCommand(),
		a.keysSignCommand(), a.keysDiscardCommand(), a.keysRenewCommand(), a.keysListCommand(), a.keysTrustCommand(), a.keysRecoverCommand())
	return c
}

func (a *app) keysInitCommand() *cobra.Command {
	var name string
	c := &cobra.Command{
		Use: "init [REPOSITORY]", Short: "Make a repository and its first keys", Args: cobra.MaximumNArgs(1),
		Long: "Make a repository and its first keys: at the controller that you are logged in to, or in a folder.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return a.initAtController(cmd.Context(), name)
			}
			ring, err := ring()
			if err != nil {
				return err
			}
			if _, err := os.Stat(filepath.Join(args[0], "metadata")); err == nil {
				return fmt.Errorf("%s: %w", args[0], repository.ErrExists)
			}
			pass, err := a.newPassphrase()
			if err != nil {
				return err
			}
			made := map[string]ed25519.PrivateKey{}
			for _, role := range []repository.Role{repository.Root, repository.Targets, repository.Online} {
				p := pass
				if role == repository.Online {
					p = nil
				}
				key, err := ring.Create(name+"-"+string(role), p)
				if err != nil {
					return fmt.Errorf("%w; --name gives this fleet's keys another name", err)
				}
				made[string(role)] = key
			}
			public := func(r repository.Role) ed25519.PublicKey { return made[string(r)].Public().(ed25519.PublicKey) }
			r, err := repository.Create(args[0], time.Now, repository.Plan{
				Root: []ed25519.PublicKey{public(repository.Root)}, Targets: []ed25519.PublicKey{public(repository.Targets)},
				Online: public(repository.Online), RootThreshold: 1, TargetsThreshold: 1,
			})
			if err != nil {
				return err
			}
			if _, err := r.Sign(made["root"], made["targets"]); err != nil {
				return err
			}
			if err := r.Commit(made["online"]); err != nil {
				return err
			}
			fmt.Fprintf(a.err, "made the keys %s-root, %s-targets and %s-online in %s. Keep a copy of the first two: without them nothing can be published or taken back.\n", name, name, name, ring.Dir)
			return a.printRepository(r, "made "+args[0]+"; its gateways pin "+filepath.Join(args[0], "metadata", "root.json"))
		},
	}
	c.Flags().StringVar(&name, "name", "fleet", "what the keys' names begin with")
	return c
}

func (a *app) keysNewCommand() *cobra.Command {
	var open bool
	c := &cobra.Command{
		Use: "new NAME", Short: "Make a key in your ring, and print its public half", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) (err error) {
			ring, err := ring()
			if err != nil {
				return err
			}
			var pass []byte
			if !open {
				if pass, err = a.newPassphrase(); err != nil {
					return err
				}
			}
			key, err := ring.Create(args[0], pass)
			if err != nil {
				return err
			}
			public := keyring.PublicString(key.Public().(ed25519.PublicKey))
			if a.json {
				return a.printJSON(map[string]string{"name": args[0], "public": public})
			}
			fmt.Fprintln(a.out, public)
			return nil
		},
	}
	c.Flags().BoolVar(&open, "online", false, "no passphrase: for the key of a machine that publishes by itself")
	return c
}

// folderOf takes the folder of a repository from the front of the arguments,
// where there is one more than the others; none is the controller's.
func folderOf(args []string, others int) (dir string, rest []string) {
	if len(args) > others {
		return args[0], args[1:]
	}
	return "", args
}

// changeKeys stages a change, and goes on as far as the keys at hand lead.
func (a *app) changeKeys(ctx context.Context, dir string, change func(r *repository.Repository, ring keyring.Ring) error) error {
	if dir == "" {
		return a.changeAtController(ctx, change)
	}
	r, err := repository.Open(dir, time.Now)
	if err != nil {
		return err
	}
	ring, err := ring()
	if err != nil {
		return err
	}
	if err := change(r, ring); err != nil {
		return err
	}
	return a.finish(r, ring)
}

func (a *app) keysAddCommand() *cobra.Command {
	return a.keyCommand("add", "Let another key sign", func(c *repository.Change, keys []ed25519.PublicKey) { c.Add = keys })
}

func (a *app) keysRemoveCommand() *cobra.Command {
	return a.keyCommand("remove", "Let a key sign no more", func(c *repository.Change, keys []ed25519.PublicKey) { c.Remove = keys })
}

// keyCommand changes what one key may; put has it where the change wants it.
func (a *app) keyCommand(verb, short string, put func(*repository.Change, []ed25519.PublicKey)) *cobra.Command {
	var threshold int
	c := &cobra.Command{
		Use: verb + " [REPOSITORY] ROLE KEY", Short: short, Long: short + "." + roleHelp, Args: cobra.RangeArgs(2, 3),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, args := folderOf(args, 2)
			return a.changeKeys(cmd.Context(), dir, func(r *repository.Repository, ring keyring.Ring) error {
				key, err := publicKey(r, ring, args[1])
				if err != nil {
					return err
				}
				change := repository.Change{Role: repository.Role(args[0]), Threshold: threshold}
				put(&change, []ed25519.PublicKey{key})
				return r.ChangeKeys(change)
			})
		},
	}
	c.Flags().IntVar(&threshold, "threshold", 0, "how many signatures the role takes from now on")
	return c
}

func (a *app) keysRotateCommand() *cobra.Command {
	return &cobra.Command{
		Use: "rotate [REPOSITORY] ROLE OLD NEW | rotate online", Short: "Put one key in the place of another", Args: cobra.RangeArgs(1, 4),
		Long: "Put one key in the place of another: what the old one signed does not count any more. Where a targets key was stolen\n" +
			"rotate the online key too, so that versions that a thief made up do not outrank yours. 'rotate online' alone has the\n" +
			"controller make another one for itself." + roleHelp,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) == 1 && args[0] == string(repository.Online):
				return a.rotateOnline(cmd.Context())
			case len(args) < 3:
				return usageError{errors.New("want ROLE OLD NEW, or online alone for the controller's own")}
			}
			dir, args := folderOf(args, 3)
			return a.changeKeys(cmd.Context(), dir, func(r *repository.Repository, ring keyring.Ring) error {
				before, err := publicKey(r, ring, args[1])
				if err != nil {
					return err
				}
				after, err := publicKey(r, ring, args[2])
				if err != nil {
					return err
				}
				return r.ChangeKeys(repository.Change{Role: repository.Role(args[0]), Add: []ed25519.PublicKey{after}, Remove: []ed25519.PublicKey{before}})
			})
		},
	}
}

func (a *app) keysSignCommand() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use: "sign [REPOSITORY]", Short: "Sign what waits for your signature, and publish what has all of its", Args: cobra.MaximumNArgs(1),
		Long: "Show what waits for your signature, sign it, and publish what has all of its. What comes from the controller is asked\n" +
			"about first, since whoever holds the controller may have put it there: --yes says that you have read it.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return a.signAtController(cmd.Context(), yes)
			}
			return a.changeKeys(cmd.Context(), args[0], func(r *repository.Repository, _ keyring.Ring) error { return a.showChanges(r) })
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "sign without being asked")
	return c
}

// showChanges prints what is going to be signed.
func (a *app) showChanges(r *repository.Repository) error {
	if len(r.Waiting()) == 0 {
		return errors.New("nothing waits for a signature")
	}
	changes, err := r.Changes()
	for _, c := range changes {
		fmt.Fprintln(a.err, "to sign:", c)
	}
	return err
}

func (a *app) keysRenewCommand() *cobra.Command {
	return &cobra.Command{
		Use: "renew [REPOSITORY]", Short: "Sign root and targets anew, before they expire", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, _ := folderOf(args, 0)
			return a.changeKeys(cmd.Context(), dir, func(r *repository.Repository, _ keyring.Ring) error { return r.Renew() })
		},
	}
}

func (a *app) keysListCommand() *cobra.Command {
	var fleet bool
	c := &cobra.Command{
		Use: "list [REPOSITORY]", Short: "List the keys of your ring, or who may sign in a repository", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if fleet {
				return a.listAtController(cmd.Context())
			}
			if len(args) == 1 {
				r, err := repository.Open(args[0], time.Now)
				if err != nil {
					return err
				}
				return a.printRepository(r, "")
			}
			ring, err := ring()
			if err != nil {
				return err
			}
			names, err := ring.Names()
			if err != nil {
				return err
			}
			type key struct {
				Name   string `json:"name"`
				Public string `json:"public"`
				Locked bool   `json:"locked"`
			}
			all := []key{}
			for _, name := range names {
				public, err := ring.Public(name)
				if err != nil {
					return err
				}
				locked, err := ring.Locked(name)
				if err != nil {
					return err
				}
				all = append(all, key{name, keyring.PublicString(public), locked})
			}
			if a.json {
				return a.printJSON(all)
			}
			for _, k := range all {
				fmt.Fprintf(a.out, "%-24s %s\n", k.Name, k.Public)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&fleet, "fleet", false, "who may sign in the controller's repository, and what waits there")
	return c
}

// ring is the user's own.
func ring() (keyring.Ring, error) {
	dir, err := homeDir()
	return keyring.Ring{Dir: filepath.Join(dir, "keys")}, err
}

// ringKey is a key of the ring, by its name and by the ID that repositories give
// it.
type ringKey struct{ name, id string }

// ringKeys are the keys of a ring, in the order of their names.
func ringKeys(ring keyring.Ring) (keys []ringKey, err error) {
	names, err := ring.Names()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		public, err := ring.Public(name)
		if err != nil {
			return nil, err
		}
		id, err := repository.KeyID(public)
		if err != nil {
			return nil, err
		}
		keys = append(keys, ringKey{name: name, id: id})
	}
	return keys, nil
}

// ringIDs are the IDs of a ring's keys.
func ringIDs(ring keyring.Ring) (ids []string, err error) {
	keys, err := ringKeys(ring)
	for _, k := range keys {
		ids = append(ids, k.id)
	}
	return ids, err
}

// publicKey finds the key that a name, a public key or an id stands for.
func publicKey(r *repository.Repository, ring keyring.Ring, name string) (ed25519.PublicKey, error) {
	if key, err := ring.Public(name); err == nil {
		return key, nil
	}
	if key, err := r.Public(name); err == nil {
		return key, nil
	}
	key, err := keyring.ParsePublic(name)
	if err != nil {
		return nil, fmt.Errorf("there is no key %s in your ring ('headgate keys new' makes one), and %w", name, err)
	}
	return key, nil
}

// signAll signs what is staged with the keys of the ring, and returns the online
// key if it is among them.
func (a *app) signAll(r *repository.Repository, ring keyring.Ring, pass *[]byte) (online ed25519.PrivateKey, err error) {
	keys, err := ringKeys(ring)
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		if r.Online(k.id) {
			if online, err = a.openKey(ring, k.name, pass); err != nil {
				return nil, err
			}
		}
		if !r.Wants(k.id) {
			continue
		}
		key, err := a.openKey(ring, k.name, pass)
		if err != nil {
			return nil, err
		}
		if _, err := r.Sign(key); err != nil {
			return nil, err
		}
	}
	return online, nil
}

// moreSigns is said where keys of others are needed too.
const moreSigns = "signed with the keys of your ring; more signatures are needed: 'headgate keys sign' by another holder"

// finish signs what is staged with the keys of the ring, and publishes it when
// that is enough.
func (a *app) finish(r *repository.Repository, ring keyring.Ring) error {
	var pass []byte
	online, err := a.signAll(r, ring, &pass)
	if err != nil {
		return err
	}
	for _, w := range r.Waiting() {
		if w.Missing != "" {
			return a.printRepository(r, moreSigns)
		}
	}
	if online == nil {
		return a.printRepository(r, "signed; the machine with the online key publishes it: 'headgate keys sign' there")
	}
	if err := r.Commit(online); err != nil {
		return err
	}
	return a.printRepository(r, "published")
}

// openKey unlocks a key, with the passphrase that opened the one before if that
// does it.
func (a *app) openKey(ring keyring.Ring, name string, pass *[]byte) (ed25519.PrivateKey, error) {
	locked, err := ring.Locked(name)
	if err != nil {
		return nil, err
	}
	if !locked {
		return ring.Open(name, nil)
	}
	if len(*pass) > 0 {
		if key, err := ring.Open(name, *pass); err == nil {
			return key, nil
		}
	}
	if *pass, err = a.passphrase("passphrase of " + name); err != nil {
		return nil, err
	}
	return ring.Open(name, *pass)
}

// passphrase asks for one, or takes it from the environment.
func (a *app) passphrase(what string) ([]byte, error) {
	if p := os.Getenv("HEADGATE_KEYS_PASSPHRASE"); p != "" {
		return []byte(p), nil
	}
	f, ok := a.in.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil, errors.New("no terminal to ask for the passphrase: set HEADGATE_KEYS_PASSPHRASE")
	}
	fmt.Fprintf(a.err, "%s: ", what)
	p, err := term.ReadPassword(int(f.Fd()))
	fmt.Fprintln(a.err)
	return p, err
}

// newPassphrase asks twice.
func (a *app) newPassphrase() ([]byte, error) {
	const least = 8
	first, err := a.passphrase("new passphrase")
	if err != nil {
		return nil, err
	}
	if len(first) < least {
		return nil, fmt.Errorf("a passphrase has at least %d characters: whoever copies the file can try as many as they like", least)
	}
	if os.Getenv("HEADGATE_KEYS_PASSPHRASE") != "" {
		return first, nil
	}
	again, err := a.passphrase("the same again")
	if err == nil && string(again) != string(first) {
		err = errors.New("the two are not the same")
	}
	return first, err
}

// repositoryReport is a repository for eyes.
type repositoryReport struct {
	Done    string               `json:"done,omitempty"`
	Keys    []repository.Keys    `json:"keys"`
	Waiting []repository.Waiting `json:"waiting,omitempty"`
	// published says that gateways get it.
	published bool
}

func (a *app) printRepository(r *repository.Repository, done string) error {
	return a.printReport(repositoryReport{Done: done, Keys: r.Keys(), Waiting: r.Waiting()})
}

func (a *app) printReport(report repositoryReport) error {
	done := report.Done
	if a.json {
		return a.printJSON(report)
	}
	if done != "" {
		fmt.Fprintln(a.out, done)
	}
	for _, w := range report.Waiting {
		fmt.Fprintf(a.out, "waiting: %s version %d, signed by %d", w.Role, w.Version, len(w.Signed))
		if w.Missing != "" {
			fmt.Fprintf(a.out, ": %s", w.Missing)
		}
		fmt.Fprintln(a.out)
	}
	if done == "" {
		mine, err := ringNames()
		if err != nil {
			return err
		}
		printRoles(a.out, report.Keys, mine)
	}
	return nil
}

// printRoles prints who may sign; mine are the names of the reader's own keys.
func printRoles(out io.Writer, roles []repository.Keys, mine map[string]string) {
	for _, k := range roles {
		end := ""
		if !k.Expires.IsZero() {
			end = ", until " + k.Expires.Format(time.DateOnly)
		}
		fmt.Fprintf(out, "%-8s %d of %d%s\n", k.Role, k.Threshold, len(k.IDs), end)
		for _, id := range k.IDs {
			if name := mine[id]; name != "" {
				id += "  " + name + ", in your ring"
			}
			fmt.Fprintf(out, "    %s\n", id)
		}
	}
}
