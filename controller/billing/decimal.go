package billing

import (
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
)

// Decimal is an exact, non-negative decimal number, such as a price. The zero
// value is 0.
type Decimal struct{ text string }

// Bounds of a Decimal: they hold any price, and keep sums small.
const (
	maxWhole    = 12
	maxFraction = 12
)

// ParseDecimal reads a number such as 0.0000166667: digits, and a point between
// them where there is a fraction.
func ParseDecimal(s string) (Decimal, error) {
	whole, fraction, point := strings.Cut(s, ".")
	digits := func(t string) bool { return strings.Trim(t, "0123456789") == "" }
	switch {
	case whole == "" || point && fraction == "" || !digits(whole) || !digits(fraction):
		return Decimal{}, fmt.Errorf("%q is no decimal number: write digits, and a point before a fraction, as in 0.20", s)
	case len(whole) > maxWhole || len(fraction) > maxFraction:
		return Decimal{}, fmt.Errorf("%q: a number has at most %d digits before the point and %d after it", s, maxWhole, maxFraction)
	}
	return Decimal{s}, nil
}

// String is the number as it was written.
func (d Decimal) String() string {
	if d.text == "" {
		return "0"
	}
	return d.text
}

func (d Decimal) rat() *big.Rat {
	r, ok := new(big.Rat).SetString(d.String())
	if !ok {
		panic("billing: a Decimal that is no number: " + d.text)
	}
	return r
}

// MarshalText writes the number.
func (d Decimal) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads a number.
func (d *Decimal) UnmarshalText(text []byte) (err error) {
	*d, err = ParseDecimal(string(text))
	return err
}

// UnmarshalJSON reads a number in quotes: without them it would have gone
// through a binary fraction somewhere.
func (d *Decimal) UnmarshalJSON(raw []byte) error {
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return fmt.Errorf("%s: write the number in quotes, as in \"0.20\"", raw)
	}
	return d.UnmarshalText([]byte(s))
}

// round is r × 10^digits, to the nearest integer, and to the even one of two
// that are as near.
func round(r *big.Rat, digits int) *big.Int {
	scale := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(digits)), nil)
	n := new(big.Int).Mul(r.Num(), scale)
	rest := new(big.Int)
	n.QuoRem(n, r.Denom(), rest) // towards zero
	rest.Abs(rest.Lsh(rest, 1))
	if c := rest.Cmp(r.Denom()); c > 0 || c == 0 && n.Bit(0) == 1 {
		n.Add(n, big.NewInt(int64(r.Sign())))
	}
	return n
}

// decimal writes n ÷ 10^digits.
func decimal(n *big.Int, digits int) string {
	s := new(big.Int).Abs(n).String()
	if digits > 0 {
		if len(s) <= digits {
			s = strings.Repeat("0", digits+1-len(s)) + s
		}
		s = s[:len(s)-digits] + "." + s[len(s)-digits:]
	}
	if n.Sign() < 0 {
		s = "-" + s
	}
	return s
}
