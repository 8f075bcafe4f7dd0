//go:build e2e

package examples

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestOrders(t *testing.T) {
	bank := newBank(t, "sesame")
	example{
		folder: "orders",
		devices: map[string]device{
			"warehouse": {publish: []string{"warehouse/+/delivered"}},
			"packer":    {subscribe: []string{"warehouse/+/pick"}},
		},
		scopes:  []string{"call:accept"},
		secrets: map[string]map[string]string{"charge": {"payment_key": "sesame"}},
		edit:    map[string]string{"http://127.0.0.1:4242": bank.url()},
		check: func(ctx context.Context, s *site) error {
			bank.reset()
			return checkOrders(ctx, s, bank)
		},
		without: map[string]string{
			"accept":  "POST /orders: answered 404",
			"reserve": "stock of pump",
			"charge":  "is accepted, want shipped",
			"ship":    "enqueue orders/ship: no function of this gateway takes from that queue",
		},
	}.run(t)
}

// order is what a shop sends; want is what has to become of it.
type order struct {
	ID     string `json:"id"`
	Item   string `json:"item"`
	Amount int    `json:"amount"`
	Card   string `json:"card"`

	want string
}

var prices = map[string]int{"pump": 120, "hose": 15, "valve": 40}

// stocked is what is delivered: there are few valves, and one pump.
var stocked = map[string]int{"pump": 1, "hose": 500, "valve": 5}

func checkOrders(ctx context.Context, s *site, b *bank) error {
	packer, err := s.listen(ctx, "packer")
	if err != nil {
		return err
	}
	defer packer.Close()
	for _, item := range []string{"pump", "hose", "valve"} {
		if err := s.publish(ctx, "warehouse", "warehouse/"+item+"/delivered", map[string]int{"amount": stocked[item]}); err != nil {
			return err
		}
		if err := s.until(ctx, func() error { return s.stock(ctx, item, stocked[item]) }); err != nil {
			return err
		}
	}
	all := ordersAtRandom()
	for _, o := range all {
		if err := s.order(ctx, o); err != nil {
			return err
		}
	}
	if err := s.become(ctx, all); err != nil {
		return err
	}
	// The one pump is free again once the first order's card is declined, and
	// when nobody knows whether the second one's money moved.
	for _, o := range []order{
		{"p-1", "pump", 1, "declined", "declined"},
		{"p-2", "pump", 1, "silent", "failed"},
		{"p-3", "pump", 1, "visa", "shipped"},
		{"p-4", "pump", 1, "visa", "out of stock"},
	} {
		if err := s.order(ctx, o); err != nil {
			return err
		}
		if err := s.become(ctx, []order{o}); err != nil {
			return err
		}
		if err := s.settle(ctx, packer); err != nil {
			return err
		}
		all = append(all, o)
	}
	return s.balance(ctx, b, packer, all)
}

// ordersAtRandom are orders of hoses and valves, and what will be of each.
func ordersAtRandom() (list []order) {
	random := rand.New(rand.NewPCG(3, 3))
	valves := stocked["valve"]
	for n := range 30 {
		o := order{fmt.Sprintf("o-%d", n), "hose", 1 + random.IntN(9), "visa", "shipped"}
		switch random.IntN(6) {
		case 0:
			o.Item, o.Amount = "valve", 1
			if valves == 0 {
				o.want = "out of stock"
			} else {
				valves--
			}
		case 1:
			o.Card, o.want = "declined", "declined"
		case 2:
			o.Item, o.want = "anvil", "rejected"
		}
		list = append(list, o)
	}
	return list
}

// order sends an order, twice as clients do that heard no answer.
func (s *site) order(ctx context.Context, o order) error {
	body, err := json.Marshal(o)
	if err != nil {
		return err
	}
	for range 2 {
		a, err := s.call(ctx, "/orders", "-d", string(body))
		if err == nil {
			err = a.demand("POST /orders", 202, nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// become waits until every order is what it has to be.
func (s *site) become(ctx context.Context, all []order) error {
	return s.until(ctx, func() error {
		for _, o := range all {
			a, err := s.call(ctx, "/orders/"+o.ID)
			if err != nil {
				return err
			}
			var is struct{ Status string }
			if err := json.Unmarshal(a.body, &is); err != nil || is.Status != o.want {
				return fmt.Errorf("order %s of %d %s is %s, want %s: %v", o.ID, o.Amount, o.Item, is.Status, o.want, a)
			}
		}
		return nil
	})
}

func (s *site) stock(ctx context.Context, item string, want int) error {
	out, err := s.state(ctx, "reserve", "stock/"+item)
	if err != nil {
		return err
	}
	if string(out) != fmt.Sprint(want) {
		return fmt.Errorf("stock of %s: %q, want %d", item, out, want)
	}
	return nil
}

// balance compares the three ledgers: goods, parcels and money.
func (s *site) balance(ctx context.Context, b *bank, packer *listener, all []order) error {
	type parcel struct {
		Order  string
		Amount int
		Parcel int
	}
	var picks []parcel
	for _, m := range packer.messages() {
		p := parcel{}
		if m.Topic == endTopic {
			continue
		}
		if err := json.Unmarshal([]byte(m.Payload), &p); err != nil {
			return err
		}
		picks = append(picks, p)
	}
	slices.SortFunc(picks, func(a, b parcel) int { return cmp.Compare(a.Parcel, b.Parcel) })
	for n, p := range picks {
		if p.Parcel != n+1 {
			return fmt.Errorf("parcels are numbered %v", picks)
		}
	}
	left, charged, shipped := map[string]int{}, map[string]int{}, 0
	for item, amount := range stocked {
		left[item] = amount
	}
	for _, o := range all {
		n := 0
		for _, p := range picks {
			if p.Order == o.ID && p.Amount == o.Amount {
				n++
			}
		}
		if o.want != "shipped" {
			if n != 0 {
				return fmt.Errorf("order %s is %s, and was packed %d times", o.ID, o.want, n)
			}
			continue
		}
		if n != 1 {
			return fmt.Errorf("order %s was packed %d times", o.ID, n)
		}
		shipped++
		left[o.Item] -= o.Amount
		charged[o.ID] = o.Amount * prices[o.Item]
	}
	if len(picks) != shipped {
		return fmt.Errorf("%d parcels for %d orders", len(picks), shipped)
	}
	for item, amount := range left {
		if err := s.stock(ctx, item, amount); err != nil {
			return err
		}
	}
	if err := b.demand(charged); err != nil {
		return err
	}
	s.say("%d orders, each sent twice: %d shipped, each charged and packed once; %s", len(all), shipped, b)
	return nil
}
