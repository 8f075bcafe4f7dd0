package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/headgate-io/headgate/controller"
	"github.com/headgate-io/headgate/controller/store"
	"github.com/headgate-io/headgate/controller/store/pgtest"
	"github.com/headgate-io/headgate/firmware-tests/observer"
	"github.com/headgate-io/headgate/firmware-tests/rig"
	"github.com/headgate-io/headgate/gateway/admin/api"
)

//go:embed project
var project embed.FS

// harness is one run under way.
type harness struct {
	plan     plan
	dir      string
	random   *rand.Rand
	result   *result
	postgres pgtest.Server
	cloud    *cloud
	proxy    *rig.Link
	database *store.Store
	fleet    []*member
	replay   *replayer
}

// member is a gateway and who publishes to it.
type member struct {
	*rig.Gateway
	publisher *observer.Publisher
}

func (m *member) state() string { return filepath.Join(m.Dir, "state") }

func (h *harness) run(ctx context.Context) (err error) {
	defer h.close()
	if err := h.openCloud(ctx); err != nil {
		return err
	}
	if err := h.openFleet(ctx); err != nil {
		return err
	}
	h.replay = &replayer{h: h, heard: map[string][][]byte{}}
	h.trouble(ctx)
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := h.settle(ctx); err != nil || !h.plan.edit || !h.result.exact() {
		return err
	}
	r := *h.result // the accounts are those of before
	err = h.edit(ctx)
	*h.result = r
	return err
}

func (h *harness) close() {
	for _, m := range h.fleet {
		m.publisher.Disconnect()
		_ = m.Kill() // it may have ended
	}
	if h.replay != nil {
		h.replay.close()
	}
	if h.cloud != nil {
		h.cloud.close()
	}
	if h.proxy != nil {
		h.proxy.Close()
	}
	if h.database != nil {
		_ = h.database.Close()
	}
	h.postgres.Stop()
}

// openFleet starts the gateways. The first compiles, the others take over what
// it compiled.
func (h *harness) openFleet(ctx context.Context) error {
	token, err := h.cloud.replicas[0].Token(ctx, 1000)
	if err != nil {
		return err
	}
	for i := range h.plan.gateways {
		dir := filepath.Join(h.dir, fmt.Sprintf("gateway-%02d", i))
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		g, err := rig.New(h.plan.gateway, dir)
		if err != nil {
			return err
		}
		m := &member{Gateway: g, publisher: observer.NewPublisher("driver", "meter/driver", 1)}
		m.publisher.Pause = 2 * time.Millisecond
		if err := g.Configure("uplink: {interval: 1s}\n"); err != nil {
			return err
		}
		if i > 0 {
			if err := os.CopyFS(filepath.Join(m.state(), "cache"), os.DirFS(filepath.Join(h.fleet[0].state(), "cache"))); err != nil {
				return err
			}
		}
		if err := g.Start(ctx); err != nil {
			return err
		}
		h.fleet = append(h.fleet, m)
		if err := h.join(ctx, m, token, fmt.Sprintf("gw-%02d", i)); err != nil {
			return err
		}
	}
	return nil
}

// join enrols a gateway before anything is metered, and gives it work.
func (h *harness) join(ctx context.Context, m *member, token, name string) error {
	in := api.Enrol{URL: h.cloud.replicas[0].URL(), Token: token, Name: name}
	if err := m.Client.Do(ctx, http.MethodPost, "/v1/enrolment", in, nil); err != nil {
		return fmt.Errorf("enrol %s: %w", name, err)
	}
	files, err := fs.Sub(project, "project")
	if err != nil {
		return err
	}
	dir := filepath.Join(m.Dir, "project")
	if err := os.CopyFS(dir, files); err != nil {
		return err
	}
	if _, err := m.Run(ctx, "deploy", dir); err != nil {
		return err
	}
	m.publisher.Password, err = m.AddDevice(ctx, "driver", []string{"meter/#"}, nil)
	return err
}

// trouble lets everything happen at once for a while.
func (h *harness) trouble(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, h.plan.lasts)
	defer cancel()
	var all sync.WaitGroup
	for _, m := range h.fleet {
		random := rand.New(rand.NewPCG(h.random.Uint64(), 1))
		all.Go(func() { h.load(ctx, m, random) })
	}
	pace := func(least, most time.Duration, act func(*rand.Rand)) {
		random := rand.New(rand.NewPCG(h.random.Uint64(), 1))
		all.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case <-time.After(least + rand.N(most-least)):
					act(random)
				}
			}
		})
	}
	pace(500*time.Millisecond, 2*time.Second, func(r *rand.Rand) {
		h.proxy.Cut(time.Duration(r.IntN(400)) * time.Millisecond)
		h.result.cuts++
	})
	pace(time.Second, 3*time.Second, func(r *rand.Rand) {
		i := r.IntN(len(h.cloud.replicas))
		h.cloud.replicas[i].Kill()
		h.result.controllerKills++
		time.Sleep(time.Duration(r.IntN(300)) * time.Millisecond)
		if err := h.cloud.replicas[i].Start(context.WithoutCancel(ctx)); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	})
	pace(300*time.Millisecond, time.Second, func(r *rand.Rand) {
		h.replay.listen()
		h.result.repeated += h.replay.again(r, h.fleet[r.IntN(len(h.fleet))].state())
	})
	all.Wait()
}

// load publishes to one gateway, and kills it now and then.
func (h *harness) load(ctx context.Context, m *member, random *rand.Rand) {
	for {
		// The kill comes while packets are on their way.
		death := time.AfterFunc(time.Duration(500+random.IntN(4000))*time.Millisecond, func() { _ = syscall.Kill(m.Pid(), syscall.SIGKILL) })
		m.publisher.Run(ctx, m.Address, false)
		if death.Stop() { // the time is over
			m.publisher.Disconnect()
			return
		}
		h.count(func(r *result) { r.gatewayKills++ })
		if err := m.Kill(); err != nil && !errors.Is(err, rig.ErrEnded) {
			fmt.Fprintln(os.Stderr, err)
		}
		m.publisher.Disconnect()
		if err := m.Start(context.WithoutCancel(ctx)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return
		}
	}
}

var counting sync.Mutex

func (h *harness) count(change func(*result)) {
	counting.Lock()
	defer counting.Unlock()
	change(h.result)
}

// settleWithin is how long everything may take to come to rest.
const settleWithin = 4 * time.Minute

// settle redelivers what the driver has no acknowledgement of, lets every
// gateway send what it has, and compares.
func (h *harness) settle(ctx context.Context) error {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, settleWithin)
	defer cancel()
	for _, m := range h.fleet {
		for m.publisher.Unacknowledged() > 0 || m.publisher.Err != nil {
			m.publisher.Disconnect()
			m.publisher.Run(ctx, m.Address, true)
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("%d events of %s are not acknowledged: %w", m.publisher.Unacknowledged(), m.Dir, err)
			}
		}
		m.publisher.Disconnect()
		h.result.driver += uint64(len(m.publisher.Acknowledged()))
		h.result.redelivered += m.publisher.Redelivered
		if err := m.Drain(ctx, settleWithin); err != nil {
			return err
		}
	}
	// A gateway is asked to send and does so in its own time: one that did not
	// get to it yet looks like one that has nothing to send.
	within := settleWithin / 4
	if h.plan.fault != "" {
		within = 10 * time.Second // what is lost does not come
	}
	for end := time.Now().Add(within); ; {
		if err := h.account(ctx); err != nil {
			return err
		}
		r := h.result
		if r.controller >= r.gateways && r.gateways >= r.driver || time.Now().After(end) {
			break
		}
	}
	h.result.took = time.Since(began)
	return nil
}

// account lets every gateway send what it has, and adds up what it and the
// controller metered.
func (h *harness) account(ctx context.Context) error {
	h.result.gateways = 0
	for _, m := range h.fleet {
		if err := h.drain(ctx, m); err != nil {
			return err
		}
		n, err := metered(ctx, m)
		if err != nil {
			return err
		}
		h.result.gateways += n
	}
	return h.ask(ctx)
}

// drain lets a gateway seal and send until nothing waits.
func (h *harness) drain(ctx context.Context, m *member) error {
	for quiet := 0; quiet < 2; {
		if err := m.Client.Do(ctx, http.MethodPost, "/v1/enrolment/send", nil, nil); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not get rid of its usage: %w\n%s", m.Dir, ctx.Err(), m.Log())
		case <-time.After(700 * time.Millisecond):
		}
		var e api.Enrolment
		if err := m.Client.Do(ctx, http.MethodGet, "/v1/enrolment", nil, &e); err != nil {
			return err
		}
		if quiet++; e.Uplink.Batches > 0 || !e.Uplink.Connected {
			quiet = 0
		}
	}
	return nil
}

// metered is the gateway's own account.
func metered(ctx context.Context, m *member) (n uint64, err error) {
	var rows []api.Usage
	err = m.Client.Do(ctx, http.MethodGet, "/v1/usage?function=metered", nil, &rows)
	for i := range rows {
		n += rows[i].Requests
	}
	return n, err
}

// ask takes the controller's account.
func (h *harness) ask(ctx context.Context) error {
	return h.database.View(ctx, func(tx *store.Tx) error {
		t, err := tx.TenantNamed(ctx, controller.FirstTenant)
		if err != nil {
			return err
		}
		days, err := tx.UsageDays(ctx, t.ID, "", 0, 1<<40, store.Day{}, 10_000)
		h.result.controller, h.result.findings = 0, nil
		for i := range days {
			h.result.controller += days[i].Requests()
		}
		findings, err2 := tx.Findings(ctx, t.ID, store.Page{Limit: 100})
		for _, f := range findings {
			h.result.findings = append(h.result.findings, fmt.Sprintf("%s: batch %d of gateway %s, epoch %d: %s", f.Kind, f.Seq, f.Gateway, f.Epoch, f.Detail))
		}
		return errors.Join(err, err2)
	})
}
