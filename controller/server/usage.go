package server

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/headgate-io/headgate/controller/api"
	"github.com/headgate-io/headgate/controller/billing"
	"github.com/headgate-io/headgate/controller/invoice"
	"github.com/headgate-io/headgate/controller/store"
	"github.com/headgate-io/headgate/sync/usage"
)

// Bounds of what is answered at once.
const (
	maxUsageRows  = 10_000
	maxExportRows = 200_000
)

// UsageQuery chooses usage, and says what rows are apart by.
type UsageQuery struct {
	From     string   `query:"from" maxLength:"10" doc:"First day as 2026-11-01, in UTC; the first of this month when left out"`
	To       string   `query:"to" maxLength:"10" doc:"Day after the last; tomorrow when left out"`
	By       []string `query:"by" maxItems:"4" enum:"day,gateway,function,version" doc:"What rows are apart by; day, gateway, function and version when left out"`
	Gateway  string   `query:"gateway" maxLength:"64" doc:"Name or ID; all when left out"`
	Function string   `query:"function" maxLength:"64" doc:"All when left out"`
}

var apart = []string{"day", "gateway", "function", "version"}

func (q *UsageQuery) query(ctx context.Context, tx *store.Tx, tenant string, now time.Time, limit int) (out store.UsageQuery, err error) {
	if q.From == "" {
		q.From = billing.MonthOf(now).Start().Format(time.DateOnly)
	}
	if q.To == "" {
		q.To = now.UTC().AddDate(0, 0, 1).Format(time.DateOnly)
	}
	if len(q.By) == 0 {
		q.By = apart
	}
	out = store.UsageQuery{
		Tenant: tenant, Function: q.Function, Limit: limit,
		ByDay: slices.Contains(q.By, "day"), ByGateway: slices.Contains(q.By, "gateway"),
		ByFunction: slices.Contains(q.By, "function"), ByVersion: slices.Contains(q.By, "version"),
	}
	for _, b := range []struct {
		name, text string
		into       *int64
	}{{"from", q.From, &out.First}, {"to", q.To, &out.Next}} {
		t, err := time.Parse(time.DateOnly, b.text)
		if err != nil || t.Year() < 1970 {
			return out, refusal(fmt.Sprintf("%s %q: want a day as 2026-11-01", b.name, b.text))
		}
		*b.into = t.Unix() / (24 * 60 * 60)
	}
	if q.Gateway == "" {
		return out, nil
	}
	g, err := tx.GatewayOf(ctx, tenant, q.Gateway)
	out.Gateway = g.ID
	return out, err
}

// usageOf reads rows and adds them up.
func (s *Server) usageOf(ctx context.Context, tx *store.Tx, tenant string, q *UsageQuery, most int) (api.Usage, error) {
	ask, err := q.query(ctx, tx, tenant, s.deps.Now(), most+1)
	if err != nil {
		return api.Usage{}, err
	}
	rows, err := tx.UsageSums(ctx, ask)
	if err != nil {
		return api.Usage{}, err
	}
	if len(rows) > most {
		return api.Usage{}, refusal(fmt.Sprintf("that is more than %d rows: ask for fewer days, or for less that they are apart by", most))
	}
	out := api.Usage{From: q.From, To: q.To, Rows: make([]api.UsageRow, 0, len(rows))}
	names, total := map[string]string{}, map[string]*big.Int{}
	for i := range rows {
		r := &rows[i]
		sums := invoice.Sums(r)
		row := api.UsageRow{Gateway: r.Gateway, Function: r.Function, Version: r.Version, Sums: apiSums(sums)}
		if ask.ByDay {
			row.Day = time.Unix(r.Day*24*60*60, 0).UTC().Format(time.DateOnly)
		}
		if row.GatewayName, err = gatewayName(ctx, tx, tenant, r.Gateway, names); err != nil {
			return out, err
		}
		out.Rows = append(out.Rows, row)
		for name, n := range sums {
			if total[name] == nil {
				total[name] = new(big.Int)
			}
			total[name].Add(total[name], n)
		}
	}
	if len(rows) == 0 {
		total = invoice.Sums(&store.UsageSum{})
	}
	out.Total = apiSums(total)
	return out, nil
}

func gatewayName(ctx context.Context, tx *store.Tx, tenant, id string, known map[string]string) (string, error) {
	if name, ok := known[id]; ok || id == "" {
		return name, nil
	}
	g, err := tx.Gateway(ctx, id)
	if errors.Is(err, store.ErrNotFound) || err == nil && g.Tenant != tenant {
		g.Name, err = "", nil
	}
	known[id] = g.Name
	return g.Name, err
}

func apiSums(sums map[string]*big.Int) api.Sums {
	all, failed := invoice.Requests(sums)
	out := api.Sums{"requests": all.String(), "errors": failed.String()}
	for name, n := range sums {
		out[name] = n.String()
	}
	return out
}

// text is an answer that is not JSON.
type text struct {
	ContentType string `header:"Content-Type"`
	Body        []byte
}

// readCSV is read of an operation that answers with a table.
func readCSV[I any](s *Server, o huma.Operation, need scope, fn func(context.Context, *store.Tx, *who, *I) ([][]string, error)) {
	s.guard(&o, need)
	huma.Register(s.api, o, func(ctx context.Context, in *I) (*text, error) {
		var b bytes.Buffer
		err := s.deps.Store.View(ctx, func(tx *store.Tx) error {
			rows, err := fn(ctx, tx, whoOf(ctx), in)
			if err != nil {
				return err
			}
			b.Reset()
			return csv.NewWriter(&b).WriteAll(rows)
		})
		if err != nil {
			return nil, s.problem(err)
		}
		return &text{ContentType: "text/csv; charset=utf-8", Body: b.Bytes()}, nil
	})
}

// cell keeps a spreadsheet from taking text for a formula.
func cell(s string) string {
	if s != "" && strings.ContainsAny(s[:1], "=+-@\t\r") {
		return "'" + s
	}
	return s
}

func (s *Server) usage() {
	read(s, op("get-usage", http.MethodGet, "/v1/usage", "Add usage up"), readUsage,
		func(ctx context.Context, tx *store.Tx, w *who, in *UsageQuery) (api.Usage, error) {
			return s.usageOf(ctx, tx, w.tenant(), in, maxUsageRows)
		})
	readCSV(s, op("export-usage", http.MethodGet, "/v1/usage.csv", "Add usage up, as CSV"), readUsage,
		func(ctx context.Context, tx *store.Tx, w *who, in *UsageQuery) ([][]string, error) {
			u, err := s.usageOf(ctx, tx, w.tenant(), in, maxExportRows)
			if err != nil {
				return nil, err
			}
			return usageTable(&u), nil
		})
}

// findings are what is wrong with what gateways metered.
func (s *Server) findings() {
	read(s, op("list-findings", http.MethodGet, "/v1/findings", "List what is wrong with gateways' usage, newest first"), readUsage,
		func(ctx context.Context, tx *store.Tx, w *who, in *Paging) (api.Page[api.Finding], error) {
			names := map[string]string{}
			return listed(*in, func(p store.Page) ([]store.Finding, error) {
				return tx.Findings(ctx, w.tenant(), p)
			}, func(f store.Finding) string { return f.ID }, func(f store.Finding) (api.Finding, error) {
				name, err := gatewayName(ctx, tx, w.tenant(), f.Gateway, names)
				return api.Finding{
					ID: f.ID, At: f.At, Gateway: f.Gateway, GatewayName: name, Hardware: f.Hardware, Epoch: f.Epoch, Batch: f.Seq, Kind: f.Kind, Detail: f.Detail,
				}, err
			})
		})
}

func usageTable(u *api.Usage) [][]string {
	names := usage.FieldNames()
	sums := append([]string{"requests", "errors"}, names[:]...)
	out := [][]string{append([]string{"day", "gateway", "gateway_name", "function", "version"}, sums...)}
	for _, r := range u.Rows {
		version := ""
		if r.Version != 0 {
			version = strconv.Itoa(r.Version)
		}
		line := []string{r.Day, r.Gateway, cell(r.GatewayName), cell(r.Function), version}
		for _, name := range sums {
			line = append(line, r.Sums[name])
		}
		out = append(out, line)
	}
	return out
}

// MonthPath names a month.
type MonthPath struct {
	Month string `path:"month" maxLength:"7" doc:"As 2026-11"`
}

func (m MonthPath) parse() (billing.Month, error) {
	month, err := billing.ParseMonth(m.Month)
	if err != nil || month.Year < 1970 {
		return month, refusal(fmt.Sprintf("month %q: want it as 2026-11", m.Month))
	}
	return month, nil
}

func (s *Server) invoices() {
	read(s, op("get-plan", http.MethodGet, "/v1/plan", "Show the price plan of this month"), readBilling,
		func(ctx context.Context, tx *store.Tx, w *who, _ *struct{}) (billing.Plan, error) {
			p, err := invoice.PlanOf(ctx, tx, w.tenant(), billing.MonthOf(s.deps.Now()))
			if err != nil {
				return billing.Plan{}, err
			}
			return *p, nil
		})
	read(s, op("list-invoices", http.MethodGet, "/v1/invoices", "List the invoices that were issued, oldest first"), readBilling,
		func(ctx context.Context, tx *store.Tx, w *who, in *Paging) (api.Page[api.Invoice], error) {
			return listed(*in, func(p store.Page) ([]invoice.Invoice, error) { return invoice.Issued(ctx, tx, w.tenant(), p) },
				func(i invoice.Invoice) string { return i.Bill.Month.String() }, shown(apiInvoice))
		})
	read(s, op("get-invoice", http.MethodGet, "/v1/invoices/{month}", "Show a month's invoice, issued or as it would be now"), readBilling,
		func(ctx context.Context, tx *store.Tx, w *who, in *MonthPath) (api.Invoice, error) {
			return s.invoiceOf(ctx, tx, w.tenant(), *in)
		})
	readCSV(s, op("export-invoice", http.MethodGet, "/v1/invoices/{month}/csv", "Show a month's invoice, as CSV"), readBilling,
		func(ctx context.Context, tx *store.Tx, w *who, in *MonthPath) ([][]string, error) {
			i, err := s.invoiceOf(ctx, tx, w.tenant(), *in)
			if err != nil {
				return nil, err
			}
			out := [][]string{{"invoice", "month", "item", "unit", "quantity", "free", "amount", "currency", "charges"}}
			for _, l := range i.Bill.Lines {
				out = append(out, []string{i.Bill.Month.String(), l.Month.String(), string(l.Item), l.Unit, l.Quantity, l.Free, l.Amount, i.Bill.Currency, charges(l.Charges)})
			}
			return out, nil
		})
}

// charges are the prices of a line in one cell.
func charges(all []billing.Charge) string {
	parts := make([]string, len(all))
	for i, c := range all {
		parts[i] = fmt.Sprintf("%s at %s per %d", c.Quantity, c.Price, c.Per)
	}
	return strings.Join(parts, "; ")
}

func (s *Server) invoiceOf(ctx context.Context, tx *store.Tx, tenant string, m MonthPath) (api.Invoice, error) {
	month, err := m.parse()
	if err != nil {
		return api.Invoice{}, err
	}
	i, err := invoice.Of(ctx, tx, tenant, month, s.deps.Now())
	return apiInvoice(i), err
}

func apiInvoice(i invoice.Invoice) api.Invoice {
	if i.Bill.Lines == nil {
		i.Bill.Lines = []billing.Line{}
	}
	return api.Invoice{Number: i.Number, Issued: i.Issued, Bill: i.Bill, Estimate: i.Estimate}
}

// TenantMonthPath names a month of a tenant.
type TenantMonthPath struct {
	TenantPath
	MonthPath
}

// of finds both.
func (p TenantMonthPath) of(ctx context.Context, tx *store.Tx) (store.Tenant, billing.Month, error) {
	month, err := p.parse()
	if err != nil {
		return store.Tenant{}, month, err
	}
	t, err := tx.TenantNamed(ctx, p.Tenant)
	return t, month, err
}

// billing is what who runs the controller does about the tenants' money.
func (s *Server) billing() {
	change(s, op("set-plan", http.MethodPut, "/v1/tenants/{tenant}/plans/{month}", "Set a tenant's price plan from a month on"), writeBilling,
		func(ctx context.Context, tx *store.Tx, _ *who, in *struct {
			TenantMonthPath
			Body billing.Plan
		},
		) (api.PlanSince, effect, error) {
			t, month, err := in.of(ctx, tx)
			if err != nil {
				return api.PlanSince{}, effect{}, err
			}
			if err := tx.Lock(ctx, "billing", t.ID); err != nil {
				return api.PlanSince{}, effect{}, err
			}
			var before any
			if old, err := invoice.PlanOf(ctx, tx, t.ID, month); err == nil {
				before = old
			}
			err = invoice.SetPlan(ctx, tx, t.ID, month, &in.Body, s.deps.Now())
			return api.PlanSince{Since: month.String(), Plan: in.Body}, effect{"plan.set", "tenant/" + t.ID + "/plan/" + month.String(), before, in.Body}, err
		})
	read(s, op("get-tenant-invoice", http.MethodGet, "/v1/tenants/{tenant}/invoices/{month}", "Show a tenant's invoice, issued or as it would be now"), writeBilling,
		func(ctx context.Context, tx *store.Tx, _ *who, in *TenantMonthPath) (api.Invoice, error) {
			t, _, err := in.of(ctx, tx)
			if err != nil {
				return api.Invoice{}, err
			}
			return s.invoiceOf(ctx, tx, t.ID, in.MonthPath)
		})
	issue := op("issue-invoice", http.MethodPost, "/v1/tenants/{tenant}/invoices/{month}", "Issue a tenant's invoice of a month that is over; it does not change any more")
	issue.DefaultStatus = http.StatusCreated
	change(s, issue, writeBilling,
		func(ctx context.Context, tx *store.Tx, _ *who, in *TenantMonthPath) (api.Invoice, effect, error) {
			t, month, err := in.of(ctx, tx)
			if err != nil {
				return api.Invoice{}, effect{}, err
			}
			if err := tx.Lock(ctx, "billing", t.ID); err != nil {
				return api.Invoice{}, effect{}, err
			}
			i, err := invoice.Issue(ctx, tx, t.ID, month, s.deps.Now())
			return apiInvoice(i), effect{"invoice.issue", "tenant/" + t.ID + "/invoice/" + month.String(), nil, map[string]any{"number": i.Number, "total": i.Bill.Total}}, err
		})
}
