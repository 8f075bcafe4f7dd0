package server_test

import (
	"strings"
	"testing"

	"github.com/headgate-io/headgate/controller/api"
)

const january = "from=2026-01-01&to=2026-02-01"

func TestUsageExports(t *testing.T) {
	r := newRig(t)
	r.use("acme", "irrigate")
	r.use("acme", "=cmd()") // what no gateway of ours sends
	r.use("other", "theirs")
	u := must[api.Usage](r, 200, r.tokens["acme"], "GET", "/v1/usage?"+january, nil)
	if len(u.Rows) != 2 || u.Rows[1].Function != "irrigate" || u.Rows[1].Day != "2026-01-02" || u.Rows[1].Version != 3 || u.Rows[1].Sums["errors"] != "1000000" ||
		u.Total["requests"] != "10000000" || u.Total["memory_byte_millis"] != "10000000000000" {
		t.Errorf("%+v", u)
	}
	u = must[api.Usage](r, 200, r.tokens["acme"], "GET", "/v1/usage?by=day&"+january, nil)
	if len(u.Rows) != 1 || u.Rows[0].Function != "" || u.Rows[0].Sums["requests"] != "10000000" {
		t.Errorf("%+v", u)
	}
	if u = must[api.Usage](r, 200, r.tokens["acme"], "GET", "/v1/usage?function=irrigate&by=function&"+january, nil); len(u.Rows) != 1 || u.Total["ok"] != "4000000" {
		t.Errorf("%+v", u)
	}
	if u = must[api.Usage](r, 200, r.tokens["acme"], "GET", "/v1/usage", nil); len(u.Rows) != 0 || u.Total["requests"] != "0" {
		t.Errorf("this month: %+v", u)
	}
	status, header, text := r.call(r.tokens["acme"], "GET", "/v1/usage.csv?"+january, nil)
	lines := strings.Split(text, "\n")
	if status != 200 || !strings.HasPrefix(header.Get("Content-Type"), "text/csv") || len(lines) != 4 ||
		!strings.HasPrefix(lines[0], "day,gateway,gateway_name,function,version,requests,errors,ok,") || !strings.HasPrefix(lines[1], "2026-01-02,acme-gone,,'=cmd(),3,5000000,1000000,4000000,") {
		t.Errorf("%d: %s", status, text)
	}
	for _, query := range []string{"from=yesterday", "to=2026-13-01", "by=colour", "from=1066-10-14"} {
		if status, _, body := r.call(r.tokens["acme"], "GET", "/v1/usage?"+query, nil); status != 422 {
			t.Errorf("%s: %d: %s", query, status, body)
		}
	}
	if status, _, _ := r.call(r.tokens["acme"], "GET", "/v1/usage?gateway=theirs", nil); status != 404 {
		t.Errorf("a gateway that is not there: %d", status)
	}
}

func TestInvoices(t *testing.T) {
	r := newRig(t)
	r.use("acme", "irrigate")
	platform, acme := r.tokens["platform"], r.tokens["acme"]
	if status, _, body := r.call(acme, "GET", "/v1/invoices/2026-01", nil); status != 404 || !strings.Contains(body, "price plan") {
		t.Errorf("without a plan: %d: %s", status, body)
	}
	plan := `{"name":"standard","currency":"EUR","rates":{"requests":{"price":"0.20","per":1000000,"free":1000000},"gb_seconds":{"price":"0.0000166667","free":2}}}`
	for _, bad := range []string{`{}`, `{"name":"x","currency":"eur","rates":{}}`, `{"name":"x","currency":"EUR","rates":{"magic":{"price":"1"}}}`, `{"name":"x","currency":"EUR","rates":{"fuel":{"price":0.1}}}`} {
		if status, _, body := r.call(platform, "PUT", "/v1/tenants/acme/plans/2026-01", bad); status != 422 && status != 400 {
			t.Errorf("%s: %d: %s", bad, status, body)
		}
	}
	must[api.PlanSince](r, 200, platform, "PUT", "/v1/tenants/acme/plans/2026-01", plan)
	preview := must[api.Invoice](r, 200, acme, "GET", "/v1/invoices/2026-01", nil)
	if preview.Number != 0 || preview.Bill.Total != "0.80" || len(preview.Bill.Lines) != 2 {
		t.Errorf("%+v", preview)
	}
	if status, _, _ := r.call(acme, "POST", "/v1/tenants/acme/invoices/2026-01", nil); status != 403 {
		t.Errorf("a tenant issues its own invoice: %d", status)
	}
	issued := must[api.Invoice](r, 201, platform, "POST", "/v1/tenants/acme/invoices/2026-01", nil, "Idempotency-Key", "one")
	if issued.Number != 1 || issued.Bill.Total != "0.80" || issued.Issued.IsZero() {
		t.Errorf("%+v", issued)
	}
	if again := must[api.Invoice](r, 201, platform, "POST", "/v1/tenants/acme/invoices/2026-01", nil, "Idempotency-Key", "one"); again.Number != 1 || again.Bill.Total != "0.80" {
		t.Errorf("the same request again: %+v", again)
	}
	if status, _, _ := r.call(platform, "POST", "/v1/tenants/acme/invoices/2026-01", nil); status != 409 {
		t.Errorf("issued twice: %d", status)
	}
	if status, _, _ := r.call(platform, "PUT", "/v1/tenants/acme/plans/2026-01", plan); status != 409 {
		t.Errorf("another plan for what is invoiced: %d", status)
	}
	if list := must[api.Page[api.Invoice]](r, 200, acme, "GET", "/v1/invoices", nil); len(list.Items) != 1 || list.Items[0].Number != 1 {
		t.Errorf("%+v", list)
	}
	_, _, text := r.call(acme, "GET", "/v1/invoices/2026-01/csv", nil)
	if want := "invoice,month,item,unit,quantity,free,amount,currency,charges\n2026-01,2026-01,requests,requests,5000000,1000000,0.80,EUR,4000000 at 0.20 per 1000000\n"; !strings.HasPrefix(text, want) {
		t.Error(text)
	}
	if plan := must[struct{ Name string }](r, 200, acme, "GET", "/v1/plan", nil); plan.Name != "standard" {
		t.Errorf("%+v", plan)
	}
	for _, month := range []string{"2026-13", "1066-10", "x"} {
		if status, _, _ := r.call(acme, "GET", "/v1/invoices/"+month, nil); status != 422 {
			t.Errorf("%s: %d", month, status)
		}
	}
}
