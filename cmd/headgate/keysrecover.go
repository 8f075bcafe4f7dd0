package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	controllerclient "github.com/headgate-io/headgate/controller/client"
	"github.com/headgate-io/headgate/sync/ota"
	"github.com/headgate-io/headgate/sync/ota/keyring"
	"github.com/headgate-io/headgate/sync/ota/repository"
)

// restoredHint says what to do about a controller that is behind what is known.
func restoredHint(err error) string {
	if errors.Is(err, ota.ErrRollback) {
		return ": if whoever runs the controller has restored it from a backup, 'headgate keys recover' goes on from there"
	}
	return ""
}

func (a *app) keysRecoverCommand() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use: "recover", Short: "Sign again what a controller has that was restored from a backup", Args: cobra.NoArgs,
		Long: "Sign what the controller has once more, as newer than all that this machine and gateways have seen: after the\n" +
			"controller was restored from a backup, if something was published since that was made. Until then gateways take\n" +
			"nothing new from it. Publish again afterwards what the backup has not. It does no harm\n" +
			"where nothing was lost.\n\n" +
			"Ask whoever runs the controller first: somebody who holds it could make you sign an earlier state. What is there, and how\n" +
			"it differs from what this machine has seen last, is shown; nothing else is signed. Where several holders have to sign,\n" +
			"each runs this command.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			report, err := a.recover(cmd.Context(), yes)
			if err != nil {
				return err
			}
			return a.printReport(report)
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "sign without asking")
	return c
}

// recover has the controller's targets lead what is trusted here.
func (a *app) recover(ctx context.Context, yes bool) (report repositoryReport, err error) {
	ring, err := ring()
	if err != nil {
		return report, err
	}
	err = a.withFleet(func(client *controllerclient.Client) error {
		report, err = a.lead(ctx, client, ring, yes)
		return err
	})
	return report, err
}

func (a *app) lead(ctx context.Context, client *controllerclient.Client, ring keyring.Ring, yes bool) (report repositoryReport, err error) {
	c, seen, err := behind(ctx, client)
	if err != nil {
		return report, err
	}
	defer c.remove()
	switch err := c.repo.Lead(seen.version); {
	case errors.Is(err, repository.ErrWaiting):
		return report, fmt.Errorf("%w at the controller, which 'headgate keys recover' does not sign: 'headgate keys discard' throws it away; make it again afterwards if it is wanted", err)
	case err != nil:
		return report, err
	}
	if err := a.showRecovery(c.repo, seen, yes); err != nil {
		return report, err
	}
	var pass []byte
	return a.signAndPush(ctx, c, ring, &pass)
}

// lastSeen is what this machine has seen last of the targets.
type lastSeen struct {
	version int64
	targets []ota.Target
}

// showRecovery shows what is going to be signed, and how it differs from what was
// seen: a controller that was not restored, but stolen, would have an earlier state
// signed, and what was mended since undone.
func (a *app) showRecovery(r *repository.Repository, seen lastSeen, yes bool) error {
	published, err := r.Published(false)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.err, "The controller has version %d of the targets, and this machine has seen %d.\n", r.TargetsVersion(), seen.version)
	changes := repository.Compare(seen.targets, published)
	if len(changes) == 0 {
		fmt.Fprintln(a.err, "Both name the same.")
	}
	for _, c := range changes {
		fmt.Fprintln(a.err, "against what was seen:", c)
	}
	if yes {
		return nil
	}
	if len(published) > 0 {
		fmt.Fprintln(a.err, "This is in it:")
	}
	if err := a.printTargets(r); err != nil {
		return err
	}
	return a.confirm("sign it as the newest?")
}

// behind brings the controller's repository here, verified by the root that this
// machine trusts, but for how far it had come, which is last.
func behind(ctx context.Context, client *controllerclient.Client) (c *checkout, last lastSeen, err error) {
	trust, err := trustDir()
	if err != nil {
		return nil, last, err
	}
	known, err := trustedRoot(trust)
	if err != nil {
		return nil, last, err
	}
	if known == 0 {
		return nil, last, errNoTrust
	}
	raw, err := os.ReadFile(filepath.Join(trust, "targets.json"))
	if err != nil {
		return nil, last, err
	}
	if last.version, err = repository.ReadVersion(raw); err != nil {
		return nil, last, err
	}
	if last.targets, err = repository.ReadTargets(raw); err != nil {
		return nil, last, err
	}
	got, err := atController(ctx, client, known)
	if err != nil {
		return nil, last, err
	}
	alone, err := os.MkdirTemp("", "headgate-trust-*")
	if err != nil {
		return nil, last, err
	}
	defer os.RemoveAll(alone)
	root, err := os.ReadFile(filepath.Join(trust, "root.json"))
	if err == nil {
		err = ota.Pin(alone, root)
	}
	if err != nil {
		return nil, last, err
	}
	files := repository.Files{StagedRoot: got.StagedRoot, StagedTargets: got.StagedTargets}
	if err := verified(ctx, alone, got, &files); err != nil {
		return nil, last, fmt.Errorf("the controller's repository is not signed by the keys that this machine trusts (%s): if keys were changed after the backup, it needs a backup that was made after that: %w", trust, err)
	}
	c, err = unpack(client, got, &files)
	return c, last, err
}
