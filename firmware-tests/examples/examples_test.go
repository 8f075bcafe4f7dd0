//go:build e2e

// Package examples runs the projects of the folder examples as their readers
// would: deployed to the gateway's binary, driven by curl and mosquitto's
// clients, and compared with what the test works out by itself. Every project
// is then run again without each of its functions, and the same comparison has
// to say what is missing: a check that holds without a function shows nothing
// of it.
package examples

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/headgate-io/headgate/firmware-tests/rig"
	"github.com/headgate-io/headgate/firmware-tests/rig/rigtest"
	"github.com/headgate-io/headgate/function"
)

// example is one project and how to see that it works.
type example struct {
	folder string
	// devices are MQTT clients with credentials: what they publish, and what
	// they may hear.
	devices map[string]device
	// scopes are what the key may that curl shows.
	scopes []string
	// secrets are set before the deploy, by function and name.
	secrets map[string]map[string]string
	// edit changes the manifest, as an author does who names a server of his
	// own: every old text must be there once.
	edit map[string]string
	// check drives the project and compares. It is called for every run, each
	// time with a gateway in the state that follows the first deploy.
	check func(ctx context.Context, s *site) error
	// without says for every function a part of what check must complain of
	// when that function is not there.
	without map[string]string
}

type device struct{ publish, subscribe []string }

// How long a check waits for what must come, and for what must not.
const (
	patient   = 30 * time.Second
	impatient = time.Second     // after the gateway has nothing left to do
	hopeless  = 5 * time.Second // where it always has, and the complaint is there
	limit     = 2 * time.Minute
)

func TestMain(m *testing.M) {
	// What builds AssemblyScript is where 'make toolchains' puts it.
	asc, err := filepath.Abs("../../sdk/assemblyscript/node_modules/.bin")
	if err == nil {
		err = os.Setenv("PATH", os.Getenv("PATH")+string(filepath.ListSeparator)+asc)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// run deploys the project once, and checks it whole and without each function.
func (e example) run(t *testing.T) {
	t.Parallel()
	project := e.project(t)
	manifest, err := function.ReadManifest(filepath.Join(project, "headgate.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	names := slices.Sorted(maps.Keys(manifest.Functions))
	if told := slices.Sorted(maps.Keys(e.without)); !slices.Equal(told, names) {
		t.Fatalf("the functions are %v, and the test knows what is missing without %v", names, told)
	}
	deployed := e.deploy(t, project)

	t.Run("whole", func(t *testing.T) {
		s := e.open(t, deployed)
		s.quiet = patient
		started := time.Now()
		if err := e.check(t.Context(), s); err != nil {
			t.Fatalf("%v\n%s", err, s.did(t.Context()))
		}
		for _, line := range s.report {
			t.Log(line)
		}
		t.Logf("%s works, %v", e.folder, time.Since(started).Round(time.Millisecond))
	})
	if t.Failed() {
		return
	}
	for _, name := range names {
		t.Run("without "+name, func(t *testing.T) {
			s := e.open(t, deployed)
			s.quiet, s.missed = impatient, e.without[name]
			if _, err := s.Run(t.Context(), "remove", name); err != nil {
				t.Fatal(err)
			}
			err := e.check(t.Context(), s)
			if err == nil {
				t.Fatalf("the check holds without %s: it shows nothing of it", name)
			}
			if !strings.Contains(err.Error(), e.without[name]) {
				t.Fatalf("without %s the check says\n%v\nand nothing of %q\n%s", name, err, e.without[name], s.did(t.Context()))
			}
			t.Logf("is missed: %v", err)
		})
	}
}

// project is a copy of the example's folder.
func (e example) project(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), e.folder)
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("../../examples", e.folder))); err != nil {
		t.Fatal(err)
	}
	manifest := filepath.Join(dir, "headgate.yaml")
	text, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	edited := string(text)
	for old, now := range e.edit {
		if !strings.Contains(edited, old) {
			t.Fatalf("%s says nothing of %q", manifest, old)
		}
		edited = strings.ReplaceAll(edited, old, now)
	}
	if err := os.WriteFile(manifest, []byte(edited), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// deploy is the folder of a gateway, stopped, that has the project and all
// that it needs.
func (e example) deploy(t *testing.T, project string) *site {
	t.Helper()
	s := e.site(t, t.TempDir())
	rigtest.Start(t, s.Gateway)
	s.passwords = map[string]string{}
	for name, d := range e.devices {
		password, err := s.AddDevice(t.Context(), name, d.publish, append(slices.Clone(d.subscribe), endTopic))
		if err != nil {
			t.Fatal(err)
		}
		s.passwords[name] = password
	}
	s.addKey(t, e.scopes)
	for name, secrets := range e.secrets {
		for secret, value := range secrets {
			s.setSecret(t, name, secret, value)
		}
	}
	out, err := s.Run(t.Context(), "deploy", project)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", out)
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	return s
}

// open starts a gateway on a copy of what was deployed.
func (e example) open(t *testing.T, deployed *site) *site {
	t.Helper()
	dir := t.TempDir()
	// os.CopyFS would give the secrets' key to everybody.
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", filepath.Join(deployed.Dir, "state"), dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s := e.site(t, dir)
	s.passwords, s.key = deployed.passwords, deployed.key
	rigtest.Start(t, s.Gateway)
	return s
}

// site prepares a gateway in dir, with a listener for HTTP and with what the
// example's gateway.yaml says.
func (e example) site(t *testing.T, dir string) *site {
	t.Helper()
	binary, err := filepath.Abs("../../bin/headgate")
	if err != nil {
		t.Fatal(err)
	}
	g, err := rig.New(binary, dir)
	if err != nil {
		t.Fatal(err)
	}
	s := &site{Gateway: g, Web: rigtest.FreeAddress(t), devices: e.devices}
	s.Env = []string{"HEADGATE_HTTP__LISTEN=" + s.Web}
	more, err := os.ReadFile(filepath.Join("../../examples", e.folder, "gateway.yaml"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if err := g.Configure(string(more)); err != nil {
		t.Fatal(err)
	}
	return s
}
