package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/headgate-io/headgate/internal/durable"
)

// defaultContext is the name of what is found on this machine.
const defaultContext = "default"

// contexts are the gateways that this user has given names to, in
// contexts.json beside the author's key.
type contexts struct {
	// Current is the one in use; empty is the default.
	Current  string                    `json:"current,omitempty"`
	Contexts map[string]gatewayContext `json:"contexts"`

	file string
}

// gatewayContext is how to reach one gateway.
type gatewayContext struct {
	Address string `json:"address"`
	// Token opens a gateway over TCP. The file is readable by its owner alone.
	Token string `json:"token,omitempty"`
}

func loadContexts() (*contexts, error) {
	dir, err := homeDir()
	if err != nil {
		return nil, fmt.Errorf("no place for contexts: %w", err)
	}
	c := &contexts{file: filepath.Join(dir, "contexts.json"), Contexts: map[string]gatewayContext{}}
	text, err := os.ReadFile(c.file)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read contexts: %w", err)
	}
	if err := json.Unmarshal(text, c); err != nil {
		return nil, fmt.Errorf("%s: %w: mend it, or delete it and add the contexts again", c.file, err)
	}
	return c, nil
}

func (c *contexts) save() error {
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(c.file), 0o700); err != nil {
		return fmt.Errorf("keep contexts: %w", err)
	}
	if err := durable.Replace(c.file, append(text, '\n')); err != nil {
		return fmt.Errorf("keep contexts: %w", err)
	}
	return nil
}

// get returns the context called name.
func (c *contexts) get(name string) (gatewayContext, error) {
	if found, ok := c.Contexts[name]; ok {
		return found, nil
	}
	names := strings.Join(append([]string{defaultContext}, slices.Sorted(maps.Keys(c.Contexts))...), ", ")
	return gatewayContext{}, usageError{fmt.Errorf("there is no context %q: there is %s; 'headgate context add' makes one", name, names)}
}

var validContext = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$`)
