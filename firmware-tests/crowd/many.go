package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/headgate-io/headgate/firmware-tests/rig"
)

// clients connects 2000 at once, lets each hear itself, drops all of them and
// has them back at once, five times.
func clients(ctx context.Context, g *rig.Gateway) error {
	const n, storms = 2000, 5
	for storm := range storms {
		list := make([]*client, n)
		heard := make([]atomic.Int32, n)
		err := each(n, 256, func(i int) (err error) {
			name := fmt.Sprintf("client-%d", i)
			if list[i], err = connect(ctx, g.Address, name, func(*packets.PublishPacket) { heard[i].Add(1) }); err != nil {
				return err
			}
			return list[i].subscribe(ctx, 1, "own/"+name)
		})
		if err == nil {
			err = each(n, 256, func(i int) error { return list[i].publish(ctx, fmt.Sprintf("own/client-%d", i), []byte("x"), false) })
		}
		if err == nil {
			err = eventually(ctx, func() error {
				for i := range heard {
					if got := heard[i].Load(); got != 1 {
						return fmt.Errorf("client %d heard itself %d times", i, got)
					}
				}
				return nil
			})
		}
		closeAll(list)
		if err != nil {
			return fmt.Errorf("storm %d: %w", storm+1, err)
		}
	}
	fmt.Printf("  %d clients, %d times at once: each heard itself once\n", n, storms)
	return nil
}

func closeAll(list []*client) {
	for _, c := range list {
		if c != nil {
			_ = c.Close()
			<-c.ended
		}
	}
}

// patience ends what would never end.
const patience = 3 * time.Minute

// eventually waits until fn finds nothing wrong.
func eventually(ctx context.Context, fn func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := fn()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// fanOut sends numbered messages to 1, 10, 100 and 1000 subscribers.
func fanOut(ctx context.Context, g *rig.Gateway) error {
	for _, n := range []int{1, 10, 100, 1000} {
		messages := 20_000 / n
		next := make([]atomic.Int32, n) // the number that each expects
		wrong := make([]atomic.Int32, n)
		list := make([]*client, n)
		err := each(n, 128, func(i int) (err error) {
			list[i], err = connect(ctx, g.Address, fmt.Sprintf("fan-%d", i), func(p *packets.PublishPacket) {
				if string(p.Payload) != fmt.Sprint(next[i].Add(1)-1) {
					wrong[i].Add(1)
				}
			})
			if err != nil {
				return err
			}
			return list[i].subscribe(ctx, 1, "fan")
		})
		before, _ := rig.CPU(g.Pid())
		if err == nil {
			err = sendNumbered(ctx, g, messages)
		}
		if err == nil {
			err = eventually(ctx, func() error {
				for i := range next {
					if got := int(next[i].Load()); got != messages || wrong[i].Load() > 0 {
						return fmt.Errorf("subscriber %d of %d got %d of %d messages, %d out of order", i, n, got, messages, wrong[i].Load())
					}
				}
				return nil
			})
		}
		after, _ := rig.CPU(g.Pid())
		closeAll(list)
		if err != nil {
			return err
		}
		fmt.Printf("  %4d subscribers: %5d messages, each once and in order; %.1f µs CPU per delivery\n", n, messages,
			float64((after-before).Microseconds())/float64(n*messages))
	}
	return nil
}

func sendNumbered(ctx context.Context, g *rig.Gateway, messages int) error {
	pub, err := connect(ctx, g.Address, "publisher", nil)
	if err != nil {
		return err
	}
	defer closeAll([]*client{pub})
	const window = 32
	for i := range messages + window {
		if i < messages {
			if err := pub.send("fan", fmt.Append(nil, i), 1, false); err != nil {
				return err
			}
		}
		if i >= window {
			if err := pub.await(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// subscriptions has 100 clients with 100 filters each, and a message for each
// filter.
func subscriptions(ctx context.Context, g *rig.Gateway) error {
	const n, filters = 100, 100
	var mu sync.Mutex
	got := map[string]int{} // client and topic
	list := make([]*client, n)
	defer func() { closeAll(list) }()
	err := each(n, 32, func(i int) (err error) {
		name := fmt.Sprintf("holder-%d", i)
		list[i], err = connect(ctx, g.Address, name, func(p *packets.PublishPacket) {
			mu.Lock()
			defer mu.Unlock()
			got[name+" "+p.TopicName]++
		})
		if err != nil {
			return err
		}
		all := make([]string, filters)
		for f := range all {
			all[f] = fmt.Sprintf("site/%d/+/%d", i, f)
		}
		return list[i].subscribe(ctx, 1, all...)
	})
	if err != nil {
		return err
	}
	pub, err := connect(ctx, g.Address, "publisher", nil)
	if err != nil {
		return err
	}
	defer closeAll([]*client{pub})
	for i := range n {
		for f := range filters {
			if err := pub.publish(ctx, fmt.Sprintf("site/%d/probe/%d", i, f), []byte("x"), false); err != nil {
				return err
			}
		}
	}
	err = eventually(ctx, func() error {
		mu.Lock()
		defer mu.Unlock()
		if len(got) != n*filters {
			return fmt.Errorf("%d of %d subscriptions got their message", len(got), n*filters)
		}
		return nil
	})
	if err != nil {
		return err
	}
	mu.Lock()
	defer mu.Unlock()
	for key, times := range got {
		client, topic, _ := strings.Cut(key, " ")
		if times != 1 || !strings.HasPrefix(topic, "site/"+strings.TrimPrefix(client, "holder-")+"/") {
			return fmt.Errorf("%s got a message of %s %d times", client, topic, times)
		}
	}
	fmt.Printf("  %d subscriptions of %d clients: each got its message once, and no other's\n", n*filters, n)
	return nil
}

// retained publishes 10 000 retained messages, kills the gateway, and looks.
func retained(ctx context.Context, g *rig.Gateway) error {
	const n = 10_000
	pub, err := connect(ctx, g.Address, "publisher", nil)
	if err != nil {
		return err
	}
	defer closeAll([]*client{pub})
	const window = 32
	for i := range n + window {
		if i < n {
			if err := pub.send(fmt.Sprintf("state/%d/%d", i%100, i), fmt.Append(nil, i), 1, true); err != nil {
				return err
			}
		}
		if i >= window {
			if err := pub.await(ctx); err != nil {
				return err
			}
		}
	}
	for _, when := range []string{"before a kill", "after a kill"} {
		if when == "after a kill" {
			if err := g.Kill(); err != nil {
				return err
			}
			if err := g.Start(ctx); err != nil {
				return err
			}
		}
		if err := allRetained(ctx, g, n); err != nil {
			return fmt.Errorf("%s: %w", when, err)
		}
		fmt.Printf("  %s: a new subscriber gets all %d, each once\n", when, n)
	}
	return nil
}

func allRetained(ctx context.Context, g *rig.Gateway, n int) error {
	var mu sync.Mutex
	got := map[string]int{}
	c, err := connect(ctx, g.Address, "late", func(p *packets.PublishPacket) {
		mu.Lock()
		defer mu.Unlock()
		if p.Retain && strings.HasSuffix(p.TopicName, "/"+string(p.Payload)) {
			got[p.TopicName]++
		}
	})
	if err != nil {
		return err
	}
	defer closeAll([]*client{c})
	if err := c.subscribe(ctx, 1, "state/#"); err != nil {
		return err
	}
	return eventually(ctx, func() error {
		mu.Lock()
		defer mu.Unlock()
		for topic, times := range got {
			if times != 1 {
				return fmt.Errorf("%s came %d times", topic, times)
			}
		}
		if len(got) != n {
			return fmt.Errorf("%d of %d came", len(got), n)
		}
		return nil
	})
}

// functions deploys 1000 functions, runs each, and starts the gateway anew with
// all of them.
func functions(ctx context.Context, g *rig.Gateway) error {
	began := time.Now()
	const n = 1000
	dir := filepath.Join(g.Dir, "project")
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	const source = `export default (event, { state, config }) => state.set("n", (state.get("n") ?? 0) + config.step);`
	var manifest strings.Builder
	manifest.WriteString("functions:\n")
	for i := range n {
		fmt.Fprintf(&manifest, "  fn-%d: {main: fn.js, triggers: [{mqtt: run/%d, qos: 1}], config: {step: 1}}\n", i, i)
	}
	for name, text := range map[string]string{"fn.js": source, "headgate.yaml": manifest.String()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	if _, err := g.Run(ctx, "deploy", dir); err != nil {
		return err
	}
	pub, err := connect(ctx, g.Address, "publisher", nil)
	if err != nil {
		return err
	}
	defer closeAll([]*client{pub})
	const rounds = 3
	for range rounds {
		for i := range n {
			if err := pub.publish(ctx, fmt.Sprintf("run/%d", i), []byte("x"), false); err != nil {
				return fmt.Errorf("run/%d: %w", i, err)
			}
		}
	}
	if err := g.Drain(ctx, patience); err != nil {
		return err
	}
	list, err := g.Functions(ctx)
	if err != nil {
		return err
	}
	for i := range list {
		if c := list[i].Counters; c.Invocations != rounds || len(c.Errors) > 0 {
			return fmt.Errorf("%s ran %d times, with the errors %v", list[i].Name, c.Invocations, c.Errors)
		}
	}
	if len(list) != n {
		return fmt.Errorf("%d functions are deployed", len(list))
	}
	fmt.Printf("  %d JavaScript functions, each ran %d times in turn without an error\n", n, rounds)
	if err := withinBudget(g, time.Since(began)); err != nil {
		return err
	}
	return restarted(ctx, g, n)
}

// restarted stops the gateway and starts it with the n functions it has, and
// runs the last of them.
func restarted(ctx context.Context, g *rig.Gateway, n int) error {
	if err := g.Stop(); err != nil {
		return err
	}
	began := time.Now()
	if err := g.Start(ctx); err != nil {
		return err
	}
	ready := time.Since(began)
	if _, err := g.Run(ctx, "invoke", fmt.Sprintf("fn-%d", n-1)); err != nil {
		return err
	}
	ran := time.Since(began)
	used, err := rig.CPU(g.Pid())
	if err != nil {
		return err
	}
	fmt.Printf("  started anew with all of them: ready after %v, the last had run after %v, %v of CPU (budget 3 s)\n",
		ready.Round(time.Millisecond), ran.Round(time.Millisecond), used.Round(time.Millisecond))
	return nil
}
