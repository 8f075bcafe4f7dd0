package store

import (
	"context"
	"time"
)

// Reported is what a gateway says of how far it follows.
type Reported struct {
	Gateway string
	At      time.Time
	// Run tells one run of its process from the next, Seq one report of a run from
	// the next.
	Run, Seq uint64
	// Document is the wire.Reported.
	Document []byte
}

func reportedFields(r *Reported) []any {
	return []any{&r.Gateway, stamp{&r.At}, unsigned{&r.Run}, &r.Seq, &r.Document}
}

// SetReported keeps what a gateway says. fresh is false for what came twice, or
// late: an earlier report of its run, or one of the run before.
func (t *Tx) SetReported(ctx context.Context, r Reported) (fresh bool, err error) {
	n, err := t.exec(ctx, `INSERT INTO reported (gateway, at, run, run_before, seq, document) VALUES (?, ?, ?, 0, ?, ?)
		ON CONFLICT (gateway) DO UPDATE SET at = excluded.at, run = excluded.run, seq = excluded.seq, document = excluded.document,
		run_before = CASE WHEN reported.run = excluded.run THEN reported.run_before ELSE reported.run END
		WHERE reported.run = excluded.run AND reported.seq < excluded.seq OR reported.run <> excluded.run AND reported.run_before <> excluded.run`,
		r.Gateway, micros(r.At), int64(r.Run), int64(r.Seq), r.Document)
	return n > 0, err
}

// ReportedOf returns what those of some gateways say that ever said anything.
func (t *Tx) ReportedOf(ctx context.Context, gateways []string) ([]Reported, error) {
	list, args := among(gateways)
	return all(ctx, t, reportedFields, `SELECT gateway, at, run, seq, document FROM reported WHERE gateway IN `+list, args...)
}

// SetSeen notes that a gateway spoke.
func (t *Tx) SetSeen(ctx context.Context, gateway string, at time.Time) error {
	_, err := t.exec(ctx, `UPDATE gateway_status SET seen = ? WHERE gateway = ? AND seen < ?`, micros(at), gateway, micros(at))
	return err
}

// Question is asked of a gateway.
type Question struct {
	ID, Gateway string
	// What, Function and Lines are as in wire.Ask.
	What, Function string
	Lines          int
	Asked          time.Time
	AskedBy        string
	Expires        time.Time
	Answered       time.Time
	Answer         []byte
	Error          string
	Cut            bool
}

func questionFields(q *Question) []any {
	return []any{
		&q.ID, &q.Gateway, &q.What, &q.Function, &q.Lines,
		stamp{&q.Asked},
		&q.AskedBy,
		stamp{&q.Expires},
		stamp{&q.Answered},
		&q.Answer, &q.Error,
		boolean{&q.Cut},
	}
}

const questionColumns = `SELECT id, gateway, what, fn, lines, asked, asked_by, expires, answered, answer, error, cut FROM question `

// AddQuestion adds a question and returns its ID.
func (t *Tx) AddQuestion(ctx context.Context, q Question) (string, error) {
	q.ID = newTimeID(q.Asked)
	_, err := t.exec(ctx, `INSERT INTO question (id, gateway, what, fn, lines, asked, asked_by, expires, answered, answer, error, cut)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, ?, '', 0)`,
		q.ID, q.Gateway, q.What, q.Function, q.Lines, micros(q.Asked), q.AskedBy, micros(q.Expires), []byte{})
	return q.ID, err
}

// Question returns a question of a gateway.
func (t *Tx) Question(ctx context.Context, gateway, id string) (Question, error) {
	return one(ctx, t, questionFields, questionColumns+`WHERE gateway = ? AND id = ?`, gateway, id)
}

// Questions lists what was asked of a gateway, newest first: those before
// p.After.
func (t *Tx) Questions(ctx context.Context, gateway string, p Page) ([]Question, error) {
	before := p.After
	if before == "" {
		before = "~" // after every identifier
	}
	return all(ctx, t, questionFields, questionColumns+`WHERE gateway = ? AND id < ? ORDER BY id DESC LIMIT ?`, gateway, before, p.Limit)
}

// OpenQuestions are those of a gateway that wait for an answer.
func (t *Tx) OpenQuestions(ctx context.Context, gateway string, now time.Time) ([]Question, error) {
	return all(ctx, t, questionFields, questionColumns+`WHERE gateway = ? AND answered = 0 AND expires > ? ORDER BY id LIMIT 100`, gateway, micros(now))
}

// SetAnswer keeps the first answer of a gateway to a question; ErrNotFound is
// one that nobody waits for.
func (t *Tx) SetAnswer(ctx context.Context, q Question) error {
	return t.change(ctx, `UPDATE question SET answered = ?, answer = ?, error = ?, cut = ? WHERE gateway = ? AND id = ? AND answered = 0`,
		micros(q.Answered), orEmpty(q.Answer), q.Error, boolean{&q.Cut}.int(), q.Gateway, q.ID)
}

// RemoveQuestions removes up to limit questions that expired before a moment,
// and returns how many they were.
func (t *Tx) RemoveQuestions(ctx context.Context, before time.Time, limit int) (int64, error) {
	return t.exec(ctx, `DELETE FROM question WHERE id IN (SELECT id FROM question WHERE id < ? AND expires < ? ORDER BY id LIMIT ?)`,
		newTimeID(before)[:14], micros(before), limit)
}

// Telemetry is the newest message of a topic on a gateway.
type Telemetry struct {
	Gateway, Topic string
	// At is when it came to the gateway, by its clock, Received when it came here.
	At, Received time.Time
	Run, Seq     uint64
	// Count is how many came since the one before that was sent.
	Count   uint64
	Payload []byte
}

func telemetryFields(v *Telemetry) []any {
	return []any{&v.Gateway, &v.Topic, stamp{&v.At}, stamp{&v.Received}, &v.Count, &v.Payload}
}

// SetTelemetry keeps a message that is not older than the one that is here.
func (t *Tx) SetTelemetry(ctx context.Context, v Telemetry) error {
	_, err := t.exec(ctx, `INSERT INTO telemetry (gateway, topic, at, received, run, run_before, seq, count, payload) VALUES (?, ?, ?, ?, ?, 0, ?, ?, ?)
		ON CONFLICT (gateway, topic) DO UPDATE SET at = excluded.at, received = excluded.received, run = excluded.run, seq = excluded.seq, count = excluded.count,
		payload = excluded.payload, run_before = CASE WHEN telemetry.run = excluded.run THEN telemetry.run_before ELSE telemetry.run END
		WHERE telemetry.run = excluded.run AND telemetry.seq < excluded.seq OR telemetry.run <> excluded.run AND telemetry.run_before <> excluded.run`,
		v.Gateway, v.Topic, micros(v.At), micros(v.Received), int64(v.Run), int64(v.Seq), int64(v.Count), orEmpty(v.Payload))
	return err
}

// TelemetryOf lists the topics of a gateway.
func (t *Tx) TelemetryOf(ctx context.Context, gateway string, p Page) ([]Telemetry, error) {
	return all(ctx, t, telemetryFields, `SELECT gateway, topic, at, received, count, payload FROM telemetry WHERE gateway = ? AND topic > ? ORDER BY topic LIMIT ?`,
		gateway, p.After, p.Limit)
}

// TrimTelemetry removes the topics of a gateway that had nothing new for longest,
// beyond the newest keep, and returns how many they were.
func (t *Tx) TrimTelemetry(ctx context.Context, gateway string, keep int) (int64, error) {
	return t.exec(ctx, `DELETE FROM telemetry WHERE gateway = ? AND topic NOT IN
		(SELECT topic FROM telemetry WHERE gateway = ? ORDER BY received DESC, topic LIMIT ?)`, gateway, gateway, keep)
}
