package actuate

import "time"

// window sums how long an actuator was on in the last 24 hours, by hour of the
// steady scale, which restarts and corrections of the clock leave alone.
type window struct {
	hours [25]struct {
		hour int64
		used time.Duration
	}
}

func hourOf(steady time.Time) int64 { return steady.Unix() / 3600 }

// add counts d as used in the hour of at.
func (w *window) add(at time.Time, d time.Duration) {
	hour := hourOf(at)
	h := &w.hours[hour%int64(len(w.hours))]
	if h.hour != hour {
		h.hour, h.used = hour, 0
	}
	h.used += d
}

// used is the sum of the last 24 hours. The oldest hour counts whole: never too
// little.
func (w *window) used(now time.Time) (sum time.Duration) {
	first := hourOf(now) - 24
	for _, h := range w.hours {
		if h.hour >= first {
			sum += h.used
		}
	}
	return sum
}

// record is the window as a Record holds it: hours and milliseconds.
func (w *window) record(now time.Time) (out [][2]int64) {
	first := hourOf(now) - 24
	for _, h := range w.hours {
		if h.hour >= first && h.used > 0 {
			out = append(out, [2]int64{h.hour, h.used.Milliseconds()})
		}
	}
	return out
}

func (w *window) load(from [][2]int64) {
	for _, f := range from {
		if f[0] < 0 {
			continue
		}
		h := &w.hours[f[0]%int64(len(w.hours))]
		if f[0] > h.hour {
			h.hour, h.used = f[0], time.Duration(f[1])*time.Millisecond
		}
	}
}

// sourceSeq is the newest sequence number of one source of commands.
type sourceSeq struct {
	Source string `json:"s"`
	Seq    uint64 `json:"n"`
}

// maxSources bounds the sources that are remembered of one actuator; the one
// that was heard longest ago goes first.
const maxSources = 8

// sequence remembers the newest number of each source.
type sequence []sourceSeq

// newest is a source's newest number, 0 where there is none.
func (s sequence) newest(source string) uint64 {
	for _, e := range s {
		if e.Source == source {
			return e.Seq
		}
	}
	return 0
}

// note returns s with a source's new number at its end.
func (s sequence) note(source string, seq uint64) sequence {
	out := make(sequence, 0, maxSources)
	for _, e := range s {
		if e.Source != source {
			out = append(out, e)
		}
	}
	if len(out) == maxSources {
		out = out[1:]
	}
	return append(out, sourceSeq{source, seq})
}
