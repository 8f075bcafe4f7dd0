//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
)

const (
	messages = 10_000
	deploys  = 20
)

const counted = `functions:
  relay:
    main: f.js
    triggers: [{mqtt: in/#, qos: 1}]
    limits: {concurrency: 4}
    permissions: {publish: [out]}
`

// relay numbers what it passes on with its own version.
func relay(version int) string {
	return fmt.Sprintf("export default (event, {publish}) => publish('out', {n: event.data, v: %d}, {qos: 1});\n", version)
}

// TestDeployUnderLoad deploys a function again and again while messages flow
// through it: none may be lost, none may come twice.
func TestDeployUnderLoad(t *testing.T) {
	g, _ := startGateway(t)
	deploy(t, g, counted, relay(0))
	password := addDevice(t, g, "source", []string{"in/#"}, nil)
	sink := addDevice(t, g, "sink", nil, []string{"out"})

	var mu sync.Mutex
	times, versions := map[int]int{}, map[int]int{}
	done := make(chan struct{})
	receiver := connect(t, g.Address, "sink", sink)
	token := receiver.Subscribe("out", 1, func(_ paho.Client, m paho.Message) {
		var got struct{ N, V int }
		if err := json.Unmarshal(m.Payload(), &got); err != nil {
			t.Errorf("payload %q: %v", m.Payload(), err)
		}
		mu.Lock()
		defer mu.Unlock()
		times[got.N]++
		versions[got.V]++
		if len(times) == messages {
			select {
			case <-done:
			default:
				close(done)
			}
		}
	})
	if token.Wait(); token.Error() != nil {
		t.Fatal(token.Error())
	}

	sender := connect(t, g.Address, "source", password)
	sent := make(chan error, 1)
	slots := make(chan struct{}, 64)
	progress := make(chan int, messages)
	go func() { sent <- publishAll(sender, slots, progress) }()
	for d := 1; d <= deploys; d++ {
		for n := range progress {
			if n >= d*messages/(deploys+1) {
				break
			}
		}
		deploy(t, g, counted, relay(d))
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	select {
	case <-done:
	case <-time.After(time.Minute):
	}
	time.Sleep(200 * time.Millisecond) // for a duplicate to arrive
	mu.Lock()
	defer mu.Unlock()
	for n := range messages {
		if times[n] != 1 {
			t.Errorf("message %d came %d times", n, times[n])
		}
	}
	t.Logf("%d messages, each once; by version: %v", len(times), versions)
	if len(versions) < 2 {
		t.Errorf("only versions %v were seen", versions)
	}
}

// publishAll sends every number and returns when all are acknowledged.
func publishAll(c paho.Client, slots chan struct{}, progress chan<- int) error {
	defer close(progress)
	var wg sync.WaitGroup
	var once sync.Once
	var first error
	for n := range messages {
		slots <- struct{}{}
		token := c.Publish("in/n", 1, false, fmt.Sprint(n))
		progress <- n
		wg.Go(func() {
			defer func() { <-slots }()
			if token.Wait(); token.Error() != nil {
				once.Do(func() { first = token.Error() })
			}
		})
	}
	wg.Wait()
	return first
}

func connect(t *testing.T, address, name, password string) paho.Client {
	t.Helper()
	c := paho.NewClient(paho.NewClientOptions().AddBroker("tcp://" + address).
		SetClientID(name).SetUsername(name).SetPassword(password).SetOrderMatters(true))
	if token := c.Connect(); token.Wait() && token.Error() != nil {
		t.Fatal(token.Error())
	}
	t.Cleanup(func() { c.Disconnect(100) })
	return c
}
