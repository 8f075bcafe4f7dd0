package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/headgate-io/headgate/controller/ca"
	"github.com/headgate-io/headgate/controller/config"
	"github.com/headgate-io/headgate/controller/content"
	"github.com/headgate-io/headgate/controller/store"
	"github.com/headgate-io/headgate/internal/durable"
	"github.com/headgate-io/headgate/internal/sole"
	"github.com/headgate-io/headgate/sync/ota/keyring"
)

// Restored is what a restore did.
type Restored struct {
	Summary
	// Repositories are those that were signed anew, Keyless those whose online key
	// is not in the backup.
	Repositories int
	Keyless      []string
	// Paused are deployments that were under way when the backup was made.
	Paused int
}

// Options are how to restore.
type Options struct {
	Log *slog.Logger
	// ClockWasWrong says that the clock was, by which the backup was made later
	// than now.
	ClockWasWrong bool
}

// Restore puts a backup into the empty folders of a configuration. Everything is
// verified before anything is put there. Until it has returned without an error
// no controller runs there, whatever ended it; to restore again begins anew.
func Restore(ctx context.Context, cfg *config.Config, file string, o Options) (out Restored, err error) {
	r := restorer{reader: reader{ctx: ctx, places: placesOf(cfg)}, options: o, now: time.Now()}
	if err := r.open(file); err != nil {
		return out, err
	}
	defer r.file.Close()
	alone, err := store.Alone(cfg.DSN())
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, alone.Release()) }()
	folder, err := r.sole()
	if err != nil {
		return out, err
	}
	defer folder.Close()
	if err := r.empty(); err != nil {
		return out, err
	}
	if out.Summary, err = r.pass(func(_, _ string, from io.Reader) error { _, err := io.Copy(io.Discard, from); return err }); err != nil {
		return out, fmt.Errorf("%s: %w", file, err)
	}
	if err := r.clock(&out.Summary); err != nil {
		return out, err
	}
	if r.places.database == "" {
		if err := r.same(out.Header); err != nil {
			return out, err
		}
	}
	if err := r.begin(file); err != nil {
		return out, err
	}
	if _, err := r.pass(r.extract); err != nil {
		return out, fmt.Errorf("%s: %w", file, err)
	}
	return out, r.finish(&out)
}

// sole keeps a second restore from the folder, which on PostgreSQL no database's
// lock does: it would take the first one for cut off, and remove what that has put
// there.
func (r *restorer) sole() (*os.File, error) {
	if err := os.MkdirAll(r.places.dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.Open(r.places.dir)
	if err != nil {
		return nil, err
	}
	switch err := sole.Try(f); {
	case errors.Is(err, sole.ErrHeld):
		return nil, errors.Join(fmt.Errorf("another restore into %s is under way: wait for it, or stop it first", r.places.dir), f.Close())
	case err != nil:
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// maxAhead is how far the clock of the machine that made a backup may have led.
const maxAhead = 5 * time.Minute

// clock refuses to count from a clock that is behind: gateways would take the
// revisions for ones that they follow already, and those of the lost day would be
// strangers.
func (r *restorer) clock(s *Summary) error {
	if s.Created.After(r.now.Add(maxAhead)) && !r.options.ClockWasWrong {
		return fmt.Errorf("the backup is of %s, and by the clock of this machine it is %s: set the clock and restore again; where that of the backup was wrong, restore with --clock-was-wrong",
			s.Created.Format(time.DateTime+" MST"), r.now.UTC().Format(time.DateTime+" MST"))
	}
	return nil
}

type restorer struct {
	reader
	options Options
	now     time.Time
}

// own are files that may be in an empty folder: locks, and what file systems put
// there.
var own = []string{"ca.lock", "lost+found", markerName}

// empty refuses folders that hold something. What a restore that was cut off has
// left counts for nothing: it began with empty ones.
func (r *restorer) empty() error {
	note, err := os.ReadFile(filepath.Join(r.places.dir, markerName))
	if err == nil && !strings.HasSuffix(string(note), r.places.note()) {
		return fmt.Errorf("a restore into %s was cut off that had other folders, and what is in those of now is not its own: have the configuration name the same again (%s says which), or choose another folder with --dir", r.places.dir, filepath.Join(r.places.dir, markerName))
	}
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	ignored := slices.Clone(own)
	database := r.places.database
	if database != "" {
		if _, err := os.Lstat(database); !errors.Is(err, fs.ErrNotExist) {
			return errors.Join(fmt.Errorf("there is a database at %s already: a backup is restored into an empty folder; move it away, or name another with --dir", database), err)
		}
		for _, suffix := range []string{".running", ".lock"} {
			ignored = append(ignored, filepath.Base(database)+suffix)
		}
	}
	for _, dir := range []string{r.places.dir, r.places.content, r.places.keys} {
		all, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, e := range all {
			if !slices.Contains(ignored, e.Name()) && !r.emptyPlace(filepath.Join(dir, e.Name())) {
				return fmt.Errorf("%s is not empty (there is %s): a backup is restored into an empty folder; move it away, or name another with --dir", dir, e.Name())
			}
		}
	}
	return nil
}

// emptyPlace reports whether a path is one of the folders, which are looked into
// by themselves.
func (r *restorer) emptyPlace(path string) bool {
	return path == r.places.content || path == r.places.keys
}

// same refuses a database on PostgreSQL that is of another controller, or of none.
func (r *restorer) same(h Header) (err error) {
	s, err := store.OpenAsIs(r.places.dsn)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	const first = "put its database back first, with pg_restore into an empty one"
	if n, err := s.Schema(r.ctx); err != nil || n == 0 {
		return errors.Join(errors.New("the database has no controller in it: "+first), err)
	}
	return s.View(r.ctx, func(tx *store.Tx) error {
		known, err := tx.Meta(r.ctx, "ca")
		if err == nil && known != h.CA {
			err = errors.New("the database is of another controller than the backup: " + first)
		}
		return err
	})
}

// note says where the parts of a restore are.
func (p *places) note() string {
	return fmt.Sprintf("content %q\nkeys %q\ndatabase %q\n", p.content, p.keys, p.database)
}

// begin leaves a mark that keeps every controller from the folder, and removes
// what a restore before has left.
func (r *restorer) begin(file string) error {
	note := fmt.Sprintf("%s is being restored here. Nothing here may be used until this file is gone.\n%s", file, r.places.note())
	if err := durable.Replace(filepath.Join(r.places.dir, markerName), []byte(note)); err != nil {
		return err
	}
	for _, dir := range []string{r.places.content, r.places.keys} {
		if dir == r.places.dir {
			continue
		}
		all, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, e := range all {
			if slices.Contains(own, e.Name()) {
				continue
			}
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	left := []string{filepath.Join(r.places.dir, authority[0]), filepath.Join(r.places.dir, authority[1])}
	if r.places.database != "" {
		for _, suffix := range []string{"", "-wal", "-shm", unfinishedSuffix, unfinishedSuffix + "-wal", unfinishedSuffix + "-shm", unfinishedSuffix + ".lock"} {
			left = append(left, r.places.database+suffix)
		}
	}
	for _, path := range left {
		if err := removed(path); err != nil {
			return err
		}
	}
	return nil
}

// extract puts one file where it belongs.
func (r *restorer) extract(path, name string, from io.Reader) error {
	folder, mode := fs.FileMode(0o700), fs.FileMode(0o600)
	if strings.HasPrefix(name, contentName) {
		folder, mode = 0o755, 0o644
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, folder); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	return errors.Join(err, f.Sync(), f.Close())
}

// finish lifts what only grows above what gateways may have seen, and gives the
// folder free.
func (r *restorer) finish(out *Restored) error {
	a, err := ca.Open(r.places.dir, nil)
	if err != nil {
		return err
	}
	if a.Fingerprint() != out.CA {
		return fmt.Errorf("%w: its authority is not the one that it names", ErrUnfit)
	}
	floor := store.RevisionFloor(r.now)
	if out.Created.After(r.now) {
		floor = store.RevisionFloor(out.Created)
	}
	k := content.New(r.places.content, keyring.Ring{Dir: r.places.keys}, time.Now, r.options.Log)
	if out.Repositories, out.Keyless, err = k.Lift(floor); err != nil {
		return err
	}
	dsn := r.places.dsn
	if r.places.database != "" {
		dsn = "sqlite:" + r.places.database + unfinishedSuffix
	}
	if err := r.settle(dsn, floor, out); err != nil {
		return err
	}
	for _, dir := range []string{r.places.content, r.places.keys} {
		if err := syncAll(dir); err != nil {
			return err
		}
	}
	if r.places.database != "" {
		if err := removed(r.places.database + unfinishedSuffix + ".lock"); err != nil {
			return err
		}
		if err := os.Rename(r.places.database+unfinishedSuffix, r.places.database); err != nil {
			return err
		}
		if err := durable.SyncFolder(filepath.Dir(r.places.database)); err != nil {
			return err
		}
	}
	if err := durable.SyncFolder(r.places.dir); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(r.places.dir, markerName)); err != nil {
		return err
	}
	return durable.SyncFolder(r.places.dir)
}

// settle tells the database that it has forgotten something.
func (r *restorer) settle(dsn string, floor int64, out *Restored) (err error) {
	s, err := store.Open(r.ctx, dsn)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return s.Update(r.ctx, func(tx *store.Tx) error {
		out.Paused = 0
		from, err := r.forgotten(tx, out)
		if err != nil {
			return err
		}
		if err := tx.AddWindow(r.ctx, store.Window{From: from, To: r.now}); err != nil {
			return err
		}
		for page := (store.Page{Limit: 100}); ; {
			tenants, err := tx.Tenants(r.ctx, page)
			if err != nil {
				return err
			}
			for _, t := range tenants {
				page.After = t.Name
				if err := r.tenant(tx, t.ID, floor, out); err != nil {
					return err
				}
			}
			if len(tenants) < page.Limit {
				return r.pause(tx, out)
			}
		}
	})
}

// forgotten is from when on the database knows nothing. On PostgreSQL that is not
// when the backup was made: the copy is older, or the database was never lost, and
// then it knows best who was put out.
func (r *restorer) forgotten(tx *store.Tx, out *Restored) (time.Time, error) {
	latest, err := tx.Latest(r.ctx)
	if err != nil || latest.IsZero() || r.places.database != "" && latest.After(out.Created) {
		return out.Created, err
	}
	return latest, nil
}

func (r *restorer) tenant(tx *store.Tx, id string, floor int64, out *Restored) error {
	note := fmt.Sprintf(`{"backup":%q}`, out.Created.Format(time.RFC3339))
	if err := tx.AddChange(r.ctx, store.Change{Tenant: id, At: r.now, Actor: "local", Action: "controller.restore", Object: "controller", After: note}); err != nil {
		return err
	}
	for page := (store.Page{Limit: 100}); ; {
		list, err := tx.GatewaysByID(r.ctx, id, page)
		if err != nil {
			return err
		}
		for i := range list {
			page.After = list[i].ID
			if err := tx.RaiseDesired(r.ctx, list[i].ID, floor); err != nil {
				return err
			}
		}
		if len(list) < page.Limit {
			return nil
		}
	}
}

// pause stops what was under way: nobody knows here whether it was taken back
// since.
func (r *restorer) pause(tx *store.Tx, out *Restored) error {
	why := fmt.Sprintf("the controller was restored from a backup of %s: resume it if it is still wanted, else abort it", out.Created.Format(time.DateTime+" MST"))
	for page := (store.Page{Limit: 100}); ; {
		list, err := tx.OpenDeployments(r.ctx, page)
		if err != nil {
			return err
		}
		for i := range list {
			d := &list[i]
			page.After = d.ID
			if d.State != store.Running {
				continue
			}
			d.State, d.Reason = store.Paused, why
			if err := tx.SetDeployment(r.ctx, *d); err != nil {
				return err
			}
			if err := tx.AddStep(r.ctx, store.Step{Deployment: d.ID, At: r.now, Wave: d.Wave, Note: why}); err != nil {
				return err
			}
			out.Paused++
		}
		if len(list) < page.Limit {
			return nil
		}
	}
}

// syncAll puts the names below a folder on the disk.
func syncAll(dir string) error {
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return err
		}
		return durable.SyncFolder(path)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(err, durable.SyncFolder(filepath.Dir(dir)))
}
