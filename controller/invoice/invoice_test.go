package invoice_test

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/headgate-io/headgate/controller/billing"
	"github.com/headgate-io/headgate/controller/invoice"
	"github.com/headgate-io/headgate/controller/store"
	"github.com/headgate-io/headgate/controller/store/pgtest"
	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sync/usage"
)

var postgres pgtest.Server

func TestMain(m *testing.M) {
	code := m.Run()
	postgres.Stop()
	os.Exit(code)
}

// rig is a database with one tenant.
type rig struct {
	*testing.T
	store *store.Store
}

func both(t *testing.T, test func(r *rig)) {
	run := func(t *testing.T, dsn string) {
		s, err := store.Open(t.Context(), dsn)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		r := &rig{T: t, store: s}
		r.update(func(ctx context.Context, tx *store.Tx) error {
			return tx.AddTenant(ctx, store.Tenant{ID: "acme", Name: "acme"})
		})
		test(r)
	}
	t.Run("sqlite", func(t *testing.T) { run(t, "sqlite:"+filepath.Join(t.TempDir(), "c.db")) })
	t.Run("postgres", func(t *testing.T) { run(t, postgres.Database(t)) })
}

func (r *rig) update(fn func(context.Context, *store.Tx) error) {
	r.Helper()
	if err := r.store.Update(r.Context(), func(tx *store.Tx) error { return fn(r.Context(), tx) }); err != nil {
		r.Fatal(err)
	}
}

func (r *rig) use(day string, requests uint64, memory uint64) {
	r.Helper()
	at, err := time.Parse(time.DateOnly, day)
	if err != nil {
		r.Fatal(err)
	}
	d := store.Day{Tenant: "acme", Day: at.Unix() / 86400, Gateway: "g", Function: "f", Version: 1, Totals: usage.Totals{MemoryByteMillis: memory}}
	d.Outcomes[function.OK] = requests
	d.Outcomes[function.Refused] = 1_000_000 // costs nothing
	r.update(func(ctx context.Context, tx *store.Tx) error { return tx.AddUsage(ctx, &d) })
}

func month(t *testing.T, s string) billing.Month {
	t.Helper()
	m, err := billing.ParseMonth(s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (r *rig) plan(since, price string) error {
	d, err := billing.ParseDecimal(price)
	if err != nil {
		r.Fatal(err)
	}
	p := &billing.Plan{Name: "standard", Currency: "EUR", Rates: map[billing.Item]billing.Rate{billing.Requests: {Per: 1000, Price: d, Free: 1000}}}
	return r.store.Update(r.Context(), func(tx *store.Tx) error {
		return invoice.SetPlan(r.Context(), tx, "acme", month(r.T, since), p, time.Now())
	})
}

func (r *rig) issue(m, at string) (invoice.Invoice, error) {
	now, err := time.Parse(time.DateOnly, at)
	if err != nil {
		r.Fatal(err)
	}
	var out invoice.Invoice
	err = r.store.Update(r.Context(), func(tx *store.Tx) (err error) {
		out, err = invoice.Issue(r.Context(), tx, "acme", month(r.T, m), now)
		return err
	})
	return out, err
}

// An invoice stands; what comes late is on the next one, at the price of its
// own month, and together they are everything.
func TestLateUsageIsOnTheNextInvoice(t *testing.T) {
	both(t, func(r *rig) {
		if _, err := r.issue("2026-03", "2026-04-01"); !errors.Is(err, invoice.ErrNoPlan) {
			r.Errorf("without a plan: %v", err)
		}
		if err := r.plan("2026-03", "1.00"); err != nil {
			r.Fatal(err)
		}
		r.use("2026-02-28", 50_000, 0) // before there was a plan: costs nothing
		r.use("2026-03-01", 2_500, 0)
		r.use("2026-03-31", 2_500, 0)
		if _, err := r.issue("2026-03", "2026-03-31"); !errors.Is(err, invoice.ErrClosed) {
			r.Errorf("before its end: %v", err)
		}
		march, err := r.issue("2026-03", "2026-04-01")
		if err != nil || march.Number != 1 || march.Bill.Total != "4.00" || len(march.Bill.Lines) != 1 {
			r.Fatalf("%+v, %v", march, err)
		}
		if _, err := r.issue("2026-03", "2026-04-02"); !errors.Is(err, invoice.ErrClosed) {
			r.Errorf("twice: %v", err)
		}
		if err := r.plan("2026-03", "9.00"); !errors.Is(err, invoice.ErrClosed) {
			r.Errorf("another price for what is invoiced: %v", err)
		}
		if err := r.plan("2026-04", "2.00"); err != nil {
			r.Fatal(err)
		}
		r.use("2026-03-15", 3_000, 0) // a gateway comes back
		r.use("2026-04-01", 2_000, 0)
		april, err := r.issue("2026-04", "2026-05-01")
		if err != nil || april.Number != 2 || april.Bill.Total != "5.00" || len(april.Bill.Lines) != 2 ||
			april.Bill.Lines[1].Month.String() != "2026-03" || april.Bill.Lines[1].Amount != "3.00" {
			r.Fatalf("%+v, %v", april, err)
		}
		r.use("2026-05-01", 0, 0)
		r.use("2026-03-15", 1_000, 0) // and again, two invoices later
		may, err := r.issue("2026-05", "2026-06-01")
		if err != nil || may.Bill.Total != "1.00" {
			r.Fatalf("%+v, %v", may, err)
		}
		again := r.of("2026-03", "2026-07-01")
		if again.Bill.Total != "4.00" || again.Number != 1 {
			r.Errorf("an issued invoice has changed: %+v", again)
		}
	})
}

func (r *rig) of(m, at string) (out invoice.Invoice) {
	now, err := time.Parse(time.DateOnly, at)
	if err != nil {
		r.Fatal(err)
	}
	err = r.store.View(r.Context(), func(tx *store.Tx) (err error) {
		out, err = invoice.Of(r.Context(), tx, "acme", month(r.T, m), now)
		return err
	})
	if err != nil {
		r.Fatal(err)
	}
	return out
}

func TestEstimate(t *testing.T) {
	both(t, func(r *rig) {
		if err := r.plan("2026-04", "1.00"); err != nil {
			r.Fatal(err)
		}
		r.use("2026-04-05", 11_000, 0)
		if i := r.of("2026-04", "2026-04-11"); i.Number != 0 || i.Bill.Total != "10.00" || i.Estimate != "32.00" {
			r.Errorf("%+v", i) // 33 000 requests, 1 000 of them free
		}
		if i := r.of("2026-04", "2026-05-01"); i.Estimate != "" {
			r.Errorf("an estimate of what is over: %s", i.Estimate)
		}
	})
}

// Sums of more than 64 bits are exact in both databases.
func TestHugeSums(t *testing.T) {
	both(t, func(r *rig) {
		for _, day := range []string{"2026-04-01", "2026-04-02", "2026-04-03"} {
			r.use(day, 1, math.MaxInt64)
		}
		var rows []store.UsageSum
		err := r.store.View(r.Context(), func(tx *store.Tx) (err error) {
			rows, err = tx.UsageSums(r.Context(), store.UsageQuery{Tenant: "acme", Next: 1 << 40, Limit: 10})
			return err
		})
		if err != nil || len(rows) != 1 {
			r.Fatal(rows, err)
		}
		sums := invoice.Sums(&rows[0])
		all, failed := invoice.Requests(sums)
		if sums["memory_byte_millis"].String() != "27670116110564327421" || all.String() != "3000003" || failed.String() != "3000000" {
			r.Error(sums, all, failed)
		}
	})
}

// Sums are apart by what is asked for, in order, and are those of one tenant.
func TestSumsApart(t *testing.T) {
	both(t, func(r *rig) {
		r.update(func(ctx context.Context, tx *store.Tx) error {
			if err := tx.AddTenant(ctx, store.Tenant{ID: "other", Name: "other"}); err != nil {
				return err
			}
			for _, tenant := range []string{"acme", "other"} {
				for day := range int64(2) {
					for _, gateway := range []string{"g2", "g1"} {
						for version := range 2 {
							d := store.Day{Tenant: tenant, Day: day, Gateway: gateway, Function: "f", Version: version, Totals: usage.Totals{Fuel: 1}}
							if err := tx.AddUsage(ctx, &d); err != nil {
								return err
							}
						}
					}
				}
			}
			return nil
		})
		for want, q := range map[string]store.UsageQuery{
			"8":                   {},
			"g1:4 g2:4":           {ByGateway: true},
			"g1:2 g1:2 g2:2 g2:2": {ByGateway: true, ByVersion: true},
			"4 4":                 {ByDay: true},
			"2 2":                 {ByDay: true, Gateway: "g1"},
			"2":                   {Gateway: "g1", First: 1},
			"":                    {Function: "none", ByFunction: true},
		} {
			q.Tenant, q.Limit = "acme", 100
			if q.Next = 100; want == "8" {
				q.Next = 2
			}
			var got []string
			err := r.store.View(r.Context(), func(tx *store.Tx) error {
				rows, err := tx.UsageSums(r.Context(), q)
				for i := range rows {
					s := invoice.Sums(&rows[i])["fuel"].String()
					if q.ByGateway {
						s = rows[i].Gateway + ":" + s
					}
					got = append(got, s)
				}
				return err
			})
			if err != nil || strings.Join(got, " ") != want {
				r.Errorf("%+v: %v, %v, want %s", q, got, err, want)
			}
		}
	})
}
