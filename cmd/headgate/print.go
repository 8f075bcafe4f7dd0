package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/headgate-io/headgate/gateway/admin/api"
)

// table prints rows in aligned columns under a header.
func table(w io.Writer, header string, rows func(row func(...any))) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, strings.ReplaceAll(header, " ", "\t"))
	rows(func(cells ...any) {
		for i, c := range cells {
			if i > 0 {
				fmt.Fprint(t, "\t")
			}
			fmt.Fprint(t, c)
		}
		fmt.Fprintln(t)
	})
	return t.Flush()
}

// printList prints what a list holds: as JSON where that is asked for, none where
// it is empty, or a row of cells for each.
func printList[T any](a *app, list []T, none, header string, cells func(*T) []any) error {
	if a.json {
		return a.printJSON(list)
	}
	if len(list) == 0 {
		fmt.Fprintln(a.out, none)
		return nil
	}
	return table(a.out, header, func(row func(...any)) {
		for i := range list {
			row(cells(&list[i])...)
		}
	})
}

func clock(t time.Time) string { return t.Local().Format("15:04:05.000") }

func day(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05") }

func millis(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.2f ms", float64(d)/1e6)
	case d < time.Second:
		return fmt.Sprintf("%.0f ms", float64(d)/1e6)
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}

func percent(part, whole uint64) string {
	if whole == 0 {
		return "-"
	}
	p := 100 * float64(part) / float64(whole)
	if p >= 10 {
		return strconv.FormatFloat(p, 'f', 0, 64) + " %"
	}
	return strconv.FormatFloat(p, 'g', 2, 64) + " %"
}

func size(n int64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	case n < 1<<30:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}

// shown is text from elsewhere, without what would move the terminal's cursor or
// give it orders.
func shown(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return utf8.RuneError
		}
		return r
	}, text)
}

// payload writes text as it is and other bytes in base64.
func payload(b []byte) string {
	if utf8.Valid(b) && bytes.IndexByte(b, 0) < 0 {
		return string(b)
	}
	return "base64:" + base64.StdEncoding.EncodeToString(b)
}

// invocationLine is the line that dev, invoke and invocations print.
func invocationLine(i api.Invocation) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s@%d  %s  fuel %s", clock(i.Time), i.Function, i.Version, millis(i.Duration), percent(i.Fuel, i.FuelLimit))
	if i.ColdStart {
		b.WriteString("  cold")
	}
	if i.Attempt > 1 {
		fmt.Fprintf(&b, "  attempt %d", i.Attempt)
	}
	for _, did := range [...]struct {
		what string
		to   []string
	}{{"published", i.Published}, {"enqueued", i.Enqueued}, {"invoked", i.Invoked}} {
		if len(did.to) > 0 {
			b.WriteString("  " + did.what + " " + strings.Join(did.to, " "))
		}
	}
	for _, s := range i.Actuated {
		b.WriteString("  switched " + switched(s))
	}
	if i.Outcome != "ok" {
		b.WriteString("  " + failure(i.Outcome, i.Error))
	}
	if i.Next != "" {
		b.WriteString("  (" + i.Next + ")")
	}
	return b.String()
}

// switched is what became of an actuator: valve-1 on for 10m0s.
func switched(s api.Actuated) string {
	granted := s.Granted
	if granted > time.Second {
		granted = granted.Round(time.Second)
	}
	switch s.Value {
	case 0:
		return s.Actuator + " off"
	case 1:
		return fmt.Sprintf("%s on for %v", s.Actuator, granted)
	}
	return fmt.Sprintf("%s to %.4g %% for %v", s.Actuator, 100*s.Value, granted)
}

// failure is the kind of a failure and what was wrong, without saying the kind
// twice: OUT OF FUEL: the call needs more than …
func failure(outcome, text string) string {
	kind := strings.ReplaceAll(outcome, "_", " ")
	return strings.ToUpper(kind) + ": " + strings.TrimPrefix(text, kind+": ")
}

// firstLine is what fits a table of an error.
func firstLine(s string) string {
	line, _, more := strings.Cut(s, "\n")
	if more {
		line += " …"
	}
	return line
}

// counted is "1 command" or "2 commands".
func counted[T int | int64 | uint64](n T, thing string) string {
	if n == 1 {
		return fmt.Sprint(n, " ", thing)
	}
	return fmt.Sprint(n, " ", thing, "s")
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func formatGBSeconds(v float64) string { return strconv.FormatFloat(v, 'g', 4, 64) }
