package observer

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/headgate-io/headgate/firmware-tests/rig"
)

// Functions are those of the project: both count the same events, counter in
// any order, flaky in theirs, with failures and retries. They keep a Seen in
// their state under the publisher's name. counter publishes each number it
// counts to out/{publisher}, and tells taker of every tenth through a queue, and
// watcher through a key. minute is started by a timer.
var Functions = []string{"counter", "flaky"}

// helpers are the other functions of the project.
var helpers = []string{"taker", "watcher", "minute"}

//go:embed project
var project embed.FS

// Deploy deploys the functions.
func Deploy(ctx context.Context, g *rig.Gateway) error {
	dir, err := copyProject(g)
	if err != nil {
		return err
	}
	_, err = g.Run(ctx, "deploy", dir)
	return err
}

// DeployAlone deploys Functions without those that they start: where the disk
// is full, what starts others waits until there is room. See Judge.Alone.
func DeployAlone(ctx context.Context, g *rig.Gateway) error {
	dir, err := copyProject(g)
	if err != nil {
		return err
	}
	manifest := filepath.Join(dir, "headgate.yaml")
	text, err := os.ReadFile(manifest)
	if err != nil {
		return err
	}
	text = bytes.Replace(text, []byte("tens: true"), []byte("tens: false"), 1)
	if err := os.WriteFile(manifest, text, 0o600); err != nil {
		return err
	}
	only := []string{"deploy", dir}
	for _, name := range Functions {
		only = append(only, "--only", name)
	}
	_, err = g.Run(ctx, only...)
	return err
}

// copyProject puts the project beside the gateway's state.
func copyProject(g *rig.Gateway) (dir string, err error) {
	dir = filepath.Join(g.Dir, "project")
	files, err := fs.Sub(project, "project")
	if err != nil {
		return "", err
	}
	return dir, os.CopyFS(dir, files)
}

// Redeploy deploys the functions as a new version that does the same.
func Redeploy(ctx context.Context, g *rig.Gateway, n int) error {
	dir := filepath.Join(g.Dir, "project")
	for _, name := range append(slices.Clone(Functions), helpers...) {
		source, err := project.ReadFile("project/" + name + ".js")
		if err != nil {
			return err
		}
		source = fmt.Appendf(source, "// revision %d\n", n)
		if err := os.WriteFile(filepath.Join(dir, name+".js"), source, 0o600); err != nil {
			return err
		}
	}
	_, err := g.Run(ctx, "deploy", dir)
	return err
}

// Seen is what a function keeps of one publisher: how often it ran, and the
// numbers it ran for, as ranges.
type Seen struct {
	Count    int      `json:"count"`
	Disorder int      `json:"disorder"`
	Ranges   [][2]int `json:"ranges"`
}

// Has reports whether the function ran for the number.
func (s *Seen) Has(n int) bool {
	for _, r := range s.Ranges {
		if n >= r[0] && n <= r[1] {
			return true
		}
	}
	return false
}

// Distinct is for how many numbers it ran.
func (s *Seen) Distinct() (n int) {
	for _, r := range s.Ranges {
		n += r[1] - r[0] + 1
	}
	return n
}

// NewGateway prepares a gateway whose offline sessions may keep all that a
// trial sends.
func NewGateway(binary, dir string) (*rig.Gateway, error) {
	return rig.New(binary, dir, "max_queued_messages: 1000000", "max_queued_bytes: 512MiB", "max_queued_bytes_total: 1GiB")
}

// AddPublishers makes publishers of QoS 1 and 2 in turn, with their devices.
func AddPublishers(ctx context.Context, g *rig.Gateway, n int) (list []*Publisher, err error) {
	for i := range n {
		name := fmt.Sprintf("pub-%d", i)
		p := NewPublisher(name, "count/"+name, byte(1+i%2))
		if p.Password, err = g.AddDevice(ctx, name, []string{p.Topic}, nil); err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, nil
}
