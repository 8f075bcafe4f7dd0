package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	controllerapi "github.com/headgate-io/headgate/controller/api"
	controllerclient "github.com/headgate-io/headgate/controller/client"
	"github.com/headgate-io/headgate/controller/label"
	"github.com/headgate-io/headgate/internal/nearest"
)

// What an operator is likely to have mistyped is said before it is done.

// checkChosen says of a selector which of its gateways a deployment is not for,
// before anything is signed, and refuses one that is for none of them. One that
// chooses no gateway yet waits for the first: that is said.
func (a *app) checkChosen(ctx context.Context, c *controllerclient.Client, to string, system bool) error {
	query := url.Values{"selector": {to}, "limit": {"1"}}
	var first controllerapi.Page[controllerapi.Gateway]
	if err := c.Do(ctx, http.MethodGet, "/v1/gateways?"+query.Encode(), nil, &first); err != nil {
		return mayNotLook(err)
	}
	switch {
	case len(first.Items) == 0 && to != "":
		return a.noteLabels(ctx, c, to)
	case !system:
		return nil
	}
	list, err := controllerclient.All[controllerapi.Gateway](ctx, c, "/v1/gateways", query)
	if err != nil {
		return err
	}
	list = slices.DeleteFunc(list, func(g controllerapi.Gateway) bool { return !g.Revoked.IsZero() })
	var fixed []string
	for i := range list {
		if s := list[i].Status; s != nil && s.FixedBinary != "" {
			fixed = append(fixed, list[i].Name+": "+s.FixedBinary)
		}
	}
	if len(fixed) > 0 && len(fixed) == len(list) {
		return fmt.Errorf("none of %s takes a binary from the controller, so nothing is deployed:\n%s", counted(len(list), "gateway"), someLines(fixed))
	}
	if len(fixed) > 0 {
		fmt.Fprintf(a.err, "note: it is not for %d of %s:\n%s\n", len(fixed), counted(len(list), "gateway"), someLines(fixed))
	}
	return nil
}

// mayNotLook lets those go on who may change what they may not look at.
func mayNotLook(err error) error {
	var refused *controllerclient.Error
	if errors.As(err, &refused) && refused.Status == http.StatusForbidden {
		return nil
	}
	return err
}

// someLines are a few of a list, one a line.
func someLines(list []string) string {
	const most = 10
	text := "  " + strings.Join(list[:min(len(list), most)], "\n  ")
	if n := len(list) - most; n > 0 {
		text += fmt.Sprintf("\n  and %d more", n)
	}
	return text
}

// noteLabels says which labels there are where none of the gateways has those of
// a selector.
func (a *app) noteLabels(ctx context.Context, c *controllerclient.Client, to string) error {
	selector, err := label.Parse(to)
	if err != nil {
		return err
	}
	list, err := controllerclient.All[controllerapi.Gateway](ctx, c, "/v1/gateways", nil)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return nil // the first of the fleet is still to come: that is said later
	}
	values := map[string]map[string]int{}
	for i := range list {
		for k, v := range list[i].Labels {
			if values[k] == nil {
				values[k] = map[string]int{}
			}
			values[k][v]++
		}
	}
	fmt.Fprintf(a.err, "note: none of %s has the labels %s\n", counted(len(list), "gateway"), to)
	for _, k := range selector.Keys() {
		if values[k] == nil {
			fmt.Fprintf(a.err, "  %s: no gateway has this label; there are: %s\n", k, dash(strings.Join(firstNames(slices.Sorted(maps.Keys(values))), ", ")))
			continue
		}
		var there []string
		for _, v := range slices.Sorted(maps.Keys(values[k])) {
			there = append(there, fmt.Sprintf("%s=%s (%s)", k, v, counted(values[k][v], "gateway")))
		}
		fmt.Fprintf(a.err, "  there are: %s\n", strings.Join(firstNames(there), ", "))
	}
	return nil
}

// firstNames bounds a list of names for eyes.
func firstNames(list []string) []string {
	const most = 20
	if n := len(list) - most; n > 0 {
		list = append(slices.Clone(list[:most]), fmt.Sprintf("%d more", n))
	}
	return list
}

// noteFunction says that a function is known to nobody. Setting something for it
// ahead of its deployment is fine.
func (a *app) noteFunction(ctx context.Context, c *controllerclient.Client, name string) error {
	unknown, hint, err := unknownFunction(ctx, c, name)
	if unknown && err == nil {
		fmt.Fprintf(a.err, "note: no gateway has a function %s, and no deployment names it%s; what is set counts from when one does\n", name, hint)
	}
	return err
}

// noteSetting says of what is set that it is for no function, or for no gateway,
// that there is.
func (a *app) noteSetting(ctx context.Context, name, to string) error {
	return a.withFleet(func(c *controllerclient.Client) error {
		if err := a.noteFunction(ctx, c, name); err != nil {
			return err
		}
		return a.checkChosen(ctx, c, to, false)
	})
}

// checkRemoved refuses to take away what nobody knows of.
func (a *app) checkRemoved(ctx context.Context, c *controllerclient.Client, name string) error {
	unknown, hint, err := unknownFunction(ctx, c, name)
	if unknown && err == nil {
		err = fmt.Errorf("no gateway has a function %s, and no deployment names it%s: there is nothing to remove", name, hint)
	}
	return err
}

// noteWithout says of a function that is to be removed that none of the gateways
// has it, and what they have. That it goes from those that have it later is fine.
func (a *app) noteWithout(ctx context.Context, c *controllerclient.Client, name, to string) error {
	states, err := controllerclient.All[controllerapi.GatewayState](ctx, c, "/v1/states", url.Values{"selector": {to}})
	if err != nil || len(states) == 0 {
		return mayNotLook(err)
	}
	names := map[string]bool{}
	for i := range states {
		for j := range states[i].Functions {
			if f := &states[i].Functions[j]; f.Version > 0 || f.Wanted != "" {
				names[f.Function] = true
			}
		}
	}
	if !names[name] {
		fmt.Fprintf(a.err, "note: none of %s has a function %s%s; there are: %s\n",
			counted(len(states), "gateway"), name, meant(name, names), dash(strings.Join(firstNames(slices.Sorted(maps.Keys(names))), ", ")))
	}
	return nil
}

// unknownFunction reports whether no deployment, no signed target and no gateway
// speaks of a function, and then which one may have been meant.
func unknownFunction(ctx context.Context, c *controllerclient.Client, name string) (unknown bool, hint string, err error) {
	names := map[string]bool{}
	deployments, err := controllerclient.All[controllerapi.Deployment](ctx, c, "/v1/deployments", nil)
	for i := range deployments {
		names[deployments[i].Function] = true
	}
	if err != nil || names[name] {
		return false, "", mayNotLook(err)
	}
	targets, err := controllerclient.All[controllerapi.Target](ctx, c, "/v1/targets", nil)
	for i := range targets {
		names[targets[i].Function] = true
	}
	if err != nil || names[name] {
		return false, "", mayNotLook(err)
	}
	states, err := controllerclient.All[controllerapi.GatewayState](ctx, c, "/v1/states", nil)
	for i := range states {
		for j := range states[i].Functions {
			if f := &states[i].Functions[j]; f.Version > 0 {
				names[f.Function] = true
			}
		}
	}
	if err != nil || names[name] {
		return false, "", mayNotLook(err)
	}
	delete(names, fleetSystem)
	delete(names, "")
	return true, meant(name, names), nil
}

// meant asks whether another of some names was meant.
func meant(name string, among map[string]bool) string {
	if near := nearest.Name(name, slices.Sorted(maps.Keys(among))); near != "" {
		return " (did you mean " + near + "?)"
	}
	return ""
}
