package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/headgate-io/headgate/gateway/admin/api"
)

// view shows the farm while it lives: redrawn in place on a terminal, a line
// every few seconds elsewhere.
type view struct {
	out      io.Writer
	terminal bool
	farm     *farm
	gateway  *gateway
	drawn    int // lines of the last picture
	next     time.Time

	lastCount uint64
	lastAt    time.Time
}

func newView(out *os.File, f *farm, g *gateway) *view {
	return &view{out: out, terminal: term.IsTerminal(int(out.Fd())), farm: f, gateway: g, lastAt: time.Now()}
}

const plainEvery = 5 * time.Second

func (v *view) draw(ctx context.Context) {
	now := time.Now()
	if now.Before(v.next) {
		return
	}
	v.next = now.Add(drawEvery)
	if !v.terminal {
		v.next = now.Add(plainEvery)
	}
	lines := v.lines(ctx)
	if !v.terminal {
		fmt.Fprintln(v.out, strings.Join(lines, "\n"))
		return
	}
	var b strings.Builder
	if v.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", v.drawn)
	}
	for _, l := range lines {
		b.WriteString("\r\x1b[2K" + l + "\n")
	}
	v.drawn = len(lines)
	fmt.Fprint(v.out, b.String())
}

func (v *view) close() { fmt.Fprintln(v.out) }

func (v *view) lines(ctx context.Context) []string {
	now := v.farm.clock()
	w := v.farm.climate.At(now)
	lines := []string{fmt.Sprintf("%s  %2.0f °C  rain %.0f mm/h", now.Format("Mon 15:04"), w.Temperature.Celsius(), w.Rain)}
	for _, p := range v.farm.plots {
		p.mu.Lock()
		f := p.field
		p.mu.Unlock()
		state := "closed"
		if f.Valve.Open(now) {
			state = "OPEN  "
		}
		lines = append(lines, fmt.Sprintf("  %-10s %s %4.1f %% (target %2.0f)  valve %s  commands %3d  %6.0f l",
			f.Name, bar(f.Moisture, p.target), f.Moisture, p.target, state, f.Valve.Commands, f.Liters))
	}
	return append(lines, v.gatewayLine(ctx))
}

// barLow and barHigh are the ends of the bar, in %.
const barLow, barHigh = 10.0, 50.0

// bar draws moisture, with the target's band.
func bar(moisture, target float64) string {
	const width = 40
	at := func(x float64) int { return min(width-1, max(0, int((x-barLow)/(barHigh-barLow)*width))) }
	b := []rune(strings.Repeat("·", width))
	for i := at(target - tolerance); i <= at(target+tolerance); i++ {
		b[i] = '-'
	}
	b[at(moisture)] = '#'
	return "[" + string(b) + "]"
}

func (v *view) gatewayLine(ctx context.Context) string {
	list, err := v.gateway.Functions(ctx)
	if err != nil {
		return "  gateway: " + err.Error()
	}
	var count, errs uint64
	for _, f := range list {
		count += f.Counters.Invocations
		for _, n := range f.Counters.Errors {
			errs += n
		}
	}
	rate := float64(count-v.lastCount) / time.Since(v.lastAt).Seconds()
	v.lastCount, v.lastAt = count, time.Now()
	recent, err := v.gateway.invocations(ctx, 200)
	if err != nil {
		return "  gateway: " + err.Error()
	}
	p50, p99 := latency(recent)
	fuel := uint64(0)
	for _, i := range recent {
		fuel += i.Fuel
	}
	return fmt.Sprintf("  gateway: %5.1f events/s  invocation p50 %.2f ms, p99 %.2f ms  %d invocations, %d errors  fuel per call %d",
		rate, ms(p50), ms(p99), count, errs, fuel/max(1, uint64(len(recent))))
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func latency(list []api.Invocation) (p50, p99 time.Duration) {
	if len(list) == 0 {
		return 0, 0
	}
	d := make([]time.Duration, len(list))
	for i := range list {
		d[i] = list[i].Duration
	}
	slices.Sort(d)
	return d[len(d)/2], d[len(d)*99/100]
}
