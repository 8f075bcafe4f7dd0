package main

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/headgate-io/headgate/controller/api"
	"github.com/headgate-io/headgate/firmware-tests/rig"
)

//go:embed project
var project embed.FS

// patience bounds every wait for what the fleet does by itself.
const patience = 2 * time.Minute

// story is what happens, and who takes part.
type story struct {
	dir        string
	began      time.Time // in UTC, as the controller counts its days
	controller *rig.Controller
	// links are the ways of gw-north-2 to the controller, at an address of
	// their own: HTTPS and MQTT.
	links []*rig.Link
	sites []*site

	load    context.CancelFunc
	loading sync.WaitGroup
	fault   chan error
}

// owner runs the command line as the fleet's owner.
func (s *story) owner(ctx context.Context, args ...string) (string, error) {
	return s.command(ctx, *verbose, args...)
}

// shows is owner for what prints what is to be seen.
func (s *story) shows(ctx context.Context, args ...string) (string, error) {
	return s.command(ctx, true, args...)
}

func (s *story) command(ctx context.Context, show bool, args ...string) (string, error) {
	fmt.Println("  $ headgate", shown(args))
	cmd := exec.CommandContext(ctx, *headgate, args...)
	cmd.Env = append(os.Environ(), "HEADGATE_HOME="+filepath.Join(s.dir, "owner"), "HEADGATE_KEYS_PASSPHRASE=correct horse battery staple")
	out, err := cmd.CombinedOutput()
	if show || err != nil {
		fmt.Print(indent(string(out)))
	}
	if err != nil {
		return string(out), fmt.Errorf("headgate %s: %w\n%s", shown(args), err, out)
	}
	return string(out), nil
}

// shown leaves out what opens something.
func shown(args []string) string {
	out := slices.Clone(args)
	for i, a := range out {
		if strings.HasPrefix(a, "hgc_") || strings.HasPrefix(a, "hge_") {
			out[i] = a[:4] + "…"
		}
	}
	return strings.Join(out, " ")
}

func indent(text string) string {
	return "    " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n    ") + "\n"
}

// ask is owner for what answers in JSON.
func (s *story) ask(ctx context.Context, v any, args ...string) error {
	cmd := exec.CommandContext(ctx, *headgate, append(args, "--json")...)
	cmd.Env = append(os.Environ(), "HEADGATE_HOME="+filepath.Join(s.dir, "owner"))
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("headgate %s: %w\n%s", shown(args), err, out)
	}
	if err := json.Unmarshal(out, v); err != nil {
		return fmt.Errorf("headgate %s: %w in %s", shown(args), err, out)
	}
	return nil
}

// until waits for what is to become true by itself; is says what is there.
func (s *story) until(ctx context.Context, what string, is func() (string, bool)) error {
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	began := time.Now()
	for {
		found, ok := is()
		if ok {
			fmt.Printf("  %s (after %.1f s)\n", what, time.Since(began).Seconds())
			return nil
		}
		select {
		case err := <-s.fault:
			return err
		case <-ctx.Done():
			return fmt.Errorf("waited for: %s; there is: %s", what, found)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// release is the project of one release.
func (s *story) release(n int, fault string) (dir string, err error) {
	dir = filepath.Join(s.dir, "release-"+strconv.Itoa(n))
	files, err := fs.Sub(project, "project")
	if err != nil {
		return "", err
	}
	if err := os.CopyFS(dir, files); err != nil {
		return "", err
	}
	name := filepath.Join(dir, "level.js")
	raw, err := os.ReadFile(name)
	if err != nil {
		return "", err
	}
	text := strings.NewReplacer("RELEASE", strconv.Itoa(n), "FAULT", fault).Replace(string(raw))
	return dir, os.WriteFile(name, []byte(text), 0o600)
}

func (s *story) begin(ctx context.Context) (err error) {
	// The owner's own binary reads this machine's clock, the gateways too.
	if s.controller, err = rig.NewController(*controller, filepath.Join(s.dir, "controller"), ""); err != nil {
		return err
	}
	if err := s.controller.Start(ctx); err != nil {
		return err
	}
	for _, to := range []string{s.controller.HTTPS, s.controller.MQTT} {
		_, port, _ := net.SplitHostPort(to)
		l, err := rig.NewLink(ctx, net.JoinHostPort("127.0.0.2", port), to)
		if err != nil {
			return err
		}
		s.links = append(s.links, l)
	}
	token, err := s.controller.Operator(ctx)
	if err != nil {
		return err
	}
	if _, err := s.owner(ctx, "fleet", "login", s.controller.URL(), token); err != nil {
		return err
	}
	_, err = s.owner(ctx, "keys", "init")
	return err
}

func (s *story) enrol(ctx context.Context) error {
	s.fault = make(chan error, 3)
	for _, g := range []struct{ name, group, host string }{
		{"gw-north-1", "north", "127.0.0.1"}, {"gw-north-2", "north", "127.0.0.2"}, {"gw-south-1", "south", "127.0.0.1"},
	} {
		out, err := s.owner(ctx, "fleet", "token", "create", "--label", "site="+g.group)
		if err != nil {
			return err
		}
		token, err := rig.Secret(out, "hge_")
		if err != nil {
			return err
		}
		x, err := openSite(ctx, *headgate, s.dir, g.name)
		if x != nil {
			s.sites = append(s.sites, x)
		}
		if err != nil {
			return err
		}
		_, port, _ := net.SplitHostPort(s.controller.HTTPS)
		if _, err := x.Run(ctx, "enroll", "https://"+net.JoinHostPort(g.host, port), token, "--name", g.name); err != nil {
			return err
		}
		if err := x.connect(ctx); err != nil {
			return err
		}
	}
	load, stop := context.WithCancel(ctx)
	s.load = stop
	for _, x := range s.sites {
		s.loading.Go(func() {
			if err := x.measure(load); err != nil {
				s.fault <- err
			}
		})
	}
	return s.until(ctx, "the controller knows all three", func() (string, bool) {
		var list []api.Gateway
		if err := s.ask(ctx, &list, "fleet", "gateways"); err != nil {
			return err.Error(), false
		}
		connected := 0
		for i := range list {
			if list[i].Status != nil {
				connected++
			}
		}
		return fmt.Sprintf("%d gateways, %d heard", len(list), connected), connected == 3
	})
}

// runs waits until a release answers on some gateways, and says which ones
// answer on the others.
func (s *story) runs(ctx context.Context, release int, names ...string) error {
	return s.until(ctx, fmt.Sprintf("release %d answers on %s", release, strings.Join(names, " and ")), func() (string, bool) {
		all := true
		for _, x := range s.sites {
			if slices.Contains(names, x.name) && x.says().Release != release {
				all = false
			}
		}
		return s.answers(), all
	})
}

func (s *story) answers() string {
	var all []string
	for _, x := range s.sites {
		all = append(all, fmt.Sprintf("%s answers with release %d", x.name, x.says().Release))
	}
	return strings.Join(all, ", ")
}

func (s *story) logs() string {
	var all strings.Builder
	if s.controller != nil {
		fmt.Fprintf(&all, "-- the controller:\n%s", s.controller.Log())
	}
	for _, x := range s.sites {
		fmt.Fprintf(&all, "-- %s:\n%s", x.name, x.Log())
	}
	return all.String()
}

func (s *story) close() error {
	if s.load != nil {
		s.load()
		s.loading.Wait()
	}
	var faults []error
	for _, x := range s.sites {
		faults = append(faults, x.close())
	}
	for _, l := range s.links {
		l.Close()
	}
	if s.controller != nil {
		faults = append(faults, s.controller.Stop())
	}
	return errors.Join(faults...)
}

// total is how many readings the gateways of the group acknowledged.
func (s *story) total() (n uint64) {
	for _, x := range s.sites[:2] {
		n += x.readings()
	}
	return n
}
