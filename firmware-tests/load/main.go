// Command load measures the whole gateway from outside: events per second,
// latency, CPU per event, resident memory and bytes written per event, for the
// budgets of docs/PERFORMANCE.md. Where mosquitto is installed, it forwards
// the same messages in the same run, so that ratios can be quoted.
//
// Load is closed-loop: a bounded number of events is under way, so that what
// is measured is work and not a growing queue. All of it is on loopback, and
// every scenario ends after its seconds.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"time"
)

func main() {
	headgate := flag.String("headgate", "bin/headgate", "the gateway's binary")
	seconds := flag.Duration("time", 4*time.Second, "how long a scenario runs")
	only := flag.String("run", "", "only scenarios whose name matches this pattern")
	repeat := flag.Int("count", 1, "how often to run each scenario")
	bench := flag.Bool("bench", false, "print benchstat's format")
	flag.Parse()
	pattern, err := regexp.Compile(*only)
	if err != nil {
		fmt.Fprintln(os.Stderr, "load: -run:", err)
		os.Exit(2)
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if !*bench {
		fmt.Println(header)
	}
	failed := false
	for _, s := range scenarios {
		if !pattern.MatchString(s.name) {
			continue
		}
		for range *repeat {
			m, err := s.run(ctx, *headgate, *seconds)
			switch {
			case ctx.Err() != nil:
				return
			case err != nil:
				fmt.Printf("%-34s %v\n", s.name, err)
				failed = true
			case *bench:
				fmt.Println(m.benchLine(s.name))
			default:
				fmt.Println(m.line(s.name))
			}
		}
	}
	if failed {
		stop()
		os.Exit(1)
	}
}

const header = "scenario                            events/s   p50 ms   p99 ms   CPU µs/event   written B/event   resident MB"

// measurement is what one scenario found.
type measurement struct {
	events   int
	elapsed  time.Duration
	cpu      time.Duration
	p50, p99 time.Duration
	resident int64
	written  int64
	lost     int
}

func (m *measurement) perEvent(v float64) float64 { return v / float64(max(1, m.events)) }

func (m *measurement) line(name string) string {
	line := fmt.Sprintf("%-34s %9.0f %8.2f %8.2f %14.1f %17.0f %13.1f", name,
		float64(m.events)/m.elapsed.Seconds(), ms(m.p50), ms(m.p99),
		m.perEvent(float64(m.cpu.Nanoseconds())/1e3), m.perEvent(float64(m.written)), float64(m.resident)/1e6)
	if m.lost > 0 {
		line += fmt.Sprintf("   %d LOST", m.lost)
	}
	return line
}

func (m *measurement) benchLine(name string) string {
	return fmt.Sprintf("BenchmarkLoad/%s 1 %.0f events/s %.0f p50-ns %.0f p99-ns %.0f cpu-ns/event %.0f written-B/event %d resident-B",
		strings.ReplaceAll(name, " ", "-"), float64(m.events)/m.elapsed.Seconds(), float64(m.p50), float64(m.p99),
		m.perEvent(float64(m.cpu)), m.perEvent(float64(m.written)), m.resident)
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
