package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	controllerapi "github.com/headgate-io/headgate/controller/api"
	controllerclient "github.com/headgate-io/headgate/controller/client"
	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/sync/ota"
	"github.com/headgate-io/headgate/sync/ota/keyring"
	"github.com/headgate-io/headgate/sync/ota/repository"
)

// trustDir keeps what is believed of the repository of a login: the root that
// was pinned, and how far it had come. A controller that says something else is
// found out, so that nobody signs what its thief put there.
func trustDir() (string, error) {
	home, err := homeDir()
	if err != nil {
		return "", err
	}
	l, err := readLogin()
	if err != nil {
		return "", err
	}
	u, err := url.Parse(l.Controller)
	if err != nil || l.Tenant == "" {
		return "", errors.New("the login is an old one: log in again with 'headgate fleet login'")
	}
	return filepath.Join(home, "fleets", strings.ReplaceAll(u.Host, ":", "_")+"_"+url.PathEscape(l.Tenant)), nil
}

// checkout is the controller's repository in a temporary folder.
type checkout struct {
	client *controllerclient.Client
	dir    string
	state  string // what a change is made of
	repo   *repository.Repository
}

func (c *checkout) remove() { os.RemoveAll(c.dir) }

// atController asks for the repository as it is, after a version of the root.
func atController(ctx context.Context, c *controllerclient.Client, after int64) (*controllerapi.Repository, error) {
	var r controllerapi.Repository
	return &r, c.Do(ctx, http.MethodGet, fmt.Sprintf("/v1/repository?after=%d", after), nil, &r)
}

// errNoRepository is a fleet without keys.
var errNoRepository = errors.New("the fleet has no keys yet: 'headgate keys init' makes them")

// errNoTrust is a machine that has no root of the fleet to verify by.
var errNoTrust = errors.New("this machine does not know yet whose signatures count in this fleet: 'headgate keys trust' shows and keeps it")

// checkOut brings the controller's repository here. What is published is
// verified from the root that is trusted here; what is staged is nobody's word
// yet.
func (a *app) checkOut(ctx context.Context, c *controllerclient.Client) (*checkout, error) {
	trust, err := trustDir()
	if err != nil {
		return nil, err
	}
	known, err := trustedRoot(trust)
	if err != nil {
		return nil, err
	}
	got, err := atController(ctx, c, known)
	if err != nil {
		return nil, err
	}
	files := repository.Files{StagedRoot: got.StagedRoot, StagedTargets: got.StagedTargets}
	switch {
	case len(got.Root)+len(got.StagedRoot) == 0:
		return nil, errNoRepository
	case len(got.Root) == 0 && known == 0: // its first root waits for signatures
	case known == 0:
		return nil, errNoTrust
	default:
		if err := verified(ctx, trust, got, &files); err != nil {
			return nil, fmt.Errorf("the controller's repository does not follow on what this machine knows of it (%s): %w%s", trust, err, restoredHint(err))
		}
	}
	return unpack(c, got, &files)
}

// unpack makes a repository here of what was verified.
func unpack(c *controllerclient.Client, got *controllerapi.Repository, files *repository.Files) (*checkout, error) {
	dir, err := os.MkdirTemp("", "headgate-repository-*")
	if err != nil {
		return nil, err
	}
	out := &checkout{client: c, dir: dir, state: got.State}
	if err := files.Write(dir); err != nil {
		out.remove()
		return nil, err
	}
	if out.repo, err = repository.Open(dir, time.Now); err != nil {
		out.remove()
		return nil, err
	}
	return out, nil
}

// trustedRoot is the version of the root that is trusted here; 0 is none.
func trustedRoot(dir string) (int64, error) {
	if !ota.Pinned(dir) {
		return 0, nil
	}
	raw, err := os.ReadFile(filepath.Join(dir, "root.json"))
	if err != nil {
		return 0, err
	}
	return repository.ReadVersion(raw)
}

// timeless has every signature count and nothing be past its end: how new it
// all is, the controller signs again with what is published.
type timeless struct{}

func (timeless) Now() time.Time     { return time.Time{} }
func (timeless) Trust() event.Trust { return event.TimeUnknown }

// verified walks from the trusted root to what is published, as gateways do, and
// keeps how far that was.
func verified(ctx context.Context, trust string, got *controllerapi.Repository, files *repository.Files) error {
	client, err := ota.Open(ota.Config{Dir: trust, Clock: timeless{}, Source: answered{got}})
	if err != nil {
		return err
	}
	if _, err := client.Refresh(ctx); err != nil && !errors.Is(err, ota.ErrClock) {
		return err
	}
	for name, into := range map[string]*[]byte{"root.json": &files.Root, "timestamp.json": &files.Timestamp, "snapshot.json": &files.Snapshot, "targets.json": &files.Targets} {
		if *into, err = os.ReadFile(filepath.Join(trust, name)); err != nil {
			return err
		}
	}
	return nil
}

// answered is the controller's answer as the files of a repository.
type answered struct{ *controllerapi.Repository }

// Open implements ota.Source.
func (r answered) Open(_ context.Context, path string, _ int64) (ota.Content, error) {
	name := filepath.Base(path)
	var raw []byte
	switch {
	case name == "timestamp.json":
		raw = r.Timestamp
	case strings.HasSuffix(name, ".snapshot.json"):
		raw = r.Snapshot
	case strings.HasSuffix(name, ".targets.json"):
		raw = r.Targets
	default:
		for _, root := range r.Roots {
			if v, err := repository.ReadVersion(root); err == nil && name == fmt.Sprintf("%d.root.json", v) {
				raw = root
			}
		}
	}
	if len(raw) == 0 {
		return ota.Content{}, ota.ErrNotFound
	}
	return ota.Content{Body: io.NopCloser(bytes.NewReader(raw))}, nil
}

// push hands over what is staged and signed, and what it names.
func (c *checkout) push(ctx context.Context) (*controllerapi.RepositoryChanged, error) {
	fresh, err := c.repo.NewTargets()
	if err != nil {
		return nil, err
	}
	for i := range fresh {
		if err := c.upload(ctx, &fresh[i]); err != nil {
			return nil, err
		}
	}
	files, err := c.repo.Files()
	if err != nil {
		return nil, err
	}
	var out controllerapi.RepositoryChanged
	in := controllerapi.RepositoryChange{Base: c.state, Root: files.StagedRoot, Targets: files.StagedTargets}
	return &out, c.client.Do(ctx, http.MethodPost, "/v1/repository/commit", in, &out)
}

// upload sends a target that was added here; what another holder added is there.
func (c *checkout) upload(ctx context.Context, t *ota.Target) error {
	f, err := os.Open(filepath.Join(c.dir, filepath.FromSlash(t.Path())))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := c.client.Upload(ctx, "/v1/repository/targets/"+t.SHA256, f, t.Bytes); err != nil {
		return fmt.Errorf("upload %s: %w", t.Name, err)
	}
	return nil
}

// changeAtController makes a change of the controller's repository, signs it,
// hands it over and prints what became of it.
func (a *app) changeAtController(ctx context.Context, change func(*repository.Repository, keyring.Ring) error) error {
	report, err := a.handOver(ctx, change)
	if err != nil {
		return err
	}
	return a.printReport(report)
}

// handOver makes a change of the controller's repository on top of what is
// published, or of what the keys of the ring have signed already, and hands it
// over signed: again, where somebody else was faster.
func (a *app) handOver(ctx context.Context, change func(*repository.Repository, keyring.Ring) error) (repositoryReport, error) {
	return a.withCheckout(ctx, func(c *checkout, ring keyring.Ring) error {
		ids, err := ringIDs(ring)
		if err != nil {
			return err
		}
		if unknown := c.repo.Unknown(ids); len(unknown) > 0 {
			return fmt.Errorf("somebody else's change of the %v waits for signatures: 'headgate keys sign' shows and signs it, 'headgate keys discard' throws it away", unknown[0])
		}
		return change(c.repo, ring)
	})
}

// attempts is how often a change is made of what somebody else changed first.
const attempts = 8

// withCheckout has change stage something, signs it and hands it over.
func (a *app) withCheckout(ctx context.Context, change func(*checkout, keyring.Ring) error) (report repositoryReport, err error) {
	ring, err := ring()
	if err != nil {
		return report, err
	}
	err = a.withFleet(func(client *controllerclient.Client) error {
		var pass []byte
		for n := 1; ; n++ {
			report, err = a.tryChange(ctx, client, ring, &pass, change)
			var refused *controllerclient.Error
			if n == attempts || !errors.As(err, &refused) || refused.Status != http.StatusConflict {
				return err
			}
			fmt.Fprintln(a.err, "somebody else has changed the repository meanwhile: once more")
		}
	})
	return report, err
}

func (a *app) tryChange(ctx context.Context, client *controllerclient.Client, ring keyring.Ring, pass *[]byte, change func(*checkout, keyring.Ring) error) (repositoryReport, error) {
	c, err := a.checkOut(ctx, client)
	if err != nil {
		return repositoryReport{}, err
	}
	defer c.remove()
	if err := change(c, ring); err != nil {
		return repositoryReport{}, err
	}
	return a.signAndPush(ctx, c, ring, pass)
}

func (a *app) signAndPush(ctx context.Context, c *checkout, ring keyring.Ring, pass *[]byte) (repositoryReport, error) {
	if _, err := a.signAll(c.repo, ring, pass); err != nil {
		return repositoryReport{}, err
	}
	got, err := c.push(ctx)
	if err != nil {
		return repositoryReport{}, err
	}
	report := repositoryReport{Done: "published", Keys: c.repo.Keys(), published: got.Published}
	if !got.Published {
		report.Done = moreSigns
		for _, w := range got.Waiting {
			report.Waiting = append(report.Waiting, repository.Waiting{Role: repository.Role(w.Role), Version: w.Version, Signed: w.Signed, Missing: w.Missing})
		}
	}
	return report, nil
}

// onlineKey asks the controller for the public half of an online key.
func onlineKey(ctx context.Context, c *controllerclient.Client) (ed25519.PublicKey, error) {
	var k controllerapi.OnlineKey
	if err := c.Do(ctx, http.MethodPost, "/v1/repository/online-key", struct{}{}, &k); err != nil {
		return nil, err
	}
	return keyring.ParsePublic(k.Public)
}
