package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/headgate-io/headgate/controller/api"
)

// deploy deploys a release to the group, in waves.
func (s *story) deploy(ctx context.Context, release int, fault, waves string, wait bool) error {
	dir, err := s.release(release, fault)
	if err != nil {
		return err
	}
	args := []string{"fleet", "deploy", "-f", dir + "/headgate.yaml", "--to", "site=north", "--waves", waves, "--soak", "3s", "--deadline", "2m"}
	if wait {
		args = append(args, "--wait")
	}
	_, err = s.owner(ctx, args...)
	return err
}

// newest is the newest deployment.
func (s *story) newest(ctx context.Context) (api.Deployment, error) {
	var list []api.Deployment
	if err := s.ask(ctx, &list, "fleet", "deployments"); err != nil {
		return api.Deployment{}, err
	}
	if len(list) == 0 {
		return api.Deployment{}, errors.New("there is no deployment")
	}
	return list[0], nil
}

func (s *story) first(ctx context.Context) error {
	if err := s.deploy(ctx, 1, "false", "50,100", true); err != nil {
		return err
	}
	if err := s.runs(ctx, 1, "gw-north-1", "gw-north-2"); err != nil {
		return err
	}
	if got := s.sites[2].says(); got.Release != 0 {
		return fmt.Errorf("gw-south-1 answers with release %d: it was not chosen", got.Release)
	}
	if _, err := s.owner(ctx, "fleet", "config", "set", "level", "unit=mm", "--gateway", "gw-north-1"); err != nil {
		return err
	}
	return s.until(ctx, "gw-north-1 says mm, gw-north-2 says cm", func() (string, bool) {
		a, b := s.sites[0].says().Unit, s.sites[1].says().Unit
		return a + ", " + b, a == "mm" && b == "cm"
	})
}

// used is what the controller has counted, in an earlier month too if one has
// ended meanwhile.
func (s *story) used(ctx context.Context) (uint64, error) {
	var all struct {
		Total struct {
			Requests uint64 `json:"requests,string"`
		} `json:"total"`
	}
	err := s.ask(ctx, &all, "fleet", "usage", "--function", "level", "--from", s.began.Format(time.DateOnly))
	return all.Total.Requests, err
}

// prices are what the readings cost.
//
//go:embed plan.json
var prices []byte

func (s *story) meter(ctx context.Context) error {
	file := filepath.Join(s.dir, "plan.json")
	if err := os.WriteFile(file, prices, 0o600); err != nil {
		return err
	}
	if _, err := s.owner(ctx, "fleet", "plan", "set", s.began.Format("2006-01"), file, "--tenant", "default"); err != nil {
		return err
	}
	if err := s.until(ctx, "the controller has counted a hundred readings", func() (string, bool) {
		n, err := s.used(ctx)
		return fmt.Sprint(n, err), err == nil && n >= 100
	}); err != nil {
		return err
	}
	if _, err := s.shows(ctx, "fleet", "usage", "--by", "gateway"); err != nil {
		return err
	}
	out, err := s.shows(ctx, "fleet", "invoice", "show")
	if err != nil {
		return err
	}
	if !strings.Contains(out, "requests") {
		return errors.New("the invoice has no line for requests")
	}
	return nil
}

func (s *story) offline(ctx context.Context) error {
	for _, l := range s.links {
		l.Cut(time.Hour)
	}
	fmt.Println("  the link of gw-north-2 is cut")
	if err := s.deploy(ctx, 2, "false", "100", false); err != nil {
		return err
	}
	if err := s.runs(ctx, 2, "gw-north-1"); err != nil {
		return err
	}
	if got := s.sites[1].says(); got.Release != 1 {
		return fmt.Errorf("gw-north-2 answers with release %d, without a link", got.Release)
	}
	return nil
}

func (s *story) online(ctx context.Context) error {
	for _, l := range s.links {
		l.Cut(0)
	}
	if err := s.runs(ctx, 2, "gw-north-1", "gw-north-2"); err != nil {
		return err
	}
	return s.settled(ctx, "done")
}

// settled waits until the newest deployment has ended, and no gateway drifts.
func (s *story) settled(ctx context.Context, state string) error {
	err := s.until(ctx, "the deployment is "+state, func() (string, bool) {
		d, err := s.newest(ctx)
		return fmt.Sprintf("%s: %s %+v %v", d.State, d.Reason, d.Progress, err), err == nil && d.State == state
	})
	if err != nil {
		return err
	}
	return s.until(ctx, "every gateway is as it shall be", func() (string, bool) {
		var list []api.GatewayState
		err := s.ask(ctx, &list, "fleet", "state", "--drift")
		return fmt.Sprintf("%+v %v", list, err), err == nil && len(list) == 0
	})
}

func (s *story) bad(ctx context.Context) error {
	if err := s.deploy(ctx, 3, "reading % 2", "50,100", true); err == nil {
		return errors.New("the command says that a bad release went well")
	}
	d, err := s.newest(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("  %s: %s\n", d.State, d.Reason)
	if d.Progress.Reached != 1 {
		return fmt.Errorf("%d gateways were given the bad release, the first wave is 1", d.Progress.Reached)
	}
	if err := s.settled(ctx, "rolled back"); err != nil {
		return err
	}
	return s.runs(ctx, 2, "gw-north-1", "gw-north-2")
}

func (s *story) after(ctx context.Context) error {
	if err := s.deploy(ctx, 4, "false", "50,100", true); err != nil {
		return err
	}
	if err := s.runs(ctx, 4, "gw-north-1", "gw-north-2"); err != nil {
		return err
	}
	return s.settled(ctx, "done")
}

// account holds the controller's sums against what the gateways acknowledged.
func (s *story) account(ctx context.Context) error {
	s.load()
	s.loading.Wait()
	return s.until(ctx, "the gateways' sums and the controller's are the same", func() (string, bool) {
		here := uint64(0)
		for _, x := range s.sites {
			n, err := metered(ctx, x)
			if err != nil {
				return err.Error(), false
			}
			here += n
		}
		there, err := s.used(ctx)
		return fmt.Sprintf("%d on the gateways, %d on the controller, %d readings acknowledged (%v)", here, there, s.total(), err), err == nil && here == there && here > 0
	})
}
