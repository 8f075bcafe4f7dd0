package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/headgate-io/headgate/configs"
)

// Where a plain board has the gateway. A package has its own places.
const (
	installedBinary   = "/usr/local/bin/headgate"
	installedUnit     = "/etc/systemd/system/headgate.service"
	installedSysusers = "/etc/sysusers.d/headgate.conf"
	installedConfig   = "/etc/headgate/config.yaml"
	packagedBinary    = "/usr/bin/headgate"
)

// installer puts the gateway on a board that has systemd, and takes it away.
// Everything that it does can be done again.
type installer struct {
	out    io.Writer
	root   string // the board's; another one in tests
	dryRun bool
	// run runs a program; in another root nothing is started.
	run func(ctx context.Context, name string, args ...string) error
}

func (a *app) installCommand() *cobra.Command {
	i := &installer{out: a.out, run: runProgram}
	var uninstall bool
	c := &cobra.Command{
		Use: "install", Short: "Install this gateway as a service of this board (as root)", Args: cobra.NoArgs,
		Long: "Install the gateway as a service of a board with systemd: this binary as " + installedBinary + ", the user headgate,\n" +
			"the unit, and a configuration in /etc/headgate where there is none. With a newer binary it upgrades.\n" +
			"--uninstall takes it away and keeps configuration and data. Debian packages do the same with apt.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if i.root == "" && !i.dryRun && os.Geteuid() != 0 {
				return errors.New("installing needs root: 'sudo headgate install'; --dry-run says what it would do")
			}
			if uninstall {
				return i.uninstall(cmd.Context())
			}
			return i.install(cmd.Context())
		},
	}
	c.Flags().BoolVar(&i.dryRun, "dry-run", false, "say what would be done, and do nothing")
	c.Flags().BoolVar(&uninstall, "uninstall", false, "take the service away; configuration and data stay")
	c.Flags().StringVar(&i.root, "root", "", "a root that is prepared for another machine: nothing is started")
	return c
}

func runProgram(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

func (i *installer) install(ctx context.Context) error {
	if _, err := os.Stat(i.path(packagedBinary)); err == nil {
		return fmt.Errorf("%s is there: a Debian package brought it, and upgrades it: 'apt install ./headgate_….deb'", packagedBinary)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	binary, err := os.ReadFile(self)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		path    string
		content []byte
		mode    fs.FileMode
		keep    bool // what is there already
	}{
		{installedSysusers, []byte(configs.Sysusers), 0o644, false},
		{installedBinary, binary, 0o755, false},
		{installedUnit, []byte(configs.Service), 0o644, false},
		{installedConfig, []byte(configs.Installed), 0o640, true},
	} {
		if err := i.put(f.path, f.content, f.mode, f.keep); err != nil {
			return fmt.Errorf("install: %w", err)
		}
	}
	if err := i.addUser(ctx); err != nil {
		return err
	}
	for _, args := range [][]string{{"daemon-reload"}, {"enable", "headgate.service"}, {"restart", "headgate.service"}} {
		if err := i.do(ctx, "systemctl", args...); err != nil {
			return err
		}
	}
	i.say("the gateway is installed; 'headgate doctor' looks at it, 'journalctl -u headgate' has its log")
	return nil
}

// uninstall takes away what install brought, but for what is the owner's.
func (i *installer) uninstall(ctx context.Context) error {
	if _, err := os.Stat(i.path(installedUnit)); err == nil {
		if err := i.do(ctx, "systemctl", "disable", "--now", "headgate.service"); err != nil {
			return err
		}
	}
	for _, path := range []string{installedUnit, installedBinary, installedSysusers} {
		i.say("remove %s", path)
		if i.dryRun {
			continue
		}
		if err := os.Remove(i.path(path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("uninstall: %w", err)
		}
	}
	if err := i.do(ctx, "systemctl", "daemon-reload"); err != nil {
		return err
	}
	i.say("kept: /etc/headgate and /var/lib/headgate; remove them by hand to forget everything")
	return nil
}

func (i *installer) path(p string) string { return filepath.Join(i.root, p) }

func (i *installer) say(format string, args ...any) { fmt.Fprintf(i.out, format+"\n", args...) }

// put replaces a file in one step, so that a running program keeps its own.
func (i *installer) put(path string, content []byte, mode fs.FileMode, keep bool) error {
	to := i.path(path)
	old, err := os.ReadFile(to)
	switch {
	case err == nil && (keep || bytes.Equal(old, content)):
		i.say("keep %s", path)
		return nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	i.say("write %s", path)
	if i.dryRun {
		return nil
	}
	folder := fs.FileMode(0o755)
	if path == installedConfig {
		folder = 0o750
	}
	if err := os.MkdirAll(filepath.Dir(to), folder); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(to), ".headgate-*")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), to)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// addUser makes the service's user, and lets it read its configuration.
func (i *installer) addUser(ctx context.Context) error {
	i.say("user headgate, in the groups gpio, i2c and spi")
	if i.dryRun {
		return nil
	}
	args := []string{filepath.Base(installedSysusers)} // by its name: a path is not looked for below --root
	if i.root != "" {
		args = append([]string{"--root=" + i.root}, args...)
	}
	if err := i.run(ctx, "systemd-sysusers", args...); err != nil {
		return err
	}
	gid, err := groupID(i.path("/etc/group"), "headgate")
	if err != nil {
		return err
	}
	return errors.Join(os.Chown(i.path("/etc/headgate"), -1, gid), os.Chown(i.path(installedConfig), -1, gid))
}

// groupID looks into a group file (group(5)): in another root the system's own
// look-up would answer for this one.
func groupID(file, name string) (id int, err error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(raw)) {
		fields := strings.Split(line, ":")
		if len(fields) > 2 && fields[0] == name {
			_, err := fmt.Sscan(fields[2], &id)
			return id, err
		}
	}
	return 0, fmt.Errorf("%s has no group %s", file, name)
}

// do runs a program of the board; in another root nothing is started.
func (i *installer) do(ctx context.Context, name string, args ...string) error {
	if i.root != "" {
		return nil
	}
	i.say("%s %s", name, strings.Join(args, " "))
	if i.dryRun {
		return nil
	}
	return i.run(ctx, name, args...)
}
