//go:build e2e

package examples

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strconv"
	"testing"
)

func TestHTTPAPI(t *testing.T) {
	example{
		folder: "http-api",
		scopes: []string{"call:hello", "call:items"},
		check:  checkHTTPAPI,
		without: map[string]string{
			"hello":        "GET /hello",
			"hello-gcf":    "GET /gcf/hello",
			"hello-lambda": "GET /lambda/hello",
			"items":        "/items without a key",
		},
	}.run(t)
}

func checkHTTPAPI(ctx context.Context, s *site) error {
	for _, path := range []string{"/hello", "/gcf/hello", "/lambda/hello"} {
		if err := checkHello(ctx, s, path); err != nil {
			return err
		}
	}
	a, err := s.call(ctx, "/fn/hello", "-d", `{"name":"Ada"}`)
	if err == nil {
		err = a.demand("POST /fn/hello", 200, map[string]string{"message": "Hello, Ada!"})
	}
	if err != nil {
		return err
	}
	for _, path := range []string{"/items", "/fn/hello"} {
		a, err := s.curl(ctx, path)
		if err == nil {
			err = a.demand(path+" without a key", 401, nil)
		}
		if err != nil {
			return err
		}
	}
	if err := s.item(ctx, "PATCH", "/items/1", "", 405, nil); err != nil {
		return err
	}
	return checkItems(ctx, s)
}

func checkHello(ctx context.Context, s *site, path string) error {
	for _, name := range []string{"", "Ada", "Jürgen & Søn", `"quoted"`} {
		query, greeted := "", "World"
		if name != "" {
			query, greeted = "?name="+url.QueryEscape(name), name
		}
		a, err := s.curl(ctx, path+query)
		if err != nil {
			return err
		}
		if err := a.demand("GET "+path, 200, map[string]string{"message": "Hello, " + greeted + "!"}); err != nil {
			return err
		}
		if name == "Ada" {
			s.say("GET %s%s: %s", path, query, a.body)
		}
	}
	return nil
}

// checkItems sends requests at random and keeps the same items in a map.
func checkItems(ctx context.Context, s *site) error {
	random := rand.New(rand.NewPCG(4, 4))
	items, last, requests := map[string]map[string]any{}, 0, 60
	for n := range requests {
		id := strconv.Itoa(1 + random.IntN(12))
		item := map[string]any{"name": fmt.Sprintf("item %d", n), "n": float64(n)}
		body, err := json.Marshal(item)
		if err != nil {
			return err
		}
		_, there := items[id]
		switch random.IntN(4) {
		case 0:
			last++
			id = strconv.Itoa(last)
			err = s.item(ctx, "POST", "/items", string(body), 201, map[string]any{"id": id, "name": item["name"], "n": item["n"]})
			items[id] = item
		case 1:
			err = s.item(ctx, "PUT", "/items/"+id, string(body), map[bool]int{true: 200, false: 201}[there], item)
			items[id] = item
		case 2:
			err = s.item(ctx, "DELETE", "/items/"+id, "", map[bool]int{true: 204, false: 404}[there], nil)
			delete(items, id)
		case 3:
			if there {
				err = s.item(ctx, "GET", "/items/"+id, "", 200, items[id])
			} else {
				err = s.item(ctx, "GET", "/items/"+id, "", 404, nil)
			}
		}
		if err != nil {
			return err
		}
	}
	for _, bad := range []string{"hose", "[1]", "3", ""} {
		if err := s.item(ctx, "POST", "/items", bad, 400, nil); err != nil {
			return err
		}
	}
	s.say("%d requests at random, %d items left", requests, len(items))
	return checkList(ctx, s, items)
}

func checkList(ctx context.Context, s *site, items map[string]map[string]any) error {
	a, err := s.call(ctx, "/items")
	if err != nil {
		return err
	}
	var want []string
	for id, item := range items {
		want = append(want, fmt.Sprint(id, item["name"], item["n"]))
	}
	var list []map[string]any
	if err := json.Unmarshal(a.body, &list); err != nil {
		return fmt.Errorf("GET /items: %w in %v", err, a)
	}
	var is []string
	for _, item := range list {
		is = append(is, fmt.Sprint(item["id"], item["name"], item["n"]))
	}
	slices.Sort(want)
	slices.Sort(is)
	if !slices.Equal(is, want) {
		return fmt.Errorf("GET /items: %q, want %q", is, want)
	}
	return nil
}

func (s *site) item(ctx context.Context, method, path, body string, status int, want any) error {
	a, err := s.call(ctx, path, "-X", method, "-d", body)
	if err != nil {
		return err
	}
	return a.demand(method+" "+path, status, want)
}
