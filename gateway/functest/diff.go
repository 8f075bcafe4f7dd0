package functest

import (
	"encoding/json"
	"strings"
)

// unchanged is how many lines that are the same a diff shows around those that
// are not.
const unchanged = 3

// largestDiff bounds the work of comparing two lists line by line; longer
// ones are shown one after the other.
const largestDiff = 1 << 22

// sides are two lists to compare: what was expected and what was done.
type sides struct {
	wants, gots int
	same        func(want, got int) bool
	want, got   func(int) string // a line of text
}

// diff is a line for each entry: "- " one that was expected and is missing,
// "+ " one that was not expected, "  " one that is as it must be. It is empty
// when all are.
func (s sides) diff() []string {
	pairs := s.align()
	var lines []string
	differ := false
	i, j := 0, 0
	until := func(wants, gots int) {
		for ; i < wants; i++ {
			lines, differ = append(lines, "- "+s.want(i)), true
		}
		for ; j < gots; j++ {
			lines, differ = append(lines, "+ "+s.got(j)), true
		}
	}
	for _, p := range pairs {
		until(p[0], p[1])
		lines = append(lines, "  "+s.got(j))
		i, j = i+1, j+1
	}
	until(s.wants, s.gots)
	if !differ {
		return nil
	}
	return shortened(lines)
}

// align is the longest list of pairs that are the same, in order.
func (s sides) align() (pairs [][2]int) {
	from := 0
	for from < min(s.wants, s.gots) && s.same(from, from) {
		pairs = append(pairs, [2]int{from, from})
		from++
	}
	tail := 0
	for tail < min(s.wants, s.gots)-from && s.same(s.wants-1-tail, s.gots-1-tail) {
		tail++
	}
	n, m := s.wants-from-tail, s.gots-from-tail
	if n*m <= largestDiff {
		pairs = append(pairs, s.longest(from, n, m)...)
	}
	for ; tail > 0; tail-- {
		pairs = append(pairs, [2]int{s.wants - tail, s.gots - tail})
	}
	return pairs
}

// longest is the longest common subsequence of n and m entries from an index on.
func (s sides) longest(from, n, m int) (pairs [][2]int) {
	length := make([][]int, n+1)
	for i := range length {
		length[i] = make([]int, m+1)
	}
	for i := n - 1; i >= 0; i-- {
		for j := m - 1; j >= 0; j-- {
			if s.same(from+i, from+j) {
				length[i][j] = 1 + length[i+1][j+1]
			} else {
				length[i][j] = max(length[i+1][j], length[i][j+1])
			}
		}
	}
	for i, j := 0, 0; i < n && j < m; {
		switch {
		case s.same(from+i, from+j):
			pairs = append(pairs, [2]int{from + i, from + j})
			i, j = i+1, j+1
		case length[i+1][j] >= length[i][j+1]:
			i++
		default:
			j++
		}
	}
	return pairs
}

// shortened leaves out what is far from any difference.
func shortened(lines []string) (out []string) {
	near := func(i int) bool {
		for _, l := range lines[max(0, i-unchanged):min(len(lines), i+unchanged+1)] {
			if l[0] != ' ' {
				return true
			}
		}
		return false
	}
	left := false
	for i, l := range lines {
		switch {
		case near(i):
			out, left = append(out, l), false
		case !left:
			out, left = append(out, "  …"), true
		}
	}
	return out
}

// compare reports a difference between two values: both, or where they are
// long the lines of their JSON that differ.
func (r *Report) compare(what string, want, got any) {
	if want, got = normal(want), normal(got); same(want, got) {
		return
	}
	if w, g := jsonText(want), jsonText(got); len(w)+len(g) < 80 {
		r.fault("%s: want %s, got %s", what, w, g)
		return
	}
	w, g := jsonLines(want), jsonLines(got)
	r.differ(what, sides{len(w), len(g), func(i, j int) bool { return w[i] == g[j] }, func(i int) string { return w[i] }, func(j int) string { return g[j] }})
}

// differ reports how two lists differ, if they do.
func (r *Report) differ(what string, s sides) {
	if lines := s.diff(); lines != nil {
		r.fault("%s: - is expected, + is what it did\n%s", what, strings.Join(lines, "\n"))
	}
}

// jsonLines is v as indented JSON. Commas at the ends are left out, so that
// the last of a list does not differ from the same one before others.
func jsonLines(v any) []string {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return []string{err.Error()}
	}
	lines := strings.Split(string(b), "\n")
	for i, l := range lines {
		lines[i] = strings.TrimSuffix(l, ",")
	}
	return lines
}
