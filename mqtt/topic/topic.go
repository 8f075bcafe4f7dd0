// Package topic holds the rules of MQTT topic names and topic filters: what is
// valid, what matches what, which filter covers which, named captures for
// trigger filters, and an index from filters to values.
//
// It is pure: no I/O, no clock, no goroutines. The rules are those of MQTT 5.0
// section 4.7 and 4.8.2, which 3.1.1 shares.
package topic

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Errors that a caller may branch on. What is returned wraps one of them and
// names the offending text.
var (
	ErrInvalidName    = errors.New("invalid topic name")
	ErrInvalidFilter  = errors.New("invalid topic filter")
	ErrInvalidPattern = errors.New("invalid trigger filter")
)

// Limits bound what is accepted. The zero value of a field is no limit but
// MQTT's own.
type Limits struct {
	// Levels is the largest number of levels ("a/b" has two).
	Levels int
	// Length is the largest length in bytes, 65 535 at most [MQTT-4.7.3-3].
	Length int
}

// DefaultLimits fit any sane hierarchy and keep matching cheap.
var DefaultLimits = Limits{Levels: 32, Length: 1024}

const maxLength = 65535

// CheckName reports why name cannot be published to.
func (l Limits) CheckName(name string) error {
	if err := l.checkText(name, ErrInvalidName); err != nil {
		return err
	}
	if strings.ContainsAny(name, "+#") { // [MQTT-3.3.2-2]
		return fmt.Errorf("%w %s: wildcards + and # belong in filters", ErrInvalidName, quote(name))
	}
	return nil
}

// CheckFilter reports why filter cannot be subscribed to. It takes the filter
// without its $share prefix; see SplitShare.
func (l Limits) CheckFilter(filter string) error {
	if err := l.checkText(filter, ErrInvalidFilter); err != nil {
		return err
	}
	for rest, more := filter, true; more; {
		var level string
		level, rest, more = strings.Cut(rest, "/")
		switch {
		case len(level) <= 1 && level != "#":
		case level == "#" && more: // [MQTT-4.7.1-1]
			return fmt.Errorf("%w %s: # must be the last level", ErrInvalidFilter, quote(filter))
		case level == "#":
		case strings.ContainsAny(level, "+#"): // [MQTT-4.7.1-1], [MQTT-4.7.1-2]
			return fmt.Errorf("%w %s: a wildcard must be a whole level, not %s", ErrInvalidFilter, quote(filter), quote(level))
		}
	}
	return nil
}

func (l Limits) checkText(s string, kind error) error {
	limit := l.Length
	if limit <= 0 || limit > maxLength {
		limit = maxLength
	}
	switch {
	case s == "": // [MQTT-4.7.3-1]
		return fmt.Errorf("%w: it is empty", kind)
	case len(s) > limit:
		return fmt.Errorf("%w: %d bytes long, at most %d are allowed", kind, len(s), limit)
	case !utf8.ValidString(s): // [MQTT-1.5.4-1]
		return fmt.Errorf("%w %s: not UTF-8", kind, quote(s))
	case strings.IndexByte(s, 0) >= 0: // [MQTT-4.7.3-2]
		return fmt.Errorf("%w %s: contains U+0000", kind, quote(s))
	}
	if n := strings.Count(s, "/") + 1; l.Levels > 0 && n > l.Levels {
		return fmt.Errorf("%w %s: %d levels, at most %d are allowed", kind, quote(s), n, l.Levels)
	}
	return nil
}

// quote shortens what it quotes: a name in an error may be 64 KB of slashes.
func quote(s string) string {
	const keep = 60
	if len(s) > keep {
		return fmt.Sprintf("%q...", s[:keep])
	}
	return fmt.Sprintf("%q", s)
}

const sharePrefix = "$share/"

// SplitShare takes a filter as it stands in a SUBSCRIBE apart: for
// "$share/group/filter" it returns group and filter, for others group is
// empty. It checks the group only [MQTT-4.8.2-1], [MQTT-4.8.2-2].
func SplitShare(s string) (group, filter string, err error) {
	if !strings.HasPrefix(s, sharePrefix) {
		return "", s, nil
	}
	group, filter, ok := strings.Cut(s[len(sharePrefix):], "/")
	switch {
	case group == "" || !ok || filter == "":
		return "", "", fmt.Errorf("%w %s: want $share/<group>/<filter>", ErrInvalidFilter, quote(s))
	case strings.ContainsAny(group, "+#"):
		return "", "", fmt.Errorf("%w %s: a share group has no wildcards", ErrInvalidFilter, quote(s))
	}
	return group, filter, nil
}

// Match reports whether the valid filter matches the valid name.
func Match(filter, name string) bool {
	if reserved(name) && wild(filter) { // [MQTT-4.7.2-1]
		return false
	}
	for {
		f, frest, fmore := strings.Cut(filter, "/")
		if f == "#" {
			return true
		}
		n, nrest, nmore := strings.Cut(name, "/")
		if f != "+" && f != n {
			return false
		}
		switch {
		case !fmore && !nmore:
			return true
		case !nmore: // "a/#" also matches "a" itself
			return frest == "#"
		case !fmore:
			return false
		}
		filter, name = frest, nrest
	}
}

// Covers reports whether every name that specific matches is also matched by
// general. Both are valid filters, without $share prefix.
func Covers(general, specific string) bool {
	// "#" and "+/x" do not reach into $SYS. Where specific starts with a
	// wildcard itself, it does not either.
	if reserved(specific) && wild(general) {
		return false
	}
	for {
		g, grest, gmore := strings.Cut(general, "/")
		if g == "#" {
			return true
		}
		s, srest, smore := strings.Cut(specific, "/")
		if s == "#" || (g != "+" && g != s) {
			return false
		}
		switch {
		case !gmore && !smore:
			return true
		case !smore:
			return grest == "#"
		case !gmore:
			return false
		}
		general, specific = grest, srest
	}
}

func reserved(name string) bool { return len(name) > 0 && name[0] == '$' }

func wild(filter string) bool { return len(filter) > 0 && (filter[0] == '+' || filter[0] == '#') }

// Substitute replaces {client} and {user} in an ACL filter. It reports false
// when a value that is needed cannot stand in a filter without widening it: an
// empty one, one with a level separator, a wildcard or U+0000, or one that
// would open a reserved tree ($SYS). Such an entry allows nothing.
func Substitute(filter, client, user string) (string, bool) {
	if strings.IndexByte(filter, '{') < 0 {
		return filter, true
	}
	for _, v := range [...]struct{ name, value string }{{"{client}", client}, {"{user}", user}} {
		at := strings.Index(filter, v.name)
		if at < 0 {
			continue
		}
		if v.value == "" || strings.ContainsAny(v.value, "/+#{}\x00") || (at == 0 && reserved(v.value)) {
			return "", false
		}
		filter = strings.ReplaceAll(filter, v.name, v.value)
	}
	return filter, true
}
