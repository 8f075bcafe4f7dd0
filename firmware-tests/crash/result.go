package main

import (
	"fmt"
	"time"

	"github.com/headgate-io/headgate/internal/fault"
)

// anywhere is a kill from outside, at a random moment.
const anywhere fault.Step = "at a random moment"

// result is what a trial found.
type result struct {
	kills        map[fault.Step]int
	armed        int // processes that were told a step
	sent         int
	acknowledged int
	redelivered  int
	delivered    int // distinct, to subscribers
	events       int // distinct, at the end
	uploads      int // begun
	uploaded     int // acknowledged
	violations   []string
	took         time.Duration
}

func (r *result) total() (n int) {
	for _, kills := range r.kills {
		n += kills
	}
	return n
}

func (r *result) print() {
	line := func(what string, n int) { fmt.Printf("%-34s %8d\n", what, n) }
	line("kills", r.total())
	line("  "+string(anywhere), r.kills[anywhere])
	if r.armed > 0 {
		for _, step := range fault.Steps {
			line("  after "+string(step), r.kills[step])
		}
	}
	line("distinct events", r.events)
	line("PUBLISH packets sent", r.sent)
	line("of them redeliveries (DUP)", r.redelivered)
	line("acknowledged", r.acknowledged)
	line("distinct messages to subscribers", r.delivered)
	line("uploads begun", r.uploads)
	line("uploads acknowledged", r.uploaded)
	line("violations", len(r.violations))
	fmt.Printf("%-34s %8s\n", "time", r.took.Round(time.Second))
	for _, v := range r.violations {
		fmt.Println("  VIOLATION:", v)
	}
}
