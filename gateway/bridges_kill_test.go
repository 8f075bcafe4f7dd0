package gateway_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/headgate-io/headgate/gateway"
	"github.com/headgate-io/headgate/gateway/config"
	"github.com/headgate-io/headgate/internal/fault"
	"github.com/headgate-io/headgate/internal/slow"
	"github.com/headgate-io/headgate/internal/testmosquitto"
)

// killedGateway names the configuration of a gateway that is to run in a
// process of its own.
const killedGateway = "HEADGATE_TEST_KILLED_GATEWAY"

// runToBeKilled is such a process.
func runToBeKilled() int {
	cfg, err := config.Load(config.Default(), os.Getenv(killedGateway), true, nil)
	if err == nil {
		var g *gateway.Gateway
		if g, err = gateway.New(context.Background(), cfg, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))); err == nil {
			err = g.Run(context.Background())
		}
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// victim is a gateway in a process of its own.
type victim struct {
	testing.TB
	file, address string
	environ       []string
	process       *exec.Cmd
}

// newVictim has a gateway whose farm/# goes to house.
func newVictim(t testing.TB, house string, environ ...string) *victim {
	t.Helper()
	dir, address := t.TempDir(), freeAddress(t)
	v := &victim{TB: t, file: dir + "/config.yaml", address: address, environ: environ}
	text := fmt.Sprintf("state_dir: %s/state\nmqtt: {anonymous: true, listeners: [{name: test, network: tcp, address: '%s'}]}\nbridges: {house: {url: 'mqtt://%s', out: [farm/#]}}\n", dir, address, house)
	if err := os.WriteFile(v.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.kill)
	return v
}

func (v *victim) start() {
	v.Helper()
	self, err := os.Executable()
	if err != nil {
		v.Fatal(err)
	}
	v.process = exec.Command(self)
	v.process.Env = append(os.Environ(), append(v.environ, killedGateway+"="+v.file)...)
	v.process.Stderr = os.Stderr
	if err := v.process.Start(); err != nil {
		v.Fatal(err)
	}
}

func (v *victim) kill() {
	if v.process != nil {
		_ = v.process.Process.Kill()
		_ = v.process.Wait()
		v.process = nil
	}
}

// some is how many messages a gateway takes before it is killed, at least:
// however slow its disk is, there is something to lose.
const some = 20

// publish says as many numbers as it can until the gateway is gone, each after
// the acknowledgement of the one before, and returns the next number. taken is
// called once it has taken some.
func (v *victim) publish(next int, taken func()) int {
	v.Helper()
	var c net.Conn
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		var err error
		if c, err = net.Dial("tcp", v.address); err == nil {
			break
		}
		if time.Now().After(deadline) {
			v.Fatal(err)
		}
	}
	defer c.Close()
	hello := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	hello.ProtocolName, hello.ProtocolVersion, hello.ClientIdentifier, hello.CleanSession = "MQTT", 4, "probe", true
	if hello.Write(c) != nil {
		return next
	}
	if _, err := packets.ReadPacket(c); err != nil {
		return next
	}
	for id := uint16(1); ; id++ {
		p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
		p.TopicName, p.Payload, p.Qos, p.MessageID = "farm/n", strconv.AppendInt(nil, int64(next), 10), 1, id
		if p.Write(c) != nil {
			return next
		}
		if _, err := packets.ReadPacket(c); err != nil {
			return next // what has no acknowledgement is said again
		}
		next++
		if id == some {
			taken()
		}
	}
}

// killedOver kills a gateway while it takes messages and sends them on, over
// and over, and restarts the other broker meanwhile. It returns which
// acknowledged ones the other broker never got.
func killedOver(t *testing.T, kills int, environ ...string) (lost []int, sent int) {
	t.Helper()
	// It would drop what comes before the observer is back.
	house := testmosquitto.Start(t, "allow_anonymous true", "max_queued_messages 0")
	v := newVictim(t, house.Address, environ...)
	// A session that lasts, with a broker that keeps it when it is stopped.
	there := listen(t, house.Address, "farm/#", func(o *paho.ClientOptions) {
		o.SetCleanSession(false).SetMaxReconnectInterval(200 * time.Millisecond)
	})
	next := 0
	for range kills {
		v.start()
		restarted := make(chan struct{})
		go func() {
			defer close(restarted)
			time.Sleep(time.Duration(200+rand.IntN(300)) * time.Millisecond)
			house.Stop()
			house.Restart()
		}()
		process := v.process.Process
		next = v.publish(next, func() {
			time.AfterFunc(time.Duration(200+rand.IntN(800))*time.Millisecond, func() { _ = process.Kill() })
		})
		<-restarted
		v.kill()
	}
	v.start()
	heard := map[int]bool{}
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline) && len(heard) < next; time.Sleep(50 * time.Millisecond) {
		for _, line := range there.all() {
			n, err := strconv.Atoi(strings.TrimPrefix(line, "farm/n "))
			if err != nil {
				t.Fatal(err)
			}
			if n < next {
				heard[n] = true
			}
		}
	}
	v.kill()
	for n := range next {
		if !heard[n] {
			lost = append(lost, n)
		}
	}
	return lost, next
}

// What a publisher's acknowledgement promised reaches the other broker, however
// often both are ended. (Order is not looked at: a Mosquitto that has restarted
// sends what it had in flight after what came since.)
func TestBridgeSurvivesKills(t *testing.T) {
	slow.UnderRace(t, slow.WholeGateways)
	lost, sent := killedOver(t, 8)
	if len(lost) > 0 || sent < 8*some {
		t.Errorf("%d of %d acknowledged messages are lost: %v", len(lost), sent, lost[:min(len(lost), 10)])
	}
	t.Logf("%d acknowledged messages over 8 kills, %d lost", sent, len(lost))
}

// TestSeededFaults shows that TestBridgeSurvivesKills catches what it is there
// for.
func TestSeededFaults(t *testing.T) {
	if !fault.Seeded {
		t.Skip("needs -tags seededfaults")
	}
	lost, sent := killedOver(t, 10, "HEADGATE_FAULT="+string(fault.ForgetSent))
	if len(lost) == 0 {
		t.Fatalf("the fault %s was not caught over %d messages", fault.ForgetSent, sent)
	}
	t.Logf("%s was caught: %d of %d acknowledged messages are lost", fault.ForgetSent, len(lost), sent)
}
