package host

import (
	"bytes"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/headgate-io/headgate/function"
)

const (
	// maxLineBytes bounds one log line.
	maxLineBytes = 4096
	// lineOverhead is what a line counts for besides its text, so that empty
	// lines are bounded too.
	lineOverhead = 16
)

// logBudget counts down what an invocation may log.
type logBudget struct {
	left    int
	cut     int // lines dropped
	dropped int // their bytes
}

// Logs are the lines that the guest logged, its standard output and error
// included. The slice is valid until the next Reset.
func (c *Calls) Logs() []function.LogLine { return c.logs }

// Log adds one line. Past the limit lines are dropped and counted; Finish
// adds a line that says so.
func (c *Calls) Log(level function.Level, text string) {
	if c.log.cut > 0 || len(text)+lineOverhead > c.log.left {
		c.log.cut++
		c.log.dropped += len(text)
		return
	}
	text = c.Redact(text)
	c.log.left -= len(text) + lineOverhead
	c.logs = append(c.logs, function.LogLine{Time: c.wallClock(), Level: level, Text: text})
}

// LogBytes is Log for what the guest passed: it is cut to a line's length and
// made valid UTF-8. Nothing is copied once the budget is spent.
func (c *Calls) LogBytes(level function.Level, text []byte) {
	if c.log.cut > 0 || min(len(text), maxLineBytes)+lineOverhead > c.log.left {
		c.log.cut++
		c.log.dropped += len(text)
		return
	}
	c.Log(level, cut(c.redactBytes(text), maxLineBytes))
}

func (c *Calls) wallClock() time.Time {
	if c.in.Now != nil {
		return c.in.Now()
	}
	return time.Now()
}

// Finish flushes unfinished lines and accounts for dropped ones. The sandbox
// calls it when the guest is done.
func (c *Calls) Finish() {
	for fd := range c.streams {
		c.flushLine(fd)
	}
	if c.log.cut > 0 {
		c.logs = append(c.logs, function.LogLine{Time: c.wallClock(), Level: function.Warn, Text: fmt.Sprintf(
			"%d further lines (%d bytes) were dropped: one invocation may log %d bytes (limits.log_bytes)",
			c.log.cut, c.log.dropped, int64(c.grant.limits.LogBytes))})
		c.log = logBudget{}
	}
}

// lineBuffer collects what a guest writes to a stream until a line is whole.
type lineBuffer struct{ pending []byte }

func (l *lineBuffer) reset() { l.pending = l.pending[:0] }

// Standard streams of Write.
const (
	Stdout = 0
	Stderr = 1
)

// Write turns what the guest writes to a standard stream into log lines.
func (c *Calls) Write(stream int, p []byte) {
	l := &c.streams[stream]
	for len(p) > 0 {
		line, rest, whole := bytes.Cut(p, []byte{'\n'})
		if room := maxLineBytes - len(l.pending); len(line) > room {
			l.pending = append(l.pending, line[:room]...)
			p = p[room:]
			c.flushLine(stream)
			continue
		}
		l.pending = append(l.pending, line...)
		if whole {
			c.flushLine(stream)
		}
		p = rest
	}
}

func (c *Calls) flushLine(stream int) {
	l := &c.streams[stream]
	if len(l.pending) == 0 {
		return
	}
	level := function.Info
	if stream == Stderr {
		level = function.Warn
	}
	c.LogBytes(level, l.pending)
	l.reset()
}

// cut returns text as valid UTF-8 of at most n bytes.
func cut(text []byte, n int) string {
	if len(text) > n {
		text = text[:n]
		for len(text) > 0 && !utf8.RuneStart(text[len(text)-1]) {
			text = text[:len(text)-1]
		}
		if len(text) > 0 && text[len(text)-1] >= utf8.RuneSelf {
			text = text[:len(text)-1]
		}
	}
	if utf8.Valid(text) {
		return string(text)
	}
	return strings.ToValidUTF8(string(text), "\uFFFD")
}
