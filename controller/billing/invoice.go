package billing

import (
	"math/big"
	"time"
)

// Month is a calendar month, UTC.
type Month struct {
	Year  int
	Month time.Month
}

// MonthOf is the month that t lies in.
func MonthOf(t time.Time) Month { t = t.UTC(); return Month{t.Year(), t.Month()} }

// ParseMonth reads 2026-07.
func ParseMonth(s string) (Month, error) {
	t, err := time.Parse("2006-01", s)
	return MonthOf(t), err
}

// String is 2026-07.
func (m Month) String() string { return m.Start().Format("2006-01") }

// Start is the first instant of the month.
func (m Month) Start() time.Time { return time.Date(m.Year, m.Month, 1, 0, 0, 0, 0, time.UTC) }

// End is the first instant after the month.
func (m Month) End() time.Time { return m.Start().AddDate(0, 1, 0) }

// MarshalText writes 2026-07.
func (m Month) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads 2026-07.
func (m *Month) UnmarshalText(text []byte) (err error) {
	*m, err = ParseMonth(string(text))
	return err
}

// Line is what one item of one month costs.
type Line struct {
	Month Month  `json:"month" doc:"The month in which it was used; one before the invoice's is usage that came late"`
	Item  Item   `json:"item"`
	Unit  string `json:"unit" doc:"What the quantity is counted in"`
	// Quantity is in metered units, exactly; Metered says which.
	Quantity string `json:"quantity" doc:"In units, exactly, as a decimal number"`
	// Free is how much of it cost nothing.
	Free string `json:"free" doc:"Units of the quantity that cost nothing"`
	// Charges are what the rest was charged at, in the order of the tiers: those
	// that it reached. Without any it is the price of the next unit. An item
	// without a rate has none, nor have invoices of before there were charges.
	Charges []Charge `json:"charges,omitempty" doc:"What the rest was charged at, one for each tier that it reached"`
	Amount  string   `json:"amount" doc:"In the plan's currency, rounded half to even"`

	minor *big.Int
}

// Charge is what some of a line's quantity was charged at.
type Charge struct {
	Quantity string  `json:"quantity" doc:"Units charged at this price, exactly"`
	Price    Decimal `json:"price" doc:"In the plan's currency"`
	Per      uint64  `json:"per" doc:"How many units the price is for"`
}

// Bill is what a month's usage costs.
type Bill struct {
	Month    Month  `json:"month"`
	Currency string `json:"currency"`
	Plan     string `json:"plan"`
	Lines    []Line `json:"lines"`
	Total    string `json:"total" doc:"The sum of the lines"`
}

// Billed is what an earlier invoice charged a month for, or nothing.
type Billed struct {
	Month Month
	// Was is what was known of the month then, Is what is known now.
	Was, Is Quantities
	// Plan is the one that the month was invoiced by.
	Plan *Plan
}

// Make makes the bill of a month by a plan, and of what came late of months
// that were billed before: the difference that it would have made then. An
// amount below zero is a credit.
func Make(p *Plan, m Month, q Quantities, late []Billed) Bill {
	b := Bill{Month: m, Currency: p.Currency, Plan: p.Name, Lines: []Line{}}
	total := new(big.Int)
	for _, i := range items {
		r, priced := p.Rates[i]
		if !priced && q.of(i).Sign() == 0 {
			continue
		}
		l := line(m, i, &r, p.Digits(), new(big.Int), q.of(i))
		if !priced {
			l.Charges = nil
		}
		b.add(total, p, l)
	}
	for _, l := range late {
		if l.Plan.Currency != p.Currency {
			continue // it stays open until there is an invoice in that currency
		}
		for _, i := range items {
			if r, ok := l.Plan.Rates[i]; ok && l.Is.of(i).Cmp(l.Was.of(i)) != 0 {
				b.add(total, p, line(l.Month, i, &r, p.Digits(), l.Was.of(i), l.Is.of(i)))
			}
		}
	}
	b.Total = decimal(total, p.Digits())
	return b
}

func (b *Bill) add(total *big.Int, p *Plan, l Line) {
	total.Add(total, l.minor)
	b.Lines = append(b.Lines, l)
}

// line is the step from one quantity to another. Both ends are rounded, and not
// the difference: a month that comes in parts costs what it costs in one.
func line(m Month, i Item, r *Rate, digits int, was, is *big.Int) Line {
	minor := new(big.Int).Sub(round(r.cost(i, is), digits), round(r.cost(i, was), digits))
	free := new(big.Int).Sub(r.freeOf(i, is), r.freeOf(i, was))
	return Line{
		Month: m, Item: i, Unit: i.Unit(), Quantity: quantity(i, new(big.Int).Sub(is, was)), Free: quantity(i, free),
		Charges: r.charges(i, was, is), Amount: decimal(minor, digits), minor: minor,
	}
}

// charges are the prices of the step from one quantity to another.
func (r *Rate) charges(i Item, was, is *big.Int) (out []Charge) {
	before, after := r.parts(i, was), r.parts(i, is)
	per := max(r.Per, 1)
	for tier := range after {
		if n := after[tier].Sub(after[tier], before[tier]); n.Sign() != 0 {
			out = append(out, Charge{quantity(i, n), r.price(tier), per})
		}
	}
	if len(out) > 0 {
		return out
	}
	// All of it was free: the next unit that is not lies in this tier.
	next := 0
	for next < len(r.Tiers) && units(i, r.Tiers[next].UpTo).Cmp(units(i, r.Free)) <= 0 {
		next++
	}
	return []Charge{{"0", r.price(next), per}}
}

// freeOf is how much of n units cost nothing.
func (r *Rate) freeOf(i Item, n *big.Int) *big.Int {
	free := new(big.Int).Mul(new(big.Int).SetUint64(r.Free), i.basis())
	if free.Cmp(n) > 0 {
		return n
	}
	return free
}

// quantity writes metered units in those of the item, exactly.
func quantity(i Item, n *big.Int) string {
	if i == GBSeconds {
		return decimal(n, 12)
	}
	return n.String()
}
