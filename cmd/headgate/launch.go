package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/admin/client"
	"github.com/headgate-io/headgate/gateway/config"
	"github.com/headgate-io/headgate/gateway/launch"
	"github.com/headgate-io/headgate/gateway/setup"
	"github.com/headgate-io/headgate/gateway/slot"
)

// launchCommand is what the image's init starts. It is of no use to people.
func (a *app) launchCommand() *cobra.Command {
	perm := "/perm"
	c := &cobra.Command{
		Use: "launch", Short: "Set a board up and keep its gateway running", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			errw, closeLog := kernelLog(a.err)
			defer closeLog()
			l := &launcher{log: newLogger("text", slog.LevelInfo, errw), board: setup.Board{
				Home: filepath.Join(perm, "headgate"), WiFiFile: filepath.Join(perm, "wifi.json"), Now: time.Now,
			}}
			return l.run(cmd.Context(), perm, a.out, a.err)
		},
	}
	c.Flags().StringVar(&perm, "perm", perm, "where the board keeps its data")
	return c
}

// kernelLog is w and, where this process may, the kernel's log too, which a
// screen or a serial line shows.
func kernelLog(w io.Writer) (both io.Writer, end func()) {
	f, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	if err != nil {
		return w, func() {}
	}
	return io.MultiWriter(w, &kernelWriter{f}), func() { f.Close() }
}

// kernelWriter writes records with the program's name and the priority of a
// warning, which consoles show. What the kernel does not take is lost there.
type kernelWriter struct{ w io.Writer }

// Write never fails: the log proper is elsewhere.
func (k *kernelWriter) Write(p []byte) (int, error) {
	const most = 900 // of a record of 1024, LOG_LINE_MAX of the kernel
	fmt.Fprintf(k.w, "<4>headgate: %s", p[:min(len(p), most)])
	return len(p), nil
}

type launcher struct {
	log   *slog.Logger
	board setup.Board
}

func (l *launcher) run(ctx context.Context, perm string, out, errw io.Writer) error {
	if err := l.board.Prepare(); err != nil {
		return err
	}
	l.firstBoot(perm)
	l.setHostname()
	base, err := os.Executable()
	if err != nil {
		return err
	}
	slots, err := slot.Open(l.board.SystemDir(), base)
	if err != nil {
		return err
	}
	c, err := client.New("unix://"+l.socket(), "")
	if err != nil {
		return err
	}
	defer c.Close()
	return launch.Run(ctx, launch.Config{
		Slots: slots, Args: []string{"run", "--config", l.board.ConfigPath()},
		Safe:    []string{"guard", "--safe", "--config", l.board.ConfigPath()},
		Env:     []string{"HEADGATE_SYSTEM__DIR=" + l.board.SystemDir(), "HEADGATE_SYSTEM__BASE=" + base},
		Failing: func(ctx context.Context) ([]string, error) { return failing(ctx, c) },
		Ready:   func(ctx context.Context) { l.ready(ctx, c) },
		Stdout:  out, Stderr: errw, Logger: l.log,
	})
}

// socket is where the gateway's admin API is. A configuration that moves it is
// followed by neither devices nor updates.
func (l *launcher) socket() string {
	c := config.Default()
	c.StateDir = l.board.StateDir()
	return c.SocketPath()
}

// firstBoot carries out the setup file, where there is one. Whatever goes
// wrong with it, the gateway starts.
func (l *launcher) firstBoot(perm string) {
	boot, unmount, err := setup.MountBoot(perm)
	if err != nil {
		l.log.Warn("look for a setup file", "error", err)
		return
	}
	before, err := l.board.Status()
	if err != nil {
		l.log.Error("read what is known of the setup", "error", err)
	}
	status, err := l.board.Apply(boot)
	switch {
	case err != nil:
		l.log.Error("the setup file was not carried out: the gateway starts with what it had", "error", err)
	case !status.Applied.Equal(before.Applied):
		l.log.Info("the setup file was carried out", "admin_fingerprint", status.AdminFingerprint)
	}
	if err := unmount(); err != nil {
		l.log.Error("leave the boot partition", "error", err)
	}
}

func (l *launcher) setHostname() {
	name, err := l.board.Hostname()
	if err == nil && name != "" {
		err = unix.Sethostname([]byte(name))
	}
	if err != nil {
		l.log.Error("set the host name", "error", err)
	}
}

// ready tells a gateway that has started what only it can do.
func (l *launcher) ready(ctx context.Context, c *client.Client) {
	l.log.Info("the gateway is ready")
	l.enrol(ctx, c)
	devices, err := l.board.Devices()
	if err != nil {
		l.log.Error("devices of the setup file", "error", err)
	}
	if len(devices) == 0 {
		return
	}
	for _, d := range devices {
		if err := replaceDevice(ctx, c, d); err != nil {
			l.log.Error("add a device of the setup file: the next start tries again", "device", d.Name, "error", err)
			return
		}
	}
	l.log.Info("added the devices of the setup file", "devices", len(devices))
	if err := l.board.DevicesDone(); err != nil {
		l.log.Error("forget the devices of the setup file", "error", err)
	}
}

// enrol hands the controller of the setup file, and its token, to the gateway,
// which tries until it is enrolled or refused.
func (l *launcher) enrol(ctx context.Context, c *client.Client) {
	e, err := l.board.Enrolment()
	if err == nil && e == (setup.Enrolment{}) {
		return
	}
	if err == nil {
		err = c.Do(ctx, http.MethodPost, "/v1/enrolment", api.Enrol{URL: e.Controller, Token: e.Token, Again: true, Retry: true}, nil)
	}
	if err == nil {
		err = l.board.EnrolmentDone()
	}
	if err != nil {
		l.log.Error("enrol as the setup file says: the next start tries again", "controller", e.Controller, "error", err)
		return
	}
	l.log.Info("the gateway enrols as the setup file says", "controller", e.Controller)
}

// replaceDevice adds a device; one that is there already is what the setup file
// says from now on.
func replaceDevice(ctx context.Context, c *client.Client, d setup.Device) error {
	err := c.Do(ctx, http.MethodDelete, "/v1/devices/"+d.Name, nil, nil)
	var refused *client.Error
	if err != nil && (!errors.As(err, &refused) || refused.Status != http.StatusNotFound) {
		return err
	}
	return c.Do(ctx, http.MethodPost, "/v1/devices", api.NewDevice{Name: d.Name, Password: d.Password, Publish: d.Publish, Subscribe: d.Subscribe}, nil)
}

// failing asks the doctor.
func failing(ctx context.Context, c *client.Client) (names []string, err error) {
	var checks []api.Check
	if err := c.Do(ctx, http.MethodGet, "/v1/doctor", nil, &checks); err != nil {
		return nil, err
	}
	for _, x := range checks {
		if x.Status == "fail" {
			names = append(names, x.Name)
		}
	}
	return names, nil
}
