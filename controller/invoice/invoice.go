// Package invoice keeps tenants' price plans and issues their invoices, from the
// usage in the database by the rules of package billing.
//
// An invoice that was issued does not change. What gateways send later of a month
// that has one is on the next, so that invoices together are always the whole
// usage.
package invoice

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	"github.com/headgate-io/headgate/controller/billing"
	"github.com/headgate-io/headgate/controller/store"
	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sync/usage"
)

// Faults of what is asked for.
var (
	// ErrInvalid is a plan that is none.
	ErrInvalid = errors.New("invalid plan")
	// ErrNoPlan is a month in which the tenant has no price plan.
	ErrNoPlan = errors.New("there is no price plan for this month: 'headgate fleet plan set MONTH FILE' sets one")
	// ErrClosed is what an issued invoice does not allow any more, or what it
	// is too early for.
	ErrClosed = errors.New("not possible")
)

// lateMonths is for how many months back usage that comes late is billed. A
// gateway that is away for longer has to be enrolled again.
const lateMonths = 12

// maxInvoices bounds what is read of a tenant's invoices.
const maxInvoices = 2*lateMonths + 1

// Invoice is what a tenant owes for a month.
type Invoice struct {
	// Number counts a tenant's invoices from 1; 0 is one that is not issued.
	Number int64        `json:"number,omitempty"`
	Bill   billing.Bill `json:"bill"`
	// Issued is zero until it is.
	Issued time.Time `json:"issued,omitzero"`
	// Estimate is what the bill's total comes to if the month goes on as it did.
	Estimate string `json:"estimate,omitempty"`
	// Billed are the quantities, in metered units, up to which months are
	// billed with this invoice.
	Billed map[string]billing.Quantities `json:"billed"`
}

// Sums are a row's sums by their names (usage.FieldNames).
func Sums(u *store.UsageSum) map[string]*big.Int {
	out := map[string]*big.Int{}
	for i, name := range usage.FieldNames() {
		out[name] = new(big.Int).Lsh(big.NewInt(u.High[i]), 32)
		out[name].Add(out[name], big.NewInt(u.Low[i]))
	}
	return out
}

// Requests is how many attempts the sums have, and errors how many of them did
// not end well.
func Requests(sums map[string]*big.Int) (all, failed *big.Int) {
	all, failed = new(big.Int), new(big.Int)
	for i, name := range usage.FieldNames() {
		if i < function.Outcomes {
			all.Add(all, sums[name])
		}
	}
	return all, failed.Sub(all, sums[usage.FieldNames()[function.OK]])
}

// quantities are what the rows charge for.
func quantities(u *store.UsageSum) billing.Quantities {
	sums := Sums(u)
	all, _ := Requests(sums)
	return billing.Quantities{
		// What was refused was never started.
		billing.Requests:  all.Sub(all, sums[usage.FieldNames()[function.Refused]]),
		billing.GBSeconds: sums["memory_byte_millis"], billing.Fuel: sums["fuel"],
		billing.BytesIn: sums["bytes_in"], billing.BytesOut: sums["bytes_out"], billing.BytesWritten: sums["bytes_written"],
	}
}

func used(ctx context.Context, tx *store.Tx, tenant string, m billing.Month) (billing.Quantities, error) {
	const day = 24 * 60 * 60
	q := store.UsageQuery{Tenant: tenant, First: m.Start().Unix() / day, Next: m.End().Unix() / day, Limit: 1}
	rows, err := tx.UsageSums(ctx, q)
	if err != nil || len(rows) == 0 {
		return billing.Quantities{}, err
	}
	return quantities(&rows[0]), nil
}

// PlanOf is the plan that a tenant has in a month, or ErrNoPlan.
func PlanOf(ctx context.Context, tx *store.Tx, tenant string, m billing.Month) (*billing.Plan, error) {
	row, err := tx.PricePlan(ctx, tenant, m.String())
	if errors.Is(err, store.ErrNotFound) {
		return nil, ErrNoPlan
	}
	if err != nil {
		return nil, err
	}
	p := &billing.Plan{}
	if err := json.Unmarshal([]byte(row.Plan), p); err != nil {
		return nil, fmt.Errorf("plan since %s: %w", row.Since, err)
	}
	return p, nil
}

// SetPlan sets a tenant's plan from a month on. Months that were invoiced keep
// theirs.
func SetPlan(ctx context.Context, tx *store.Tx, tenant string, since billing.Month, p *billing.Plan, now time.Time) error {
	if err := p.Validate(); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	last, err := tx.LastInvoice(ctx, tenant)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if err == nil && since.String() <= last.Month {
		return fmt.Errorf("%w: the invoice of %s is issued: a plan can begin after that", ErrClosed, last.Month)
	}
	document, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return tx.SetPricePlan(ctx, store.PricePlan{Tenant: tenant, Since: since.String(), Plan: string(document), Created: now})
}

func back(m billing.Month, months int) billing.Month {
	return billing.MonthOf(m.Start().AddDate(0, -months, 0))
}

// Issued lists a tenant's invoices of months after one, oldest first.
func Issued(ctx context.Context, tx *store.Tx, tenant string, p store.Page) ([]Invoice, error) {
	rows, err := tx.Invoices(ctx, tenant, p)
	if err != nil {
		return nil, err
	}
	out := make([]Invoice, len(rows))
	for i, r := range rows {
		if err := json.Unmarshal([]byte(r.Document), &out[i]); err != nil {
			return nil, fmt.Errorf("invoice of %s: %w", r.Month, err)
		}
	}
	return out, nil
}

// Of returns a tenant's invoice of a month as it was issued, or as it would be
// now, with an estimate while the month lasts.
func Of(ctx context.Context, tx *store.Tx, tenant string, m billing.Month, now time.Time) (Invoice, error) {
	earlier, err := Issued(ctx, tx, tenant, store.Page{After: back(m, lateMonths+1).String(), Limit: maxInvoices})
	if err != nil {
		return Invoice{}, err
	}
	if i := slices.IndexFunc(earlier, func(i Invoice) bool { return i.Bill.Month == m }); i >= 0 {
		return earlier[i], nil
	}
	p, err := PlanOf(ctx, tx, tenant, m)
	if err != nil {
		return Invoice{}, err
	}
	q, err := used(ctx, tx, tenant, m)
	if err != nil {
		return Invoice{}, err
	}
	out := Invoice{Billed: map[string]billing.Quantities{m.String(): q}}
	var late []billing.Billed
	for months := lateMonths; months >= 1; months-- {
		b, ok, err := lateOf(ctx, tx, tenant, back(m, months), earlier)
		if err != nil {
			return out, err
		}
		if ok && b.Plan.Currency == p.Currency {
			late = append(late, b)
			out.Billed[b.Month.String()] = b.Is
		}
	}
	out.Bill = billing.Make(p, m, q, late)
	if !now.Before(m.Start()) && now.Before(m.End()) {
		out.Estimate = billing.Make(p, m, project(q, m.End().Sub(m.Start()), now.Sub(m.Start())), late).Total
	}
	return out, nil
}

// lateOf is what came of an earlier month since it was billed. A month that has
// no invoice of its own is billed whole.
func lateOf(ctx context.Context, tx *store.Tx, tenant string, m billing.Month, earlier []Invoice) (billing.Billed, bool, error) {
	p, err := PlanOf(ctx, tx, tenant, m)
	if errors.Is(err, ErrNoPlan) {
		return billing.Billed{}, false, nil
	}
	if err != nil {
		return billing.Billed{}, false, err
	}
	b := billing.Billed{Month: m, Was: billing.Quantities{}, Plan: p}
	for _, i := range earlier { // the newest that has it
		if q, ok := i.Billed[m.String()]; ok {
			b.Was = q
		}
	}
	b.Is, err = used(ctx, tx, tenant, m)
	return b, err == nil, err
}

// project is what quantities come to if they go on, to whole units.
func project(q billing.Quantities, total, elapsed time.Duration) billing.Quantities {
	out := billing.Quantities{}
	for item, n := range q {
		v := new(big.Int).Mul(n, big.NewInt(int64(total/time.Second)))
		out[item] = v.Quo(v, big.NewInt(max(int64(elapsed/time.Second), 1)))
	}
	return out
}

// Issue makes the invoice of a month that is over.
func Issue(ctx context.Context, tx *store.Tx, tenant string, m billing.Month, now time.Time) (Invoice, error) {
	if now.Before(m.End()) {
		return Invoice{}, fmt.Errorf("%w: %s is not over", ErrClosed, m)
	}
	number := int64(1)
	last, err := tx.LastInvoice(ctx, tenant)
	switch {
	case err == nil && last.Month >= m.String():
		return Invoice{}, fmt.Errorf("%w: the invoice of %s is issued already", ErrClosed, last.Month)
	case err == nil:
		number = last.Number + 1
	case !errors.Is(err, store.ErrNotFound):
		return Invoice{}, err
	}
	out, err := Of(ctx, tx, tenant, m, now)
	if err != nil {
		return out, err
	}
	out.Number, out.Issued = number, now.UTC().Truncate(time.Second)
	document, err := json.Marshal(out)
	if err != nil {
		return out, err
	}
	return out, tx.AddInvoice(ctx, store.Invoice{Tenant: tenant, Month: m.String(), Number: number, Document: string(document), Issued: out.Issued})
}
