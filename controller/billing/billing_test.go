package billing

import (
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"reflect"
	"strings"
	"testing"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sync/usage"
	"pgregory.net/rapid"
)

// standard has the prices that AWS Lambda publishes for x86 in us-east-1.
const standard = `{"name": "standard", "currency": "USD", "rates": {
	"requests": {"per": 1000000, "free": 1000000, "price": "0.20"},
	"gb_seconds": {"free": 400000, "price": "0.0000166667"}
}}`

func plan(t testing.TB, text string) *Plan {
	t.Helper()
	p := new(Plan)
	if err := json.Unmarshal([]byte(text), p); err != nil {
		t.Fatal(err)
	}
	if err := p.Validate(); err != nil {
		t.Fatal(err)
	}
	return p
}

func number(t testing.TB, s string) *big.Int {
	t.Helper()
	n, ok := new(big.Int).SetString(s, 10)
	if !ok {
		t.Fatal(s)
	}
	return n
}

func amounts(b Bill) []string {
	var out []string
	for _, l := range b.Lines {
		out = append(out, l.Month.String()+" "+string(l.Item)+" "+l.Quantity+" free "+l.Free+" = "+l.Amount)
	}
	return append(out, b.Total)
}

var july = Month{2026, 7}

// A line says at which prices it was charged: one of each tier that it reached,
// and of late usage the difference alone.
func TestCharges(t *testing.T) {
	p := plan(t, `{"name": "tiers", "currency": "EUR", "rates": {"requests": {"free": 10, "price": "1", "per": 10, "tiers": [{"up_to": 20, "price": "3"}, {"up_to": 50, "price": "2"}]}}}`)
	charged := func(l Line) (out string) {
		for _, c := range l.Charges {
			out += fmt.Sprintf("%s at %s per %d; ", c.Quantity, c.Price, c.Per)
		}
		return out
	}
	for n, want := range map[int64]string{
		5: "0 at 3 per 10; ", 15: "5 at 3 per 10; ", 60: "10 at 3 per 10; 30 at 2 per 10; 10 at 1 per 10; ",
	} {
		if got := charged(Make(p, july, Quantities{Requests: big.NewInt(n)}, nil).Lines[0]); got != want {
			t.Errorf("%d requests: %s, want %s", n, got, want)
		}
	}
	late := []Billed{{Month: Month{2026, 6}, Plan: p, Was: Quantities{Requests: big.NewInt(15)}, Is: Quantities{Requests: big.NewInt(30)}}}
	b := Make(p, july, Quantities{}, late)
	if got := charged(b.Lines[len(b.Lines)-1]); got != "5 at 3 per 10; 10 at 2 per 10; " {
		t.Errorf("late: %s", got)
	}
}

// TestPublishedExample: three million requests of one second with half a
// gigabyte, in a month, with what is free of both.
func TestPublishedExample(t *testing.T) {
	q := Quantities{Requests: big.NewInt(3_000_000), GBSeconds: number(t, "1500000"+strings.Repeat("0", 12))}
	want := []string{
		"2026-07 requests 3000000 free 1000000 = 0.40",
		"2026-07 gb_seconds 1500000.000000000000 free 400000.000000000000 = 18.33",
		"18.73",
	}
	if got := amounts(Make(plan(t, standard), july, q, nil)); !reflect.DeepEqual(got, want) {
		t.Errorf("%q", got)
	}
}

func TestTiersAndCurrencies(t *testing.T) {
	tiered := `{"name": "tiered", "currency": "%", "rates": {"fuel": {"per": 1000, "free": 500, "price": "1", "tiers": [{"up_to": 1000, "price": "5"}, {"up_to": 3000, "price": "2"}]}}}`
	for _, c := range []struct {
		currency string
		fuel     int64
		want     string
	}{
		{"EUR", 0, "0.00"},
		{"EUR", 500, "0.00"},
		{"EUR", 501, "0.00"},
		{"EUR", 503, "0.02"},
		{"EUR", 1000, "2.50"},
		{"EUR", 2000, "4.50"},
		{"EUR", 3000, "6.50"},
		{"EUR", 4000, "7.50"},
		// Half goes to even: 2.5 and 4.5, then 6.5 and 7.5.
		{"JPY", 1000, "2"},
		{"JPY", 2000, "4"},
		{"JPY", 3000, "6"},
		{"JPY", 4000, "8"},
		{"TND", 501, "0.005"},
	} {
		b := Make(plan(t, strings.Replace(tiered, "%", c.currency, 1)), july, Quantities{Fuel: big.NewInt(c.fuel)}, nil)
		if b.Total != c.want || b.Lines[0].Amount != c.want {
			t.Errorf("%d in %s: %s, want %s", c.fuel, c.currency, b.Total, c.want)
		}
	}
}

// TestParts: usage that comes in parts, over several invoices, costs to the
// last unit what it costs in one.
func TestParts(t *testing.T) {
	p := plan(t, `{"name": "p", "currency": "EUR", "rates": {
		"requests": {"per": 7, "free": 3, "price": "0.13", "tiers": [{"up_to": 50, "price": "0.0451"}]},
		"gb_seconds": {"price": "0.0000166667"}, "bytes_out": {"per": 3, "price": "0.01"}}}`)
	rapid.Check(t, func(t *rapid.T) {
		was, total := Quantities{}, new(big.Int)
		for range rapid.IntRange(1, 6).Draw(t, "parts") {
			is := Quantities{}
			for _, i := range items {
				is[i] = new(big.Int).Add(was.of(i), new(big.Int).SetUint64(rapid.Uint64().Draw(t, string(i))))
			}
			b := Make(p, Month{2026, 8}, Quantities{}, []Billed{{Month: july, Was: was, Is: is, Plan: p}})
			sum := new(big.Int)
			for _, l := range b.Lines {
				if l.minor.Sign() < 0 {
					t.Fatalf("more usage is a credit: %+v", l)
				}
				sum.Add(sum, l.minor)
			}
			if decimal(sum, 2) != b.Total {
				t.Fatalf("the lines come to %s, the total says %s", decimal(sum, 2), b.Total)
			}
			total.Add(total, sum)
			was = is
		}
		if once := Make(p, july, was, nil); once.Total != decimal(total, 2) {
			t.Fatalf("in parts %s, in one %s", decimal(total, 2), once.Total)
		}
	})
}

// TestRefusedCostsNothing, and sums go past 64 bits.
func TestQuantities(t *testing.T) {
	var u usage.Totals
	u.Outcomes[function.OK], u.Outcomes[function.Trapped], u.Outcomes[function.Refused] = 5, 2, 90
	u.Fuel, u.BytesIn = math.MaxInt64, 3
	q := Quantities{}
	for range 4 {
		q.Add(&u)
	}
	if q[Requests].String() != "28" || q[Fuel].String() != "36893488147419103228" || q[BytesIn].String() != "12" {
		t.Errorf("%v", q)
	}
}

func TestRound(t *testing.T) {
	for in, want := range map[string]string{
		"0.125": "0.12", "0.135": "0.14", "0.1251": "0.13", "0.1349999": "0.13", "-0.125": "-0.12", "-0.135": "-0.14", "-0.005": "0.00", "-0.0051": "-0.01", "1000000000000.005": "1000000000000.00",
	} {
		r, _ := new(big.Rat).SetString(in)
		if got := decimal(round(r, 2), 2); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func TestBadPlans(t *testing.T) {
	for text, fault := range map[string]string{
		`{"name": "p", "currency": "EUR", "rates": {"requests": {"price": 0.2}}}`:               "in quotes",
		`{"name": "p", "currency": "EUR", "rates": {"requests": {"price": "-1"}}}`:              "no decimal number",
		`{"name": "p", "currency": "EUR", "rates": {"requests": {"price": "1e3"}}}`:             "no decimal number",
		`{"name": "p", "currency": "EUR", "rates": {"requests": {"price": "0.0000000000001"}}}`: "at most 12 digits",
		`{"name": "p", "currency": "EUR", "rates": {"requests": {"price": "."}}}`:               "no decimal number",
		`{"name": "p", "currency": "EUR", "rates": {"request": {"price": "1"}}}`:                "rates.request: there is no such item",
		`{"currency": "EUR"}`:               "name: give the plan one",
		`{"name": "p", "currency": "euro"}`: `currency: "euro"`,
		`{"name": "p", "currency": "EUR", "rates": {"fuel": {"tiers": [{"up_to": 5}, {"up_to": 5}]}}}`: "rates.fuel.tiers[1].up_to",
	} {
		p := new(Plan)
		err := json.Unmarshal([]byte(text), p)
		if err == nil {
			err = p.Validate()
		}
		if err == nil || !strings.Contains(err.Error(), fault) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
