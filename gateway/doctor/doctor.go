// Package doctor looks at a gateway and says what is wrong with it and what to
// do.
package doctor

import (
	"context"
	"fmt"
	"time"
)

// Status is how a check came out.
type Status string

// The results of a check.
const (
	OK   Status = "ok"
	Warn Status = "warn" // works, and will not for ever
	Fail Status = "fail" // does not do what it should
)

// Check is one result.
type Check struct {
	Name   string
	Status Status
	// Detail is what was found, Advice what to do about it.
	Detail, Advice string
}

// Probe makes one check.
type Probe struct {
	Name string
	Run  func(ctx context.Context) Check
}

// perProbe bounds one probe.
const perProbe = time.Minute

// Examine runs the probes one after the other.
func Examine(ctx context.Context, probes []Probe) []Check {
	out := make([]Check, 0, len(probes))
	for _, p := range probes {
		c := examine(ctx, p)
		c.Name = p.Name
		out = append(out, c)
	}
	return out
}

func examine(ctx context.Context, p Probe) Check {
	ctx, cancel := context.WithTimeout(ctx, perProbe)
	defer cancel()
	return p.Run(ctx)
}

func ok(format string, args ...any) Check {
	return Check{Status: OK, Detail: fmt.Sprintf(format, args...)}
}

func warn(advice, format string, args ...any) Check {
	return Check{Status: Warn, Advice: advice, Detail: fmt.Sprintf(format, args...)}
}

func fail(advice, format string, args ...any) Check {
	return Check{Status: Fail, Advice: advice, Detail: fmt.Sprintf(format, args...)}
}

// bytes prints a size as people read it.
func bytes(n int64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%d GiB", n>>30)
	case n >= 10<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 10<<10:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d B", n)
}
