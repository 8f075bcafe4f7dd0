package api

import (
	"time"

	"github.com/headgate-io/headgate/controller/billing"
)

// Usage is what functions used, added up.
type Usage struct {
	From string     `json:"from" doc:"First day, in UTC"`
	To   string     `json:"to" doc:"Day after the last"`
	Rows []UsageRow `json:"rows"`
	// Total is over all rows.
	Total Sums `json:"total"`
}

// UsageRow is one part of usage. What rows are not apart by is left out.
type UsageRow struct {
	Day         string `json:"day,omitempty"`
	Gateway     string `json:"gateway,omitempty"`
	GatewayName string `json:"gateway_name,omitempty" doc:"Left out for a gateway that was deleted"`
	Function    string `json:"function,omitempty"`
	Version     int    `json:"version,omitempty"`
	Sums        Sums   `json:"sums"`
}

// Sums are amounts by name: requests, errors, and those of package usage, in
// its units. They are exact integers in quotes: some pass 2⁵³.
type Sums map[string]string

// Invoice is what a tenant owes for a month.
type Invoice struct {
	Number   int64        `json:"number,omitempty" doc:"Left out until it is issued"`
	Issued   time.Time    `json:"issued,omitzero"`
	Bill     billing.Bill `json:"bill"`
	Estimate string       `json:"estimate,omitempty" doc:"What the total comes to if the month goes on as it did"`
}

// PlanSince is a price plan and from when on it holds.
type PlanSince struct {
	Since string       `json:"since,omitempty" doc:"A month, as 2026-11"`
	Plan  billing.Plan `json:"plan"`
}
