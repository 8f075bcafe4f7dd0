package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	controllerapi "github.com/headgate-io/headgate/controller/api"
	"github.com/headgate-io/headgate/controller/billing"
	controllerclient "github.com/headgate-io/headgate/controller/client"
)

// maxPlan bounds the file of a price plan.
const maxPlan = 64 << 10

func (a *app) fleetUsageCommand() *cobra.Command {
	var csv bool
	q := map[string]*string{}
	c := &cobra.Command{
		Use: "usage", Short: "Add up what functions used",
		Long:    "Add up what functions used, of this month unless --from and --to say another time.\nDays are those of UTC.",
		Example: "  headgate fleet usage\n  headgate fleet usage --by gateway --from 2026-11-01 --to 2026-12-01\n  headgate fleet usage --csv >november.csv",
		RunE: func(cmd *cobra.Command, _ []string) error {
			query := url.Values{}
			for name, value := range q {
				if *value != "" {
					query.Set(name, *value)
				}
			}
			if csv {
				return a.fleetText(cmd, "/v1/usage.csv?"+query.Encode())
			}
			return fleetDo(a, cmd, http.MethodGet, "/v1/usage?"+query.Encode(), nil, func(u *controllerapi.Usage) { _ = a.printFleetUsage(u) })
		},
	}
	for _, f := range []struct{ name, value, help string }{
		{"from", "", "first day, as 2026-11-01"},
		{"to", "", "day after the last"},
		{"by", "function,version", "what rows are apart by, of day,gateway,function,version"},
		{"gateway", "", "of one gateway, by name or ID"},
		{"function", "", "of one function"},
	} {
		q[f.name] = c.Flags().String(f.name, f.value, f.help)
	}
	c.Flags().BoolVar(&csv, "csv", false, "print everything that is metered, as CSV")
	return c
}

func (a *app) fleetFindingsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "findings", Short: "List what is wrong with gateways' usage: gaps, forks and what was tampered with",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return fleetList(a, cmd, "/v1/findings", nil, "Nothing is wrong: every batch is there, in its place and signed.", "AT GATEWAY BATCH KIND DETAIL", func(f *controllerapi.Finding) []any {
				name := f.GatewayName
				if name == "" {
					name = f.Gateway
				}
				return []any{day(f.At), name, fmt.Sprintf("%d/%d", f.Epoch, f.Batch), f.Kind, f.Detail}
			})
		},
	}
}

// fleetText prints an answer as it is.
func (a *app) fleetText(cmd *cobra.Command, path string) error {
	return a.withFleet(func(c *controllerclient.Client) error {
		text, err := c.Text(cmd.Context(), path)
		if err == nil {
			_, err = a.out.Write(text)
		}
		return err
	})
}

func (a *app) printFleetUsage(u *controllerapi.Usage) error {
	if len(u.Rows) == 0 {
		fmt.Fprintf(a.out, "Nothing was used from %s to before %s.\n", u.From, u.To)
		return nil
	}
	return table(a.out, "DAY GATEWAY FUNCTION REQUESTS ERRORS GB-S FUEL IN OUT WRITTEN", func(row func(...any)) {
		for _, r := range u.Rows {
			gateway := r.GatewayName
			if gateway == "" {
				gateway = r.Gateway
			}
			fn := r.Function
			if r.Version != 0 {
				fn = fmt.Sprintf("%s@%d", fn, r.Version)
			}
			row(usageCells(dash(r.Day), dash(gateway), dash(fn), r.Sums)...)
		}
		row(usageCells("total", "", "", u.Total)...)
	})
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func usageCells(day, gateway, fn string, s controllerapi.Sums) []any {
	return []any{day, gateway, fn, s["requests"], s["errors"], gbSeconds(s["memory_byte_millis"]), s["fuel"], s["bytes_in"], s["bytes_out"], s["bytes_written"]}
}

// gbSeconds writes byte-milliseconds as gigabyte-seconds, cut at the thousandth,
// or after the third digit of less than that. '--csv' and '--json' have all.
func gbSeconds(byteMillis string) string {
	const digits = 12
	if len(byteMillis) <= digits {
		byteMillis = strings.Repeat("0", digits+1-len(byteMillis)) + byteMillis
	}
	point := len(byteMillis) - digits
	places := 3
	if whole := byteMillis[:point]; strings.Trim(whole, "0") == "" {
		zeros := digits - len(strings.TrimLeft(byteMillis[point:], "0"))
		places = max(places, min(zeros+3, digits))
		if zeros == digits {
			places = 3
		}
	}
	return byteMillis[:point] + "." + byteMillis[point:point+places]
}

func (a *app) fleetInvoiceCommand() *cobra.Command {
	c := &cobra.Command{Use: "invoice", Short: "Show and issue invoices"}
	month := func(m string) string { return "/v1/invoices/" + url.PathEscape(m) }
	var csv bool
	show := &cobra.Command{
		Use: "show [MONTH]", Short: "Show a month's invoice, issued or as it would be now; this month's when left out", Args: cobra.MaximumNArgs(1),
		Example: "  headgate fleet invoice show\n  headgate fleet invoice show 2026-11 --csv",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = []string{time.Now().UTC().Format("2006-01")}
			}
			if csv {
				return a.fleetText(cmd, month(args[0])+"/csv")
			}
			return fleetDo(a, cmd, http.MethodGet, month(args[0]), nil, func(i *controllerapi.Invoice) { _ = a.printInvoice(i) })
		},
	}
	show.Flags().BoolVar(&csv, "csv", false, "print CSV")
	var tenant string
	issue := &cobra.Command{
		Use: "issue MONTH --tenant NAME", Short: "Issue a tenant's invoice of a month that is over; it does not change any more", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := "/v1/tenants/" + url.PathEscape(tenant) + "/invoices/" + url.PathEscape(args[0])
			return fleetDo(a, cmd, http.MethodPost, path, nil, func(i *controllerapi.Invoice) { _ = a.printInvoice(i) })
		},
	}
	issue.Flags().StringVar(&tenant, "tenant", "default", "whose invoice it is")
	c.AddCommand(show, issue, &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the invoices that were issued",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return fleetList(a, cmd, "/v1/invoices", nil, "No invoice was issued yet.", "INVOICE MONTH ISSUED TOTAL CURRENCY", func(i *controllerapi.Invoice) []any {
				return []any{i.Number, i.Bill.Month, day(i.Issued), i.Bill.Total, i.Bill.Currency}
			})
		},
	})
	return c
}

func (a *app) printInvoice(i *controllerapi.Invoice) error {
	if i.Number == 0 {
		fmt.Fprintf(a.out, "not issued, %s, plan %s\n", i.Bill.Month, i.Bill.Plan)
	} else {
		fmt.Fprintf(a.out, "invoice %d, %s, plan %s, issued %s\n", i.Number, i.Bill.Month, i.Bill.Plan, day(i.Issued))
	}
	err := table(a.out, "MONTH ITEM QUANTITY UNIT FREE CHARGED PRICE AMOUNT", func(row func(...any)) {
		width := len(i.Bill.Total)
		for _, l := range i.Bill.Lines {
			width = max(width, len(l.Amount))
		}
		for _, l := range i.Bill.Lines {
			invoiceLine(row, &l, width)
		}
		row("total", "", "", "", "", "", "", fmt.Sprintf("%*s %s", width, i.Bill.Total, i.Bill.Currency))
	})
	if i.Estimate != "" {
		fmt.Fprintf(a.out, "%s %s if the month goes on as it did\n", i.Estimate, i.Bill.Currency)
	}
	return err
}

// invoiceLine prints what was used, and below it what further tiers charged.
func invoiceLine(row func(...any), l *billing.Line, width int) {
	amount := fmt.Sprintf("%*s", width, l.Amount)
	if len(l.Charges) == 0 {
		row(l.Month, l.Item, l.Quantity, l.Unit, l.Free, "-", "-", amount)
		return
	}
	for n, c := range l.Charges {
		price := c.Price.String()
		if c.Per != 1 {
			price += fmt.Sprintf(" per %d", c.Per)
		}
		if n == 0 {
			row(l.Month, l.Item, l.Quantity, l.Unit, l.Free, c.Quantity, price, amount)
		} else {
			row("", "", "", "", "", c.Quantity, price, "")
		}
	}
}

func (a *app) fleetPlanCommand() *cobra.Command {
	c := &cobra.Command{Use: "plan", Short: "Say what a tenant pays"}
	var tenant string
	set := &cobra.Command{
		Use: "set MONTH FILE --tenant NAME", Short: "Set a tenant's price plan from a month on", Args: cobra.ExactArgs(2),
		Long: `Set a tenant's price plan from a month on. FILE is JSON, or - for standard input:

  {"name": "standard", "currency": "EUR", "rates": {
    "requests":   {"price": "0.20", "per": 1000000, "free": 1000000},
    "gb_seconds": {"price": "0.0000166667", "free": 400000}}}

Prices are decimal numbers in quotes. What has no rate is free.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			raw, err := a.readPlan(args[1])
			if err != nil {
				return err
			}
			path := "/v1/tenants/" + url.PathEscape(tenant) + "/plans/" + url.PathEscape(args[0])
			return fleetDo(a, cmd, http.MethodPut, path, raw, func(p *controllerapi.PlanSince) {
				fmt.Fprintf(a.out, "%s pays by the plan %s from %s on\n", tenant, p.Plan.Name, p.Since)
			})
		},
	}
	set.Flags().StringVar(&tenant, "tenant", "default", "whose plan it is")
	c.AddCommand(set, &cobra.Command{
		Use: "show", Short: "Show the price plan of this month",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return fleetDo(a, cmd, http.MethodGet, "/v1/plan", nil, func(p *json.RawMessage) { _ = a.printJSON(p) })
		},
	})
	return c
}

func (a *app) readPlan(file string) (json.RawMessage, error) {
	in := a.in
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	raw, err := io.ReadAll(io.LimitReader(in, maxPlan+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", file, err)
	case len(raw) > maxPlan:
		return nil, fmt.Errorf("%s: a plan has at most %d bytes", file, maxPlan)
	case !json.Valid(raw):
		return nil, fmt.Errorf("%s: this is no JSON; 'headgate fleet plan set --help' shows a plan", file)
	}
	return raw, nil
}
