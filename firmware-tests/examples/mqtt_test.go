//go:build e2e

package examples

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/headgate-io/headgate/firmware-tests/rig"
)

// mosquitto is one of mosquitto's clients, as the device.
func (s *site) mosquitto(ctx context.Context, program, name string, args ...string) *exec.Cmd {
	host, port, _ := net.SplitHostPort(s.Address)
	// stdbuf: what it prints is waited for, and must not stay in its buffer.
	return exec.CommandContext(ctx, "stdbuf", append([]string{
		"-oL", program,
		"-h", host, "-p", port, "-i", name, "-u", name, "-P", s.passwords[name], "-q", "1",
	}, args...)...)
}

// publish sends messages, each in its order, and returns when the gateway has
// acknowledged all.
func (s *site) publish(ctx context.Context, name, topic string, payloads ...any) error {
	var lines strings.Builder
	for _, p := range payloads {
		text, ok := p.(string)
		if !ok {
			b, err := json.Marshal(p)
			if err != nil {
				return err
			}
			text = string(b)
		}
		lines.WriteString(text + "\n")
	}
	cmd := s.mosquitto(ctx, "mosquitto_pub", name, "-t", topic, "-l")
	cmd.Stdin = strings.NewReader(lines.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("mosquitto_pub %s: %w (apt install mosquitto-clients)\n%s", topic, err, out)
	}
	return nil
}

// message is one that a listener got.
type message struct {
	Topic   string
	Payload string
	QoS     int
	Retain  int
}

// listener is a mosquitto_sub that runs.
type listener struct {
	cmd    *exec.Cmd
	cancel context.CancelFunc
	out    rig.Output
	closed sync.Once
}

// listen subscribes the device to all that it may hear, and returns when the
// gateway has agreed. Close it.
func (s *site) listen(ctx context.Context, name string) (*listener, error) {
	ctx, cancel := context.WithCancel(ctx)
	args := []string{"-d", "-F", "%j"}
	for _, filter := range append(slices.Clone(s.devices[name].subscribe), endTopic) {
		args = append(args, "-t", filter)
	}
	l := &listener{cmd: s.mosquitto(ctx, "mosquitto_sub", name, args...), cancel: cancel}
	l.cmd.Stdout, l.cmd.Stderr = &l.out, &l.out
	if err := l.cmd.Start(); err != nil {
		cancel()
		return nil, fmt.Errorf("mosquitto_sub: %w (apt install mosquitto-clients)", err)
	}
	for started := time.Now(); !strings.Contains(l.out.String(), "Subscribed"); time.Sleep(5 * time.Millisecond) {
		if time.Since(started) > patient {
			l.Close()
			return nil, fmt.Errorf("mosquitto_sub as %s: not subscribed after %v:\n%s", name, patient, l.out.String())
		}
	}
	return l, nil
}

// Close ends it as a device ends that is pulled out of its socket.
func (l *listener) Close() {
	l.closed.Do(func() {
		l.cancel()
		_ = l.cmd.Wait() // killed
	})
}

// messages are what it got so far, in the order in which they came.
func (l *listener) messages() []message {
	var list []message
	for line := range strings.Lines(l.out.String()) {
		var m message
		if strings.HasPrefix(line, "{") && strings.HasSuffix(line, "\n") && json.Unmarshal([]byte(line), &m) == nil {
			list = append(list, m)
		}
	}
	return list
}

// on are the payloads that came on a topic.
func (l *listener) on(topic string) []string {
	var list []string
	for _, m := range l.messages() {
		if m.Topic == topic {
			list = append(list, m.Payload)
		}
	}
	return list
}

// endTopic is heard by every listener. What is published there comes after all
// that the gateway had for it before.
const endTopic = "test/end"

// settle returns when functions have nothing left to do and the listener has
// all that they published.
func (s *site) settle(ctx context.Context, l *listener) error {
	if err := s.Drain(ctx, patient); err != nil {
		return err
	}
	end := strconv.Itoa(len(l.on(endTopic)))
	if _, err := s.Run(ctx, "pub", endTopic, end); err != nil {
		return err
	}
	for started := time.Now(); !slices.Contains(l.on(endTopic), end); time.Sleep(5 * time.Millisecond) {
		if time.Since(started) > patient {
			return fmt.Errorf("the end did not come after %v:\n%s", patient, l.out.String())
		}
	}
	return nil
}

// exactly waits for the messages of a topic, and then for none to follow.
func (s *site) exactly(ctx context.Context, l *listener, topic string, want []any) error {
	if err := s.until(ctx, func() error { return sameMessages(l, topic, want) }); err != nil {
		return err
	}
	if err := s.settle(ctx, l); err != nil {
		return err
	}
	return sameMessages(l, topic, want)
}

// sameMessages compares what came on a topic with what should have come.
func sameMessages(l *listener, topic string, want []any) error {
	is := l.on(topic)
	for n, w := range want {
		if n >= len(is) {
			text, err := json.Marshal(w)
			if err != nil {
				return err
			}
			return fmt.Errorf("%s: %d messages of %d came; next should be %s", topic, n, len(want), text)
		}
		if err := sameJSON(fmt.Sprintf("%s: message %d", topic, n+1), []byte(is[n]), w); err != nil {
			return err
		}
	}
	if len(is) > len(want) {
		return fmt.Errorf("%s: %d messages came, want %d; the next is %s", topic, len(is), len(want), is[len(want)])
	}
	return nil
}
