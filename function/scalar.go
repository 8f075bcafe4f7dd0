package function

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// ByteSize is a number of bytes, written "4MiB", "64KiB" or "1048576".
type ByteSize int64

// Count is a number, written "50M", "2k" or "1000".
type Count uint64

// Duration is a time.Duration, written "200ms", "20m" or "1h30m".
type Duration time.Duration

// Rate is a number of starts per second, written "100/s", "6/m" or "10/h".
// Zero means unlimited.
type Rate float64

var byteUnits = []unit{
	{"KiB", 1 << 10},
	{"MiB", 1 << 20},
	{"GiB", 1 << 30},
	{"kB", 1e3},
	{"KB", 1e3},
	{"MB", 1e6},
	{"GB", 1e9},
	{"B", 1},
}

var countUnits = []unit{{"k", 1e3}, {"M", 1e6}, {"G", 1e9}}

type unit struct {
	suffix string
	factor float64
}

func parseScaled(s string, units []unit) (float64, error) {
	number, factor := strings.TrimSpace(s), 1.0
	for _, u := range units {
		if rest, ok := strings.CutSuffix(number, u.suffix); ok {
			number, factor = strings.TrimSpace(rest), u.factor
			break
		}
	}
	f, err := strconv.ParseFloat(number, 64)
	if err != nil || f < 0 || math.IsInf(f, 0) || math.IsNaN(f) || f*factor > math.MaxInt64/2 {
		return 0, fmt.Errorf("%q is not a number", s)
	}
	return f * factor, nil
}

// UnmarshalText parses a size.
func (b *ByteSize) UnmarshalText(text []byte) error {
	f, err := parseScaled(string(text), byteUnits)
	if err != nil {
		return fmt.Errorf("%q is not a size: write it as 4MiB, 64KiB or 1048576", text)
	}
	*b = ByteSize(f)
	return nil
}

// MarshalText writes the size with the largest unit that divides it.
func (b ByteSize) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// String writes the size with the largest binary unit that divides it.
func (b ByteSize) String() string {
	for _, u := range []unit{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if f := ByteSize(u.factor); b != 0 && b%f == 0 {
			return strconv.FormatInt(int64(b/f), 10) + u.suffix
		}
	}
	return strconv.FormatInt(int64(b), 10)
}

// UnmarshalText parses a count.
func (c *Count) UnmarshalText(text []byte) error {
	f, err := parseScaled(string(text), countUnits)
	if err != nil {
		return fmt.Errorf("%q is not a count: write it as 50M, 2k or 1000", text)
	}
	*c = Count(f)
	return nil
}

// MarshalText writes the count with the largest unit that divides it.
func (c Count) MarshalText() ([]byte, error) {
	for _, u := range []unit{{"G", 1e9}, {"M", 1e6}, {"k", 1e3}} {
		if f := Count(u.factor); c != 0 && c%f == 0 {
			return []byte(strconv.FormatUint(uint64(c/f), 10) + u.suffix), nil
		}
	}
	return []byte(strconv.FormatUint(uint64(c), 10)), nil
}

// UnmarshalText parses a duration.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil || v < 0 {
		return fmt.Errorf("%q is not a duration: write it as 200ms, 20m or 1h30m", text)
	}
	*d = Duration(v)
	return nil
}

// MarshalText writes the duration as time.Duration does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// String writes the duration as time.Duration does.
func (d Duration) String() string { return time.Duration(d).String() }

var rateUnits = map[string]float64{"s": 1, "m": 60, "h": 3600}

// UnmarshalText parses a rate.
func (r *Rate) UnmarshalText(text []byte) error {
	number, per, ok := strings.Cut(string(text), "/")
	f, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	seconds := rateUnits[strings.TrimSpace(per)]
	if !ok || err != nil || seconds == 0 || f <= 0 || math.IsInf(f, 0) || math.IsNaN(f) {
		return fmt.Errorf("%q is not a rate: write it as 100/s, 6/m or 10/h", text)
	}
	*r = Rate(f / seconds)
	return nil
}

// MarshalText writes the rate per second, minute or hour, whichever is whole.
func (r Rate) MarshalText() ([]byte, error) {
	f, per := float64(r), "s"
	for _, u := range []struct {
		per     string
		seconds float64
	}{{"s", 1}, {"m", 60}, {"h", 3600}} {
		if v := float64(r) * u.seconds; math.Abs(v-math.Round(v)) < 1e-9 {
			f, per = math.Round(v), u.per
			break
		}
	}
	return []byte(strconv.FormatFloat(f, 'g', -1, 64) + "/" + per), nil
}

// Std is the duration as the standard library has it.
func (d Duration) Std() time.Duration { return time.Duration(d) }
