package ingest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/headgate-io/headgate/controller/store"
	"github.com/headgate-io/headgate/internal/fault"
	"github.com/headgate-io/headgate/sync/usage"
	"github.com/headgate-io/headgate/sync/wire"
)

// intake is one batch on its way into the database.
type intake struct {
	s       *Service
	gateway store.Gateway
	batch   store.Batch
	found   []store.Finding
	counted bool
}

func (s *Service) usage(ctx context.Context, gateway string, m *wire.Usage) (*wire.Ack, error) {
	batch, reason := check(gateway, m)
	if reason != "" {
		s.malformed.Add(1)
		return &wire.Ack{Refused: []wire.Refusal{{Stream: m.Stream, Seq: m.Seq, Reason: reason}}}, nil
	}
	ack := &wire.Ack{}
	var in intake
	err := s.store.Update(ctx, func(tx *store.Tx) (err error) {
		in = intake{s: s, batch: store.Batch{Batch: *batch, Received: s.now()}}
		ack.Marks, ack.Refused = nil, nil
		if in.gateway, err = member(ctx, tx, gateway); err != nil {
			return err
		}
		acked, err := known(ctx, tx, batch.Stream)
		if err != nil {
			return err
		}
		err = in.take(ctx, tx)
		if errors.Is(err, usage.ErrForeignKey) { // committed, for the finding
			ack.Refused = []wire.Refusal{{Stream: m.Stream, Seq: m.Seq, Reason: err.Error()}}
			return nil
		}
		if err != nil {
			return err
		}
		if acked, err = advance(ctx, tx, batch.Stream, acked); err != nil {
			return err
		}
		ack.Marks = []wire.Mark{{Stream: m.Stream, UpTo: acked}}
		return tx.SetUsageAcked(ctx, batch.Stream, acked, s.now())
	})
	if err != nil {
		return nil, err
	}
	if in.counted {
		s.batches.Add(1)
	} else if len(in.found) == 0 && len(ack.Refused) == 0 {
		s.repeated.Add(1)
	}
	s.tell(in.found)
	return ack, nil
}

// check reads the message, or says what is wrong with its form.
func check(gateway string, m *wire.Usage) (b *usage.Batch, reason string) {
	b, err := m.Batch(gateway)
	switch {
	case err != nil:
		return nil, err.Error()
	case m.Seq == 0 || m.Seq > maxNumber || !sensible(m.Stream):
		return nil, fmt.Sprintf("number %d of epoch %d of hardware %.64q is out of range", m.Seq, m.Epoch, m.Hardware)
	}
	return b, ""
}

// take keeps the batch, and counts it where it is in order.
func (in *intake) take(ctx context.Context, tx *store.Tx) error {
	b := &in.batch
	closings, wrong, err := in.verify(ctx, tx)
	if err != nil {
		return err
	}
	if errors.Is(wrong, usage.ErrForeignKey) {
		return errors.Join(wrong, in.find(ctx, tx, "foreign", "the signature is by no key that this gateway ever had"))
	}
	had, err := tx.UsageBatch(ctx, b.Stream, b.Seq)
	switch {
	case err == nil && had.Link == b.Link && had.Prev == b.Prev:
		if fault.On(fault.NoIdempotencyKey) {
			return in.count(ctx, tx, closings)
		}
		return nil
	case err == nil:
		return in.find(ctx, tx, "fork", fmt.Sprintf("two batches have this number: link %s was here first, %s came now", had.Link, b.Link))
	case !errors.Is(err, store.ErrNotFound):
		return err
	}
	forgotten, err := tx.UsageForgotten(ctx, b.Stream)
	if err != nil || b.Seq <= forgotten {
		return err
	}
	if b.Verdict, err = in.judge(ctx, tx, wrong); err != nil {
		return err
	}
	b.First, b.Last = span(closings)
	if err := tx.AddUsageBatch(ctx, b); err != nil || b.Verdict != store.Counted {
		return err
	}
	return in.count(ctx, tx, closings)
}

// verify tries the keys that the gateway has had, the newest first. What is
// wrong with the batch is wrong, err is of the database.
func (in *intake) verify(ctx context.Context, tx *store.Tx) (closings []usage.Closing, wrong, err error) {
	keys, err := signers(ctx, tx, in.gateway.ID)
	if err != nil {
		return nil, nil, err
	}
	wrong = usage.ErrForeignKey
	for _, key := range slices.Backward(keys) {
		if closings, wrong = in.batch.Verify(key); !errors.Is(wrong, usage.ErrForeignKey) {
			break
		}
	}
	return closings, wrong, nil
}

// judge says whether a batch is counted. It must continue the one before, and
// the one after it, where they are here.
func (in *intake) judge(ctx context.Context, tx *store.Tx, wrong error) (store.Verdict, error) {
	b := &in.batch
	if wrong != nil {
		return store.Tampered, in.find(ctx, tx, "tampered", "rows of this batch were changed on the gateway after they were metered: it is kept and not counted")
	}
	prev, err := b.Genesis(), error(nil)
	if b.Seq > 1 {
		var before store.Batch
		if before, err = tx.UsageBatch(ctx, b.Stream, b.Seq-1); err == nil {
			prev = before.Link
		} else {
			prev = b.Prev // not here yet
		}
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return "", err
	}
	next := b.Link
	after, err := tx.UsageBatch(ctx, b.Stream, b.Seq+1)
	if err == nil {
		next = after.Prev
	} else if !errors.Is(err, store.ErrNotFound) {
		return "", err
	}
	if b.Follows(prev) != nil || next != b.Link {
		return store.Fork, in.find(ctx, tx, "fork", "this batch does not continue its neighbours: there are two histories of this gateway")
	}
	return store.Counted, nil
}

func (in *intake) find(ctx context.Context, tx *store.Tx, kind, detail string) error {
	return in.s.find(ctx, tx, &in.gateway, in.batch.Stream, in.batch.Seq, kind, detail, &in.found)
}

// count adds the batch to the days, in one order everywhere.
func (in *intake) count(ctx context.Context, tx *store.Tx, closings []usage.Closing) error {
	days := map[store.Day]*usage.Totals{}
	for _, c := range closings {
		for i := range c {
			r := &c[i]
			key := store.Day{Tenant: in.gateway.Tenant, Day: floorDay(r.Minute), Gateway: in.gateway.ID, Function: r.Function, Version: r.Version}
			if days[key] == nil {
				days[key] = new(usage.Totals)
			}
			days[key].Merge(&r.Totals)
		}
	}
	rows := make([]store.Day, 0, len(days))
	for key, totals := range days {
		key.Totals = *totals
		rows = append(rows, key)
	}
	slices.SortFunc(rows, func(a, b store.Day) int {
		return cmp.Or(cmp.Compare(a.Day, b.Day), cmp.Compare(a.Function, b.Function), cmp.Compare(a.Version, b.Version))
	})
	for i := range rows {
		if err := tx.AddUsage(ctx, &rows[i]); err != nil {
			return err
		}
	}
	in.counted = true
	return nil
}

func floorDay(minute int64) int64 {
	if minute < 0 {
		minute -= store.MinutesPerDay - 1
	}
	return minute / store.MinutesPerDay
}

// span returns the first and last minute of closings.
func span(closings []usage.Closing) (first, last int64) {
	some := false
	for _, c := range closings {
		for i := range c {
			if m := c[i].Minute; !some {
				first, last, some = m, m, true
			} else {
				first, last = min(first, m), max(last, m)
			}
		}
	}
	return first, last
}
