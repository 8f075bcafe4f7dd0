// Package backup copies what a controller has into one file while it runs, and
// puts such a copy into an empty folder. A controller that was put back is behind
// what its gateways have seen since: Restore lifts what only grows (revisions,
// versions of metadata) above anything they can know of.
package backup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/headgate-io/headgate/controller/config"
	"github.com/headgate-io/headgate/controller/store"
)

// Names in a backup.
const (
	headerName   = "headgate-controller-backup.json" // the first
	manifestName = "manifest.json"                   // the last
	databaseName = "controller.db"
	contentName  = "content/"
	keysName     = "keys/"
)

// authority are the files of the certificate authority, in the controller's
// folder and in a backup.
var authority = [...]string{"ca.crt", "ca.key"}

// format is the version of the form.
const format = 1

// Bounds of what a backup may say of itself, in bytes and in files.
const (
	maxHeaderBytes   = 64 << 10
	maxManifestBytes = 512 << 20
	maxFiles         = 2 << 20
)

// ErrUnfit is a file that is no whole backup, or not one for this program.
var ErrUnfit = errors.New("it cannot be restored")

// Header is what a backup says of itself.
type Header struct {
	Format int `json:"format"`
	// Version is that of the program that made it, Created when it began to.
	Version string    `json:"version"`
	Created time.Time `json:"created"`
	// Schema is the version of the database's tables; 0 is a backup without the
	// database, which is on PostgreSQL.
	Schema int64 `json:"schema,omitempty"`
	// CA is the fingerprint of the certificate authority.
	CA string `json:"ca"`
}

// entry is a file in the manifest.
type entry struct {
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// manifest lists all that comes before it.
type manifest struct {
	Files []entry `json:"files"`
}

// Summary is what a backup holds.
type Summary struct {
	Header
	// Files and Bytes count the contents, Database those bytes that are the
	// database's.
	Files, Bytes, Database int64
}

// places are where the parts of a controller are.
type places struct {
	dir, content, keys string
	database           string // the file; empty on PostgreSQL
	dsn                string
}

func placesOf(cfg *config.Config) places {
	p := places{dir: cfg.Dir, content: cfg.ContentDir(), keys: cfg.KeysDir(), dsn: cfg.DSN()}
	p.database, _ = store.SQLitePath(p.dsn)
	return p
}

// place is where a file of a backup belongs, or an error where it belongs
// nowhere.
func (p *places) place(name string) (string, error) {
	if !filepath.IsLocal(name) || filepath.ToSlash(filepath.Clean(name)) != name {
		return "", fmt.Errorf("%w: %.200q leads out of the folder, which no backup does", ErrUnfit, name)
	}
	switch {
	case name == authority[0], name == authority[1]:
		return filepath.Join(p.dir, name), nil
	case name == databaseName && p.database != "":
		return p.database + unfinishedSuffix, nil
	case strings.HasPrefix(name, contentName):
		return filepath.Join(p.content, filepath.FromSlash(name[len(contentName):])), nil
	case strings.HasPrefix(name, keysName):
		return filepath.Join(p.keys, filepath.FromSlash(name[len(keysName):])), nil
	case name == databaseName:
		return "", fmt.Errorf("%w: it has a SQLite database, and the configuration names PostgreSQL (database)", ErrUnfit)
	}
	return "", fmt.Errorf("%w: %.200q is of no controller", ErrUnfit, name)
}

// Names of a restore under way.
const (
	markerName       = "restoring"
	unfinishedSuffix = ".restoring"
)

// Unfinished refuses a folder into which a restore was cut off.
func Unfinished(dir string) error {
	_, err := os.Lstat(filepath.Join(dir, markerName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("a restore into %s is under way, or was cut off: nothing there may be used; run 'headgate-controller restore FILE.tar' again, which begins anew", dir)
}
