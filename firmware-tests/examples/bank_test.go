//go:build e2e

package examples

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// bank is a payment server. It is ill at times: it answers that it is, before
// it has moved the money or after, or does not answer.
type bank struct {
	server *httptest.Server
	key    string

	mu sync.Mutex
	// charged is the money that moved, by order; keys are the requests that
	// moved it.
	charged map[string]int
	keys    map[string]bool
	// ill is how often an order had no good answer; twice at most, and never
	// after a good one: what four attempts end in is not the bank's illness.
	ill    map[string]int
	random *rand.Rand

	requests, lost, voids int
}

const mostIll = 2

func newBank(t *testing.T, key string) *bank {
	b := &bank{key: key}
	b.reset()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /charges", b.charge)
	mux.HandleFunc("DELETE /charges/{order}", b.void)
	b.server = httptest.NewServer(mux)
	t.Cleanup(b.server.Close)
	return b
}

func (b *bank) url() string { return b.server.URL }

func (b *bank) reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.charged, b.keys, b.ill = map[string]int{}, map[string]bool{}, map[string]int{}
	b.random = rand.New(rand.NewPCG(2, 2))
	b.requests, b.lost, b.voids = 0, 0, 0
}

func (b *bank) charge(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var c struct {
		Order string
		Total int
		Card  string
	}
	key := r.Header.Get("Idempotency-Key")
	if err := json.NewDecoder(r.Body).Decode(&c); err != nil || key == "" || r.Header.Get("Authorization") != "Bearer "+b.key {
		http.Error(w, "not a charge", http.StatusBadRequest)
		return
	}
	b.requests++
	if c.Card == "declined" {
		http.Error(w, "declined", http.StatusPaymentRequired)
		return
	}
	fate := b.random.IntN(6)
	if b.ill[c.Order] == mostIll {
		fate = -1
	} else if fate < 2 {
		b.ill[c.Order]++
	}
	if fate == 0 && c.Card != "silent" {
		b.lost++
		http.Error(w, "too much to do", http.StatusServiceUnavailable)
		return
	}
	if !b.keys[key] {
		b.keys[key] = true
		b.charged[c.Order] += c.Total
	}
	if fate == 1 || c.Card == "silent" {
		b.lost++
		panic(http.ErrAbortHandler) // the money moved, and nobody hears
	}
	b.ill[c.Order] = mostIll
	w.WriteHeader(http.StatusCreated)
}

func (b *bank) void(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.voids++; b.voids == 1 {
		http.Error(w, "too much to do", http.StatusServiceUnavailable)
		return
	}
	delete(b.charged, r.PathValue("order"))
	w.WriteHeader(http.StatusNoContent)
}

// demand compares what moved with what should have.
func (b *bank) demand(want map[string]int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !maps.Equal(b.charged, want) {
		return fmt.Errorf("the bank has %v, want %v", b.charged, want)
	}
	return nil
}

func (b *bank) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return fmt.Sprintf("%d requests for money, %d without a good answer, %d to give it back", b.requests, b.lost, b.voids)
}
