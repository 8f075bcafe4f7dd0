package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/headgate-io/headgate/firmware-tests/rig"
)

// stopped measures what others feel while bulk data passes to two subscribers:
// with both reading, and with one of them stopped by SIGSTOP, in turn.
func stopped(ctx context.Context, g *rig.Gateway) error {
	const rounds = 4
	var running, halted []time.Duration
	for range rounds {
		p99, err := bulk(ctx, g, false)
		if err != nil {
			return err
		}
		running = append(running, p99)
		if p99, err = bulk(ctx, g, true); err != nil {
			return err
		}
		halted = append(halted, p99)
	}
	slices.Sort(running)
	slices.Sort(halted)
	before, after := running[rounds/2], halted[rounds/2]
	fmt.Printf("  others' p99 with all reading %.2f ms, with one stopped %.2f ms: %.2f times\n", ms(before), ms(after), float64(after)/float64(before))
	if after > 2*before {
		return errors.New("a stopped subscriber is felt by others")
	}
	return nil
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

const (
	chunk   = 16 << 10
	perTurn = 50 << 20 // 200 MB pass the stopped subscriber in four turns
)

// bulk sends data to a subscriber in another process, and to one in this, and
// returns the p99 latency of a third pair.
func bulk(ctx context.Context, g *rig.Gateway, stop bool) (p99 time.Duration, err error) {
	host, port, _ := strings.Cut(g.Address, ":")
	reader := exec.CommandContext(ctx, "mosquitto_sub", "-h", host, "-p", port, "-i", "reader", "-t", "bulk", "-q", "1", "-F", "%l")
	if err := reader.Start(); err != nil {
		return 0, fmt.Errorf("start mosquitto_sub: %w", err)
	}
	defer func() {
		_ = reader.Process.Kill()
		_ = reader.Wait()
	}()
	if err := subscribed(ctx, g, "reader"); err != nil {
		return 0, err
	}
	if stop {
		if err := reader.Process.Signal(syscall.SIGSTOP); err != nil {
			return 0, err
		}
	}
	received := make(chan struct{}, 1<<16)
	other, err := connect(ctx, g.Address, "other", func(*packets.PublishPacket) { received <- struct{}{} })
	if err != nil {
		return 0, err
	}
	defer closeAll([]*client{other})
	if err := other.subscribe(ctx, 1, "bulk"); err != nil {
		return 0, err
	}
	probing, done := context.WithCancel(ctx)
	defer done()
	latencies := make(chan []time.Duration, 1)
	go func() { latencies <- probe(probing, g) }()
	if err := sendBulk(ctx, g, received); err != nil {
		return 0, err
	}
	done()
	list := <-latencies
	if len(list) < 100 {
		return 0, fmt.Errorf("only %d probes came back", len(list))
	}
	slices.Sort(list)
	return list[len(list)*99/100], nil
}

func sendBulk(ctx context.Context, g *rig.Gateway, received <-chan struct{}) error {
	pub, err := connect(ctx, g.Address, "bulk-publisher", nil)
	if err != nil {
		return err
	}
	defer closeAll([]*client{pub})
	payload := make([]byte, chunk)
	const window = 16
	messages := perTurn / chunk
	for i := range messages + window {
		if i < messages {
			if err := pub.send("bulk", payload, 1, false); err != nil {
				return err
			}
			time.Sleep(300 * time.Microsecond) // a rate that all can follow
		}
		if i >= window {
			if err := pub.await(ctx); err != nil {
				return err
			}
			select {
			case <-received:
			case <-ctx.Done():
				return fmt.Errorf("the other subscriber got %d of %d messages", i-window, messages)
			}
		}
	}
	return nil
}

// probe sends small messages and measures how long each takes.
func probe(ctx context.Context, g *rig.Gateway) (list []time.Duration) {
	var mu sync.Mutex
	c, err := connect(ctx, g.Address, "probe", func(p *packets.PublishPacket) {
		if sent, err := strconv.ParseInt(string(p.Payload), 10, 64); err == nil {
			mu.Lock()
			list = append(list, time.Since(time.Unix(0, sent)))
			mu.Unlock()
		}
	})
	if err != nil {
		return nil
	}
	if c.subscribe(ctx, 0, "probe") == nil {
		for ctx.Err() == nil {
			if c.send("probe", strconv.AppendInt(nil, time.Now().UnixNano(), 10), 0, false) != nil {
				break
			}
			time.Sleep(2 * time.Millisecond)
		}
	}
	closeAll([]*client{c})
	mu.Lock()
	defer mu.Unlock()
	return list
}

// subscribed waits until a client has its subscription.
func subscribed(ctx context.Context, g *rig.Gateway, name string) error {
	pub, err := connect(ctx, g.Address, "waiter", nil)
	if err != nil {
		return err
	}
	defer closeAll([]*client{pub})
	return eventually(ctx, func() error {
		figures, err := g.Metrics(ctx)
		if err == nil && figures["headgate_mqtt_subscriptions"] == 0 {
			err = fmt.Errorf("%s has not subscribed", name)
		}
		return err
	})
}
