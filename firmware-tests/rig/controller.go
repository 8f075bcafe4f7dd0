package rig

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/headgate-io/headgate/internal/testaddress"
)

// Controller is one controller: a folder with its state and, while it runs, a
// process.
type Controller struct {
	Program
	// Dir holds its configuration, its authority and, with SQLite, its database.
	Dir string
	// HTTPS is where its API listens, MQTT where its embedded broker does: the
	// same at every start.
	HTTPS, MQTT string

	binary string
}

// NewController prepares a controller in dir on loopback ports that are free
// now. The extra text is more of its configuration; one that begins with mqtt:
// takes the place of the listener.
func NewController(binary, dir, more string) (*Controller, error) {
	return NewControllerAt("127.0.0.1", binary, dir, more)
}

// NewControllerAt is NewController at another address of this machine.
func NewControllerAt(ip, binary, dir, more string) (*Controller, error) {
	c := &Controller{Dir: dir, binary: binary}
	for _, address := range []*string{&c.HTTPS, &c.MQTT} {
		var err error
		if *address, err = testaddress.Free(ip); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if !strings.Contains("\n"+more, "\nmqtt:") {
		more += fmt.Sprintf("mqtt: {listen: %q}\n", c.MQTT)
	}
	text := fmt.Sprintf("dir: %q\nlog: {level: warn}\nhttp: {listen: %q, names: [%s, 127.0.0.2]}\n%s", dir, c.HTTPS, ip, more)
	c.Line = []string{binary, "run", "--config", c.ConfigFile()}
	return c, os.WriteFile(c.ConfigFile(), []byte(text), 0o600)
}

// ConfigFile is its configuration.
func (c *Controller) ConfigFile() string { return filepath.Join(c.Dir, "controller.yaml") }

// URL is its API's.
func (c *Controller) URL() string { return "https://" + c.HTTPS }

// Start starts it and waits until it listens.
func (c *Controller) Start(ctx context.Context) error {
	if err := c.Program.Start(); err != nil {
		return fmt.Errorf("start %s: %w (run 'make build' first)", c.binary, err)
	}
	if err := Listens(ctx, c.HTTPS); err != nil {
		return fmt.Errorf("the controller does not listen: %w\n%s", err, c.Log())
	}
	return nil
}

// Run runs the controller's command line on its folder, and returns what it
// printed.
func (c *Controller) Run(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, c.binary, append(args, "--config", c.ConfigFile())...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("headgate-controller %v: %w\n%s", args, err, out)
	}
	return string(out), nil
}

// Secret is the first word that a command printed which begins with a prefix, as
// hge_.
func Secret(printed, prefix string) (string, error) {
	for _, word := range strings.Fields(printed) {
		if strings.HasPrefix(word, prefix) {
			return word, nil
		}
	}
	return "", fmt.Errorf("no %s… was printed: %s", prefix, printed)
}

// Operator makes a token of its operator.
func (c *Controller) Operator(ctx context.Context) (string, error) {
	out, err := c.Run(ctx, "operator", "recover")
	if err != nil {
		return "", err
	}
	return Secret(out, "hgc_")
}

// Token makes an enrolment token.
func (c *Controller) Token(ctx context.Context, uses int, args ...string) (string, error) {
	out, err := c.Run(ctx, append([]string{"token", "create", "--uses", fmt.Sprint(uses)}, args...)...)
	if err != nil {
		return "", err
	}
	return Secret(out, "hge_")
}
