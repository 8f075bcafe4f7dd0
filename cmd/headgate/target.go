package main

import (
	"cmp"
	"fmt"
	"os"

	"github.com/headgate-io/headgate/gateway/admin/client"
)

// target is the gateway that a verb speaks to.
type target struct {
	address, token string
	// named is true where somebody said which one: it is not started here
	// when it does not answer.
	named bool
}

// target finds the gateway: --host, --context, HEADGATE_HOST, HEADGATE_CONTEXT,
// the context in use, and last what answers here.
func (a *app) target() (target, error) {
	token := cmp.Or(a.token, os.Getenv("HEADGATE_TOKEN"))
	if a.host != "" && a.context != "" {
		return target{}, usageError{fmt.Errorf("--host and --context name two gateways: give one")}
	}
	if a.host != "" {
		return target{a.host, token, true}, nil
	}
	name := a.context
	if name == "" {
		if host := os.Getenv("HEADGATE_HOST"); host != "" {
			return target{host, token, true}, nil
		}
		name = os.Getenv("HEADGATE_CONTEXT")
	}
	if name == defaultContext {
		return target{address: "unix://" + defaultSocket(), token: token}, nil
	}
	all, err := loadContexts()
	if err != nil {
		return target{}, err
	}
	if name == "" {
		name = all.Current
	}
	if name == "" {
		return target{address: "unix://" + defaultSocket(), token: token}, nil
	}
	c, err := all.get(name)
	if err != nil {
		return target{}, err
	}
	return target{c.Address, cmp.Or(token, c.Token), true}, nil
}

// client connects to the gateway that the flags, the environment, the context
// in use or the default places name.
func (a *app) client() (*client.Client, error) {
	to, err := a.target()
	if err != nil {
		return nil, err
	}
	return a.connect(to)
}

func (a *app) connect(to target) (*client.Client, error) {
	c, err := client.New(to.address, to.token)
	if err != nil {
		return nil, usageError{err}
	}
	return c, nil
}
