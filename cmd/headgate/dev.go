package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/spf13/cobra"

	"github.com/headgate-io/headgate/gateway"
	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/admin/client"
	"github.com/headgate-io/headgate/gateway/config"
)

// settle is how long a folder must be quiet before it is deployed: editors
// write a file in several steps.
const settleAfter = 60 * time.Millisecond

func (a *app) devCommand() *cobra.Command {
	var f runFlags
	c := &cobra.Command{
		Use: "dev [PROJECT]", Short: "Run a project, and again at every change", Args: cobra.MaximumNArgs(1),
		Long: "Deploy a project, deploy it again whenever a file changes, and print invocations and logs.\n" +
			"Where no gateway runs and none is named, or with --config or --state-dir, one is run here, until this ends.\n" +
			"It takes requests on " + devHTTP + " where the configuration does not say, or on another port where that is taken.\n\n" + projectHelp,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := context.WithCancel(cmd.Context())
			defer cancel()
			if _, err := openProject(projectDir(args)); err != nil {
				return err
			}
			c, ended, err := a.devGateway(ctx, &f)
			if err != nil {
				return err
			}
			defer c.Close()
			err = a.develop(ctx, c, projectDir(args), ended)
			cancel()
			if ended != nil {
				err = errors.Join(err, <-ended)
			}
			return err
		},
	}
	f.register(c)
	return c
}

// devGateway returns a client for the gateway to use. Where it had to start
// one, ended receives its end.
func (a *app) devGateway(ctx context.Context, f *runFlags) (*client.Client, chan error, error) {
	own := f.config != "" || f.stateDir != ""
	if !own {
		to, err := a.target()
		if err != nil {
			return nil, nil, err
		}
		c, err := a.connect(to)
		if err != nil {
			return nil, nil, err
		}
		err = c.Do(ctx, "GET", "/readyz", nil, nil)
		var starting *client.Error
		if errors.As(err, &starting) && starting.Status == http.StatusServiceUnavailable {
			err = c.WaitReady(ctx)
		}
		if err == nil || to.named || !errors.Is(err, client.ErrUnreachable) {
			return c, nil, err
		}
		c.Close()
	}
	cfg, err := f.load(true)
	if err != nil {
		return nil, nil, err
	}
	if cfg.HTTP.Listen == "" {
		cfg.HTTP.Listen, cfg.HTTP.Errors = freeAddress(ctx, devHTTP), true
	}
	// What the gateway says of its own start, and of deployments, is said below
	// in one line; a warning, such as of a wrong password, is wanted.
	var level slog.LevelVar
	level.Set(slog.LevelWarn)
	g, err := gateway.New(ctx, cfg, newLogger(cfg.Log.Format, &level, a.err))
	if err != nil {
		return nil, nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	c, err := client.New("unix://"+cfg.SocketPath(), "")
	if err != nil {
		return nil, nil, err
	}
	ready := make(chan error, 1)
	go func() { ready <- c.WaitReady(ctx) }()
	select {
	case err := <-ended:
		return nil, nil, fmt.Errorf("run a gateway here: %w", err)
	case err := <-ready:
		if err != nil {
			return nil, nil, err
		}
	}
	if cfg.Log.Level != config.Default().Log.Level {
		level.Set(logLevel(cfg.Log.Level))
	}
	var about api.About
	if err := c.Do(ctx, http.MethodGet, "/v1/about", nil, &about); err != nil {
		return nil, nil, err
	}
	var mqtt []string
	for _, name := range slices.Sorted(maps.Keys(about.Listeners)) {
		if name != "http" {
			mqtt = append(mqtt, about.Listeners[name])
		}
	}
	fmt.Fprintf(a.err, "running a gateway here: MQTT on %s, HTTP on %s, state in %s\n", strings.Join(mqtt, ", "), about.Listeners["http"], cfg.StateDir)
	if to, err := a.target(); err == nil && to.address != "unix://"+cfg.SocketPath() {
		fmt.Fprintf(a.err, "other verbs reach it with: export HEADGATE_HOST=unix://%s\n", cfg.SocketPath())
	}
	return c, ended, nil
}

// devHTTP is where requests are taken where the configuration does not say.
const devHTTP = "127.0.0.1:8080"

// freeAddress is address, or where that is taken one on the same host that is
// not.
func freeAddress(ctx context.Context, address string) string {
	var c net.ListenConfig
	l, err := c.Listen(ctx, "tcp", address)
	if err == nil {
		err = l.Close()
	}
	if err == nil {
		return address
	}
	host, _, _ := net.SplitHostPort(address) // it is a constant
	return net.JoinHostPort(host, "0")
}

// develop deploys at the start and after every change until ctx ends or the
// gateway does.
func (a *app) develop(ctx context.Context, c *client.Client, dir string, ended chan error) (err error) {
	w, err := watch(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	followed := make(chan error, 2)
	go func() { followed <- printStream(ctx, a, c, "/v1/invocations?follow=true&limit=0", invocationLine) }()
	go func() {
		followed <- printStream(ctx, a, c, "/v1/logs?follow=true&limit=0", func(l api.LogLine) string { return logLine(l) })
	}()
	// Where all is well, what changes nothing is not worth a line: the folder may
	// have the files of simulated sensors in it.
	told, well := false, false
	deploy := func() {
		began, news := time.Now(), !well
		done, err := a.deploy(ctx, c, dir, nil, api.DeployOptions{}, func(d api.Deployed) {
			if d.Changed || !well {
				news = true
				a.printDeployed(d, "")
			}
		})
		if well = err == nil; !well && ctx.Err() == nil {
			fmt.Fprintf(a.err, "headgate: %v\n", err)
			return
		}
		if news && ctx.Err() == nil {
			fmt.Fprintf(a.err, "deployed in %s, watching %s\n", millis(time.Since(began)), dir)
		}
		if !told {
			told = true
			a.noteOthers(ctx, c, done)
		}
	}
	deploy()
	quiet := time.NewTimer(time.Hour)
	quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-ended:
			ended <- nil
			return fmt.Errorf("the gateway ended: %w", err)
		case err := <-followed:
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("lost the gateway: %w", errors.Join(err, client.ErrUnreachable))
		case e := <-w.Events:
			if relevant(e) {
				quiet.Reset(settleAfter)
			}
		case err := <-w.Errors:
			return fmt.Errorf("watch %s: %w", dir, err)
		case <-quiet.C:
			deploy()
		}
	}
}

// noteOthers names the functions that the gateway has from elsewhere: what they
// do is shown too.
func (a *app) noteOthers(ctx context.Context, c *client.Client, mine []api.Deployed) {
	var all []api.Function
	if err := c.Do(ctx, http.MethodGet, "/v1/functions", nil, &all); err != nil {
		return // what follows says so
	}
	var others []string
	for i := range all {
		if !slices.ContainsFunc(mine, func(d api.Deployed) bool { return d.Name == all[i].Name }) {
			others = append(others, all[i].Name)
		}
	}
	if n := len(others) - 10; n > 0 {
		others = append(others[:10], fmt.Sprintf("%d more", n))
	}
	if len(others) > 0 {
		fmt.Fprintf(a.err, "functions of other projects run here too: %s; 'headgate remove NAME' takes one away\n", strings.Join(others, ", "))
	}
}

// watch watches dir and the folders below it.
func watch(dir string) (*fsnotify.Watcher, error) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", dir, err)
	}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if name := d.Name(); path != dir && (strings.HasPrefix(name, ".") || name == "node_modules") {
			return fs.SkipDir
		}
		return w.Add(path)
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("watch %s: %w", dir, err), w.Close())
	}
	return w, nil
}

// relevant leaves out what editors and builds leave lying about.
func relevant(e fsnotify.Event) bool {
	name := filepath.Base(e.Name)
	if strings.HasPrefix(name, ".") || strings.HasSuffix(name, "~") || strings.HasSuffix(name, ".swp") {
		return false
	}
	if info, err := os.Stat(e.Name); err == nil && info.IsDir() {
		return false
	}
	return e.Has(fsnotify.Write) || e.Has(fsnotify.Create) || e.Has(fsnotify.Rename) || e.Has(fsnotify.Remove)
}
