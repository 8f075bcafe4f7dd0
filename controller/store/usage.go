package store

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/headgate-io/headgate/sync/usage"
)

// Verdict is what became of a batch.
type Verdict string

// Verdicts. Only what was counted is in the sums.
const (
	Counted  Verdict = "counted"
	Tampered Verdict = "tampered"
	Fork     Verdict = "fork"
)

// Batch is a batch of usage as it was received.
type Batch struct {
	usage.Batch
	Verdict Verdict
	// First and Last are the minutes in it.
	First, Last int64
	Received    time.Time
}

func batchFields(b *Batch) []any {
	return []any{
		&b.Gateway, &b.Hardware, &b.Epoch, &b.Seq,
		linkOf{&b.Prev},
		linkOf{&b.Link},
		&b.Signature, &b.Data, (*string)(&b.Verdict),
		&b.First, &b.Last,
		stamp{&b.Received},
	}
}

const batchColumns = `SELECT gateway, hardware, epoch, seq, prev, link, signature, data, verdict, first, last, received FROM usage_batch `

// linkOf scans a link.
type linkOf struct{ l *usage.Link }

// Scan implements sql.Scanner.
func (l linkOf) Scan(v any) error {
	b, ok := v.([]byte)
	if !ok || len(b) != len(l.l) {
		return errors.New("a link is stored as 32 bytes")
	}
	copy(l.l[:], b)
	return nil
}

// UsageStream makes sure that a stream is known, and returns up to which number
// everything of it was received, and whether it is new.
func (t *Tx) UsageStream(ctx context.Context, s usage.Stream) (acked uint64, added bool, err error) {
	n, err := t.exec(ctx, `INSERT INTO usage_stream (gateway, hardware, epoch, acked, seen) VALUES (?, ?, ?, 0, 0)
		ON CONFLICT (gateway, hardware, epoch) DO NOTHING`, s.Gateway, s.Hardware, int64(s.Epoch))
	if err != nil {
		return 0, false, err
	}
	acked, err = one(ctx, t, func(n *uint64) []any { return []any{n} },
		`SELECT acked FROM usage_stream WHERE gateway = ? AND hardware = ? AND epoch = ?`, s.Gateway, s.Hardware, int64(s.Epoch))
	return acked, n > 0, err
}

// CountUsageStreams is how many streams of a gateway are known.
func (t *Tx) CountUsageStreams(ctx context.Context, gateway string) (int, error) {
	return one(ctx, t, func(n *int) []any { return []any{n} }, `SELECT COUNT(*) FROM usage_stream WHERE gateway = ?`, gateway)
}

// SetUsageAcked moves the mark of a stream.
func (t *Tx) SetUsageAcked(ctx context.Context, s usage.Stream, acked uint64, at time.Time) error {
	return t.change(ctx, `UPDATE usage_stream SET acked = ?, seen = ? WHERE gateway = ? AND hardware = ? AND epoch = ?`,
		int64(acked), micros(at), s.Gateway, s.Hardware, int64(s.Epoch))
}

// UsageBatch returns a batch of a stream.
func (t *Tx) UsageBatch(ctx context.Context, s usage.Stream, seq uint64) (Batch, error) {
	return one(ctx, t, batchFields, batchColumns+`WHERE gateway = ? AND hardware = ? AND epoch = ? AND seq = ?`,
		s.Gateway, s.Hardware, int64(s.Epoch), int64(seq))
}

// NextUsageBatch returns the first number of a stream from seq on that is here.
func (t *Tx) NextUsageBatch(ctx context.Context, s usage.Stream, seq uint64) (uint64, error) {
	return one(ctx, t, func(n *uint64) []any { return []any{n} },
		`SELECT seq FROM usage_batch WHERE gateway = ? AND hardware = ? AND epoch = ? AND seq >= ? ORDER BY seq LIMIT 1`,
		s.Gateway, s.Hardware, int64(s.Epoch), int64(seq))
}

// AddUsageBatch keeps a batch. ErrExists says that there is one of its number.
func (t *Tx) AddUsageBatch(ctx context.Context, b *Batch) error {
	n, err := t.exec(ctx, `INSERT INTO usage_batch (gateway, hardware, epoch, seq, prev, link, signature, data, verdict, first, last, received)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (gateway, hardware, epoch, seq) DO NOTHING`,
		b.Gateway, b.Hardware, int64(b.Epoch), int64(b.Seq), b.Prev[:], b.Link[:], b.Signature, b.Data, string(b.Verdict), b.First, b.Last, micros(b.Received))
	if err == nil && n == 0 {
		err = ErrExists
	}
	return err
}

// UsageBatches returns the batches of a gateway that have minutes from first to
// before last, oldest first.
func (t *Tx) UsageBatches(ctx context.Context, gateway string, first, last int64, limit int) ([]Batch, error) {
	return all(ctx, t, batchFields, batchColumns+`WHERE gateway = ? AND last >= ? AND first < ? ORDER BY last, hardware, epoch, seq LIMIT ?`,
		gateway, first, last, limit)
}

// UsageForgotten returns up to which number the batches of a stream were removed
// for their age.
func (t *Tx) UsageForgotten(ctx context.Context, s usage.Stream) (uint64, error) {
	return one(ctx, t, func(n *uint64) []any { return []any{n} },
		`SELECT forgotten FROM usage_stream WHERE gateway = ? AND hardware = ? AND epoch = ?`, s.Gateway, s.Hardware, int64(s.Epoch))
}

// RemoveUsageBatches removes up to limit batches received before a moment, and
// returns how many they were. The sums stay, and so does up to which number the
// batches of a stream were here: none counts twice. Only what is acknowledged
// goes, and the last batch of each stream stays, for the next one continues it.
func (t *Tx) RemoveUsageBatches(ctx context.Context, before time.Time, limit int) (int64, error) {
	old, err := all(ctx, t, func(b *usage.Batch) []any { return []any{&b.Gateway, &b.Hardware, &b.Epoch, &b.Seq} },
		`SELECT b.gateway, b.hardware, b.epoch, b.seq FROM usage_batch b
		JOIN usage_stream s ON s.gateway = b.gateway AND s.hardware = b.hardware AND s.epoch = b.epoch
		WHERE b.received < ? AND b.seq < s.acked ORDER BY b.received LIMIT ?`, micros(before), limit)
	if err != nil {
		return 0, err
	}
	newest := map[usage.Stream]uint64{}
	for i := range old {
		newest[old[i].Stream] = max(newest[old[i].Stream], old[i].Seq)
	}
	removed := int64(0)
	// In one order, so that two replicas that remove do not wait for each other.
	for _, s := range slices.SortedFunc(maps.Keys(newest), func(a, b usage.Stream) int { return cmp.Compare(a.Gateway, b.Gateway) }) {
		seq := newest[s]
		if err := t.Lock(ctx, "usage", s.Gateway); err != nil {
			return 0, err
		}
		err := t.change(ctx, `UPDATE usage_stream SET forgotten = ? WHERE gateway = ? AND hardware = ? AND epoch = ? AND forgotten < ?`,
			int64(seq), s.Gateway, s.Hardware, int64(s.Epoch), int64(seq))
		if err != nil && !errors.Is(err, ErrNotFound) {
			return 0, err
		}
		n, err := t.exec(ctx, `DELETE FROM usage_batch WHERE gateway = ? AND hardware = ? AND epoch = ? AND seq <= ?`,
			s.Gateway, s.Hardware, int64(s.Epoch), int64(seq))
		if err != nil {
			return 0, err
		}
		removed += n
	}
	return removed, nil
}

// Day is what one version of a function did on one gateway in one day.
type Day struct {
	Tenant string
	// Day counts days since 1970, in UTC.
	Day      int64
	Gateway  string
	Function string
	Version  int
	usage.Totals
}

// MinutesPerDay is how many minutes share a Day.
const MinutesPerDay = 24 * 60

func dayFields(d *Day) []any {
	out := []any{&d.Tenant, &d.Day, &d.Gateway, &d.Function, &d.Version}
	for _, f := range d.Fields() {
		out = append(out, f)
	}
	return out
}

var (
	sumColumns  = func() string { n := usage.FieldNames(); return strings.Join(n[:], ", ") }()
	dayColumns  = `SELECT tenant, day, gateway, fn, version, ` + sumColumns + ` FROM usage_day `
	sqlAddUsage = addUsageStatement()
)

// addUsageStatement adds to what is there. A sum that would pass the largest
// integer stays there.
func addUsageStatement() string {
	var b strings.Builder
	b.WriteString(`INSERT INTO usage_day (tenant, day, gateway, fn, version, ` + sumColumns + `) VALUES (?, ?, ?, ?, ?`)
	names := usage.FieldNames()
	b.WriteString(strings.Repeat(", ?", len(names)) + `) ON CONFLICT (tenant, day, gateway, fn, version) DO UPDATE SET `)
	for i, n := range names {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(n + ` = CASE WHEN usage_day.` + n + ` > 9223372036854775807 - excluded.` + n +
			` THEN 9223372036854775807 ELSE usage_day.` + n + ` + excluded.` + n + ` END`)
	}
	return b.String()
}

// AddUsage adds to a day's sums.
func (t *Tx) AddUsage(ctx context.Context, d *Day) error {
	args := []any{d.Tenant, d.Day, d.Gateway, d.Function, d.Version}
	for _, f := range d.Fields() {
		args = append(args, int64(*f))
	}
	_, err := t.exec(ctx, sqlAddUsage, args...)
	return err
}

// UsageDays returns a tenant's sums of the days from first to before last,
// ordered by day, gateway, function and version; an empty gateway is all.
func (t *Tx) UsageDays(ctx context.Context, tenant, gateway string, first, last int64, after Day, limit int) ([]Day, error) {
	return all(ctx, t, dayFields, dayColumns+`WHERE tenant = ? AND day >= ? AND day < ? AND (? = '' OR gateway = ?)
		AND (day, gateway, fn, version) > (?, ?, ?, ?) ORDER BY day, gateway, fn, version LIMIT ?`,
		tenant, first, last, gateway, gateway, after.Day, after.Gateway, after.Function, after.Version, limit)
}

// Finding is something that is wrong with a batch, or with its absence.
type Finding struct {
	ID, Tenant string
	usage.Stream
	Seq uint64
	// Kind is gap, fork, tampered or foreign; Detail is for a person.
	Kind, Detail string
	At           time.Time
}

func findingFields(f *Finding) []any {
	return []any{&f.ID, &f.Tenant, &f.Gateway, &f.Hardware, &f.Epoch, &f.Seq, &f.Kind, &f.Detail, stamp{&f.At}}
}

// AddFinding keeps a finding; the first of a kind for a batch counts.
func (t *Tx) AddFinding(ctx context.Context, f *Finding) (added bool, err error) {
	n, err := t.exec(ctx, `INSERT INTO usage_finding (id, tenant, gateway, hardware, epoch, seq, kind, detail, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (gateway, hardware, epoch, seq, kind) DO NOTHING`,
		newTimeID(f.At), f.Tenant, f.Gateway, f.Hardware, int64(f.Epoch), int64(f.Seq), f.Kind, f.Detail, micros(f.At))
	return n > 0, err
}

// Findings lists a tenant's findings, newest first: those before p.After.
func (t *Tx) Findings(ctx context.Context, tenant string, p Page) ([]Finding, error) {
	before := p.After
	if before == "" {
		before = "~" // after every identifier
	}
	return all(ctx, t, findingFields, `SELECT id, tenant, gateway, hardware, epoch, seq, kind, detail, at FROM usage_finding
		WHERE tenant = ? AND id < ? ORDER BY id DESC LIMIT ?`, tenant, before, p.Limit)
}
