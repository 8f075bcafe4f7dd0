package store

import (
	"context"
	"strings"
	"time"

	"github.com/headgate-io/headgate/sync/usage"
)

// PricePlan is what a tenant pays from a month on.
type PricePlan struct {
	Tenant string
	// Since is a month, as 2026-11; Plan is JSON.
	Since, Plan string
	Created     time.Time
}

func planFields(p *PricePlan) []any {
	return []any{&p.Tenant, &p.Since, &p.Plan, stamp{&p.Created}}
}

// SetPricePlan sets a tenant's plan from a month on.
func (t *Tx) SetPricePlan(ctx context.Context, p PricePlan) error {
	_, err := t.exec(ctx, `INSERT INTO price_plan (tenant, since, plan, created) VALUES (?, ?, ?, ?)
		ON CONFLICT (tenant, since) DO UPDATE SET plan = excluded.plan, created = excluded.created`, p.Tenant, p.Since, p.Plan, micros(p.Created))
	return err
}

// PricePlans lists a tenant's plans, newest first.
func (t *Tx) PricePlans(ctx context.Context, tenant string, limit int) ([]PricePlan, error) {
	return all(ctx, t, planFields, `SELECT tenant, since, plan, created FROM price_plan WHERE tenant = ? ORDER BY since DESC LIMIT ?`, tenant, limit)
}

// PricePlan returns the plan that a tenant has in a month.
func (t *Tx) PricePlan(ctx context.Context, tenant, month string) (PricePlan, error) {
	return one(ctx, t, planFields, `SELECT tenant, since, plan, created FROM price_plan WHERE tenant = ? AND since <= ? ORDER BY since DESC LIMIT 1`, tenant, month)
}

// Invoice is an invoice that was issued.
type Invoice struct {
	Tenant, Month string
	Number        int64
	// Document is JSON.
	Document string
	Issued   time.Time
}

func invoiceFields(i *Invoice) []any {
	return []any{&i.Tenant, &i.Month, &i.Number, &i.Document, stamp{&i.Issued}}
}

// AddInvoice keeps an invoice; ErrExists says that the month has one.
func (t *Tx) AddInvoice(ctx context.Context, i Invoice) error {
	_, err := t.exec(ctx, `INSERT INTO invoice (tenant, month, number, document, issued) VALUES (?, ?, ?, ?, ?)`, i.Tenant, i.Month, i.Number, i.Document, micros(i.Issued))
	return err
}

// Invoices lists a tenant's invoices of months after one, oldest first.
func (t *Tx) Invoices(ctx context.Context, tenant string, p Page) ([]Invoice, error) {
	return all(ctx, t, invoiceFields, `SELECT tenant, month, number, document, issued FROM invoice WHERE tenant = ? AND month > ? ORDER BY month LIMIT ?`, tenant, p.After, p.Limit)
}

// LastInvoice is the newest that was issued.
func (t *Tx) LastInvoice(ctx context.Context, tenant string) (Invoice, error) {
	return one(ctx, t, invoiceFields, `SELECT tenant, month, number, document, issued FROM invoice WHERE tenant = ? ORDER BY month DESC LIMIT 1`, tenant)
}

// UsageQuery asks for sums of usage.
type UsageQuery struct {
	Tenant string
	// First and Next are days since 1970: from First to before Next.
	First, Next int64
	// Gateway and Function are all when empty.
	Gateway, Function string
	// What sums are apart by; else they are added up.
	ByDay, ByGateway, ByFunction, ByVersion bool
	Limit                                   int
}

// UsageSum is usage added up. What it is not apart by is zero.
type UsageSum struct {
	Day               int64
	Gateway, Function string
	Version           int
	// High and Low are the sums in two halves, of which neither overflows:
	// High × 2³² + Low.
	High, Low [usage.FieldCount]int64
}

// UsageSums adds usage up in the database, ordered by what it is apart by.
func (t *Tx) UsageSums(ctx context.Context, q UsageQuery) ([]UsageSum, error) {
	var by []string
	column := func(is bool, name, none string) string {
		if is {
			by = append(by, name)
			return name
		}
		return none
	}
	columns := []string{column(q.ByDay, "day", "0"), column(q.ByGateway, "gateway", "''"), column(q.ByFunction, "fn", "''"), column(q.ByVersion, "version", "0")}
	for _, name := range usage.FieldNames() {
		columns = append(columns, "CAST(COALESCE(SUM("+name+" / 4294967296), 0) AS BIGINT)", "CAST(COALESCE(SUM("+name+" % 4294967296), 0) AS BIGINT)")
	}
	query := "SELECT " + strings.Join(columns, ", ") + ` FROM usage_day WHERE tenant = ? AND day >= ? AND day < ? AND (? = '' OR gateway = ?) AND (? = '' OR fn = ?)`
	if len(by) > 0 {
		query += " GROUP BY " + strings.Join(by, ", ") + " ORDER BY " + strings.Join(by, ", ")
	}
	fields := func(s *UsageSum) []any {
		out := []any{&s.Day, &s.Gateway, &s.Function, &s.Version}
		for i := range s.High {
			out = append(out, &s.High[i], &s.Low[i])
		}
		return out
	}
	return all(ctx, t, fields, query+" LIMIT ?", q.Tenant, q.First, q.Next, q.Gateway, q.Gateway, q.Function, q.Function, q.Limit)
}
