package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/admin/client"
	"github.com/headgate-io/headgate/gateway/certs"
	"github.com/headgate-io/headgate/gateway/config"
	"github.com/headgate-io/headgate/gateway/doctor"
	"github.com/headgate-io/headgate/gateway/setup"
)

func (a *app) doctorCommand() *cobra.Command {
	var f runFlags
	var setupFile string
	c := &cobra.Command{
		Use: "doctor", Short: "Look at a gateway and say what is wrong with it", Args: cobra.NoArgs,
		Long: "Look at a gateway: its database, disk, flash, memory, clock, queue, listeners, bridges, sensors and actuators.\n" +
			"Prints what it found and what to do. The configuration on this machine is looked at first, also when the gateway does\n" +
			"not run because of it. Ends with 1 when something does not do what it should.\n\n" +
			"With --setup it looks at a setup file alone, before a card with it goes into a board.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if setupFile != "" {
				return a.doctorSetup(setupFile)
			}
			checks, cfg := a.examineConfig(&f)
			running, err := a.examine(cmd.Context(), &f, cfg)
			if err == nil {
				return a.reportChecks(append(checks, running...))
			}
			if !errors.Is(err, client.ErrUnreachable) || len(checks) == 0 {
				return err
			}
			if to, named := a.target(); cfg != nil && named == nil && !to.named && !errors.Is(err, fs.ErrPermission) {
				checks = append(checks, examineHost(cmd.Context(), cfg)...)
			}
			if failedChecks(checks) == nil {
				if printed := a.reportChecks(checks); printed != nil {
					return printed
				}
				return fmt.Errorf("%w; 'journalctl -u headgate', or 'headgate run' in a terminal, says why it ended", err)
			}
			// What failed is why.
			return a.reportChecks(append(checks, api.Check{Name: "gateway", Status: failed, Detail: "it does not answer", Advice: "mend what failed, and start it"}))
		},
	}
	f.register(c)
	c.Flags().StringVar(&setupFile, "setup", "", "look at this setup file of the image, and at nothing else")
	for _, other := range []string{"config", "state-dir"} {
		c.MarkFlagsMutuallyExclusive("setup", other)
	}
	return c
}

// doctorSetup judges a setup file as the board will that finds it.
func (a *app) doctorSetup(path string) error {
	src, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err = setup.Check(path, src); err != nil {
		return a.reportChecks(configChecks("setup", err))
	}
	return a.reportChecks([]api.Check{{Name: "setup", Status: "ok", Detail: "a board will carry " + path + " out, if it is called " + setup.FileName + " on its card"}})
}

// configChecks are the faults of a file, a failed check each.
func configChecks(name string, err error) (checks []api.Check) {
	for _, fault := range faults(err) {
		checks = append(checks, api.Check{Name: name, Status: failed, Detail: fault})
	}
	return checks
}

// reportChecks prints the checks, and is an error where some failed.
func (a *app) reportChecks(checks []api.Check) error {
	if !a.json {
		a.printChecks(checks)
	} else if err := a.printJSON(checks); err != nil {
		return err
	}
	return failedChecks(checks)
}

// failedChecks is an error where some did.
func failedChecks(checks []api.Check) error {
	n := 0
	for _, x := range checks {
		if x.Status == failed {
			n++
		}
	}
	if n == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d checks failed", n, len(checks))
}

// failed is the status of a check that does not do what it should.
const failed = "fail"

// examine asks the gateway itself: the one of the configuration, where that or
// its folder was named and no other gateway was.
func (a *app) examine(ctx context.Context, f *runFlags, cfg *config.Config) (checks []api.Check, err error) {
	to, err := a.target()
	if err != nil {
		return nil, err
	}
	if cfg != nil && !to.named && f.config+f.stateDir != "" {
		socket, err := filepath.Abs(cfg.SocketPath())
		if err != nil {
			return nil, err
		}
		to.address = "unix://" + socket
	}
	c, err := a.connect(to)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return checks, c.Do(ctx, http.MethodGet, "/v1/doctor", nil, &checks)
}

// examineConfig looks at the configuration on this machine: every fault is a
// check, and without one it is what it says. Nothing is said where the gateway is
// elsewhere and no file was named.
func (a *app) examineConfig(f *runFlags) (checks []api.Check, cfg *config.Config) {
	path := f.config
	if path == "" {
		path = config.DefaultPath
		if to, err := a.target(); err != nil || to.named || f.stateDir == "" && !exists(path) {
			return nil, nil
		}
	}
	c, err := f.load(false)
	switch {
	case err == nil && f.config == "" && !exists(path):
		return nil, &c
	case err == nil:
		return []api.Check{{Name: "config", Status: "ok", Detail: path + " is well formed"}}, &c
	}
	return configChecks("config", err), nil
}

// examineHost looks for what keeps a gateway that does not run from starting with
// a good configuration: TLS files that are no good, ports that somebody else has,
// and a state folder that cannot be written. Files that this user may not read are not judged.
func examineHost(ctx context.Context, cfg *config.Config) (checks []api.Check) {
	look := func(what, address string, files config.TLS) {
		if address == "" {
			return
		}
		if files.Certificate != "" {
			if _, err := certs.New(what, files, tls.VersionTLS12, nil, slog.New(slog.DiscardHandler)); err != nil && !errors.Is(err, fs.ErrPermission) {
				checks = append(checks, api.Check{
					Name: "config", Status: failed, Detail: fmt.Sprintf("%s: %v", what, err),
					Advice: "put good files where the configuration names them, readable by the gateway's user, or name others",
				})
			}
		}
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
		if err == nil {
			err = l.Close()
		}
		if errors.Is(err, syscall.EADDRINUSE) {
			checks = append(checks, api.Check{
				Name: "config", Status: failed, Detail: fmt.Sprintf("%s: %v", what, err),
				Advice: "another broker or gateway has it: 'sudo ss -ltnp' says which; stop that one, or choose another address",
			})
		}
	}
	for i := range cfg.MQTT.Listeners {
		l := &cfg.MQTT.Listeners[i]
		look("mqtt.listeners: listener "+l.Name, l.Address, l.TLS)
	}
	look("http.listen", cfg.HTTP.Listen, cfg.HTTP.TLS)
	look("admin.listen", cfg.Admin.Listen, cfg.Admin.TLS)
	return append(checks, examineStateDir(ctx, cfg.StateDir)...)
}

// examineStateDir looks whether a gateway could write where it keeps everything,
// or make the folder. Where root may not nobody may; what another user may not the
// gateway's own may, so that it is a warning.
func examineStateDir(ctx context.Context, dir string) (checks []api.Check) {
	for parent := filepath.Dir(dir); !exists(dir) && parent != dir; parent = filepath.Dir(dir) {
		dir = parent
	}
	for _, c := range doctor.Examine(ctx, []doctor.Probe{doctor.StateDir(dir)}) {
		if c.Status == doctor.Fail && os.Geteuid() != 0 {
			c.Status = doctor.Warn
		}
		if c.Status != doctor.OK {
			checks = append(checks, api.Check{Name: c.Name, Status: string(c.Status), Detail: c.Detail, Advice: c.Advice})
		}
	}
	return checks
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// faults are the errors that were joined to one.
func faults(err error) (texts []string) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok { //nolint:errorlint // the outermost alone
		for _, e := range joined.Unwrap() {
			texts = append(texts, faults(e)...)
		}
		return texts
	}
	return []string{strings.ReplaceAll(err.Error(), "\n", " ")}
}

func (a *app) printChecks(checks []api.Check) {
	for _, x := range checks {
		fmt.Fprintf(a.out, "%-4s  %-10s %s\n", shown(x.Status), shown(x.Name), shown(x.Detail))
		if x.Advice != "" {
			fmt.Fprintf(a.out, "      %-10s → %s\n", "", shown(x.Advice))
		}
	}
}
