// Package billing turns metered usage into money: price plans, estimates and
// invoices.
//
// Quantities are integers in the units of package usage, and sums of them have
// no bound. Prices are exact decimals. The only rounding is at the end of each
// line of an invoice, to the currency's smallest unit, half to even. As with
// the large clouds, a request is an attempt that was started, whether it ended
// well or not; its duration counts in whole milliseconds, rounded up when it
// was metered; what is free, and where a cheaper tier begins, counts by calendar
// month (UTC) and tenant.
package billing

import (
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sync/usage"
)

// Item is something that has a price.
type Item string

// The items.
const (
	Requests     Item = "requests"
	GBSeconds    Item = "gb_seconds"
	Fuel         Item = "fuel"
	BytesIn      Item = "bytes_in"
	BytesOut     Item = "bytes_out"
	BytesWritten Item = "bytes_written"
)

// items are all of them, in the order of an invoice.
var items = []Item{Requests, GBSeconds, Fuel, BytesIn, BytesOut, BytesWritten}

// basis is how many of the units that are metered make one that is priced: 10¹²
// byte-milliseconds are a (decimal) gigabyte-second.
func (i Item) basis() *big.Int {
	if i == GBSeconds {
		return big.NewInt(1_000_000_000_000)
	}
	return big.NewInt(1)
}

// Unit is what the item is counted in, for people.
func (i Item) Unit() string {
	switch i {
	case Requests:
		return "requests"
	case GBSeconds:
		return "GB-s"
	case Fuel:
		return "fuel units"
	default:
		return "bytes"
	}
}

// Plan is what a tenant pays. Items without a rate cost nothing.
type Plan struct {
	Name string `json:"name" maxLength:"64" doc:"What people call the plan" example:"standard"`
	// Currency is an ISO 4217 code.
	Currency string `json:"currency" pattern:"^[A-Z]{3}$" doc:"ISO 4217 code; it decides what is rounded to" example:"EUR"`
	// Rates are the prices, by item.
	Rates map[Item]Rate `json:"rates" doc:"By item: requests, gb_seconds, fuel, bytes_in, bytes_out, bytes_written"`
}

// Rate is the price of an item.
type Rate struct {
	// Per is how many units a price is for: 1000000 for prices per million; 0
	// is 1.
	Per uint64 `json:"per,omitempty" doc:"How many units a price is for, 1 when left out" example:"1000000"`
	// Free are the units of a calendar month that cost nothing.
	Free uint64 `json:"free,omitempty" doc:"Units of a calendar month that cost nothing" example:"1000000"`
	// Price is that of all other units, or where there are tiers, of those
	// beyond the last.
	Price Decimal `json:"price" doc:"Decimal number in quotes, in the plan's currency" example:"0.20"`
	// Tiers are cheaper or dearer first units of a month, each up to its bound.
	Tiers []Tier `json:"tiers,omitempty" maxItems:"16" doc:"Other prices for the first units of a month"`
}

// Tier is the price of a month's units up to a bound, from the bound of the
// tier before. Free units count.
type Tier struct {
	UpTo  uint64  `json:"up_to" doc:"Units of a calendar month, free ones among them"`
	Price Decimal `json:"price"`
}

// digits are those after the point of a currency: ISO 4217, where it is not two.
var digits = map[string]int{
	"BHD": 3, "BIF": 0, "CLF": 4, "CLP": 0, "DJF": 0, "GNF": 0, "IQD": 3, "ISK": 0, "JOD": 3, "JPY": 0, "KMF": 0, "KRW": 0, "KWD": 3, "LYD": 3,
	"OMR": 3, "PYG": 0, "RWF": 0, "TND": 3, "UGX": 0, "UYI": 0, "UYW": 4, "VND": 0, "VUV": 0, "XAF": 0, "XOF": 0, "XPF": 0,
}

// Digits are those after the point of the plan's currency.
func (p *Plan) Digits() int {
	if n, ok := digits[p.Currency]; ok {
		return n
	}
	return 2
}

// Validate joins every fault, each with its place.
func (p *Plan) Validate() error {
	var faults []error
	at := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if p.Name == "" {
		at("name: give the plan one")
	}
	if len(p.Currency) != 3 || slices.ContainsFunc([]byte(p.Currency), func(c byte) bool { return c < 'A' || c > 'Z' }) {
		at("currency: %q is no code of ISO 4217, such as EUR", p.Currency)
	}
	for _, item := range slices.Sorted(maps.Keys(p.Rates)) {
		if !slices.Contains(items, item) {
			at("rates.%s: there is no such item; the items are %v", item, items)
		}
		r := p.Rates[item]
		for i, t := range r.Tiers {
			if i > 0 && t.UpTo <= r.Tiers[i-1].UpTo || t.UpTo == 0 {
				at("rates.%s.tiers[%d].up_to: a tier ends above the one before it", item, i)
			}
		}
	}
	return errors.Join(faults...)
}

// Quantities are sums of usage, in the units that are metered.
type Quantities map[Item]*big.Int

// Add adds a rollup's or a day's totals.
func (q Quantities) Add(t *usage.Totals) {
	// What was refused was never started.
	q.add(Requests, t.Requests()-t.Outcomes[function.Refused])
	q.add(GBSeconds, t.MemoryByteMillis)
	q.add(Fuel, t.Fuel)
	q.add(BytesIn, t.BytesIn)
	q.add(BytesOut, t.BytesOut)
	q.add(BytesWritten, t.BytesWritten)
}

func (q Quantities) add(i Item, n uint64) {
	if q[i] == nil {
		q[i] = new(big.Int)
	}
	q[i].Add(q[i], new(big.Int).SetUint64(n))
}

// of is a quantity, 0 where there is none.
func (q Quantities) of(i Item) *big.Int {
	if n := q[i]; n != nil {
		return n
	}
	return new(big.Int)
}

// cost is the exact price of n metered units of a month. It never falls as n
// grows.
func (r *Rate) cost(i Item, n *big.Int) *big.Rat {
	total := new(big.Rat)
	for tier, part := range r.parts(i, n) {
		cost := new(big.Rat).SetInt(part)
		total.Add(total, cost.Mul(cost, r.price(tier).rat()))
	}
	return total.Quo(total, new(big.Rat).SetInt(units(i, max(r.Per, 1))))
}

// units are priced units as metered ones.
func units(i Item, u uint64) *big.Int { return new(big.Int).Mul(new(big.Int).SetUint64(u), i.basis()) }

// price is that of a tier; beyond the last there is one more.
func (r *Rate) price(tier int) Decimal {
	if tier < len(r.Tiers) {
		return r.Tiers[tier].Price
	}
	return r.Price
}

// parts are how many of n metered units of a month each tier charges, and last
// those beyond the tiers; free ones are in none.
func (r *Rate) parts(i Item, n *big.Int) []*big.Int {
	out := make([]*big.Int, len(r.Tiers)+1)
	from := units(i, r.Free)
	for tier := range out {
		to := n
		if tier < len(r.Tiers) {
			if end := units(i, r.Tiers[tier].UpTo); end.Cmp(n) < 0 {
				to = end
			}
		}
		out[tier] = new(big.Int)
		if to.Cmp(from) > 0 {
			out[tier].Sub(to, from)
			from = to
		}
	}
	return out
}
