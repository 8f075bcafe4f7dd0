package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"

	"github.com/headgate-io/headgate/controller/store"
	"github.com/headgate-io/headgate/sync/wire"
)

// Bounds of what gateways say.
const (
	maxTopicBytes   = 1024
	maxPayloadBytes = 4 << 10
	// maxReported bounds a report as it is kept: one of wire.MaxFunctions functions
	// has half of it.
	maxReported = 512 << 10
	// TopicsKept is how many topics of a gateway are kept.
	TopicsKept = 2 * wire.MaxTelemetry
	// MaxAnswerText bounds an answer when it is unpacked.
	MaxAnswerText = 8 << 20
)

// member returns a gateway that may speak; store.ErrNotFound is one that may not,
// or not any more.
func member(ctx context.Context, tx *store.Tx, id string) (store.Gateway, error) {
	g, err := tx.Gateway(ctx, id)
	if err == nil && !g.Revoked.IsZero() {
		err = store.ErrNotFound
	}
	return g, err
}

// Hello takes the revision that a gateway which has just connected follows, and
// returns what is to be said to it: what is wanted of it where it does not know
// that, and what was asked of it while it was away.
func (s *Service) Hello(ctx context.Context, gateway string, revision uint64) ([]any, error) {
	var d store.Desired
	var questions []store.Question
	settled := false
	err := s.store.View(ctx, func(tx *store.Tx) error {
		g, err := member(ctx, tx, gateway)
		if err != nil {
			return err
		}
		f, err := tx.Fleet(ctx, g.Tenant)
		if err != nil {
			return err
		}
		if d, err = tx.Desired(ctx, gateway); err != nil {
			return err
		}
		none := d.Touched < 0 && f.Revision == 0 && revision == 0
		settled = none || d.Touched >= 0 && d.Fleet == max(f.Revision, 1) && d.Follows == revision && revision <= d.Revision
		questions, err = tx.OpenQuestions(ctx, gateway, s.now())
		return err
	})
	if err == nil && !settled {
		d, err = s.settle(ctx, gateway, revision)
	}
	if err != nil {
		return nil, err
	}
	var out []any
	if d.Revision != revision && d.Revision > 0 {
		m, err := s.read(d)
		if err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	for _, q := range questions {
		out = append(out, ask(q))
	}
	s.sent.Add(uint64(len(out)))
	return out, nil
}

// settle makes a gateway's desired state what it is to be now, and notes what
// the gateway knows of.
func (s *Service) settle(ctx context.Context, gateway string, revision uint64) (d store.Desired, err error) {
	if _, err := s.make(ctx, []string{gateway}, map[string]uint64{gateway: revision}); err != nil {
		return d, err
	}
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		if err := tx.SetFollows(ctx, gateway, min(revision, maxNumber)); err != nil {
			return err
		}
		d, err = tx.Desired(ctx, gateway)
		return err
	})
	return d, err
}

// Reported keeps what a gateway says of its state, and returns what is to be said
// to it. What came twice or late changes nothing.
func (s *Service) Reported(ctx context.Context, gateway string, m *wire.Reported) ([]any, error) {
	if len(m.Functions) > wire.MaxFunctions || m.Seq > maxNumber || m.Start == 0 {
		return nil, fmt.Errorf("%w: it reports %d functions, as number %d of run %d", ErrMalformed, len(m.Functions), m.Seq, m.Start)
	}
	trim(m)
	document, err := s.codec.Encode(m)
	if err != nil {
		return nil, err
	}
	if len(document) > maxReported {
		return nil, fmt.Errorf("%w: its report has %d bytes, %d at most", ErrMalformed, len(document), maxReported)
	}
	var d store.Desired
	fresh := false
	now := s.now().UTC().Truncate(time.Microsecond)
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		g, err := member(ctx, tx, gateway)
		if err != nil {
			return err
		}
		if err := tx.SetSeen(ctx, gateway, now); err != nil {
			return err
		}
		fresh, err = tx.SetReported(ctx, store.Reported{Gateway: gateway, At: now, Run: m.Start, Seq: m.Seq, Document: document})
		if err != nil || !fresh {
			return err
		}
		if err := errors.Join(tx.SetFollows(ctx, gateway, min(m.Revision, maxNumber)), tx.SetFixed(ctx, gateway, m.System.Fixed.Sentence())); err != nil {
			return err
		}
		if err := observe(ctx, tx, g, m, now); err != nil {
			return err
		}
		d, err = tx.Desired(ctx, gateway)
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case !fresh:
		s.late.Add(1)
		return nil, nil
	}
	s.reports.Add(1)
	if m.Revision > d.Revision {
		if d, err = s.settle(ctx, gateway, m.Revision); err != nil {
			return nil, err
		}
	}
	if m.Revision == d.Revision || d.Revision == 0 {
		return nil, nil
	}
	want, err := s.read(d)
	s.sent.Add(1)
	return []any{want}, err
}

// trim bounds the words of a report, to what is kept and shown.
func trim(m *wire.Reported) {
	s := &m.System
	m.Error, s.Note, s.Version, s.FailedAttempt = short(m.Error), short(s.Note), short(s.Version), short(s.FailedAttempt)
	s.Fixed = wire.Bringer(short(string(s.Fixed)))
	for i := range m.Functions {
		f := &m.Functions[i]
		f.Note, f.Stage = short(f.Note), short(f.Stage)
	}
}

// observe notes what a gateway says of the deployments under way that have
// reached it.
func observe(ctx context.Context, tx *store.Tx, g store.Gateway, m *wire.Reported, now time.Time) error {
	reached, err := tx.ReachedOpen(ctx, g.ID)
	if err != nil {
		return err
	}
	for _, x := range reached {
		d, err := tx.Deployment(ctx, x.Deployment)
		if err != nil {
			return err
		}
		if !Update(&x, d, g.Arch, m, now) {
			continue
		}
		if err := tx.SetReached(ctx, x); err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
	return nil
}

// Faults that a caller may branch on.
var (
	// ErrMalformed is what a gateway says that makes no sense.
	ErrMalformed = errors.New("malformed")
	// ErrTooMany is more than a tenant may want.
	ErrTooMany = errors.New("too many")
)

// Answer keeps a gateway's answer.
func (s *Service) Answer(ctx context.Context, gateway string, m *wire.Answer) error {
	q := store.Question{ID: m.ID, Gateway: gateway, Answered: s.now(), Answer: m.Body, Error: short(m.Error), Cut: m.Cut}
	if len(m.Body) > 0 {
		if _, err := Unpack(m.Body); err != nil {
			q.Answer, q.Error = nil, short("the gateway's answer cannot be read: "+err.Error())
		}
	}
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		if _, err := member(ctx, tx, gateway); err != nil {
			return err
		}
		err := tx.SetAnswer(ctx, q)
		if errors.Is(err, store.ErrNotFound) {
			s.lost.Add(1)
			return nil
		}
		if err == nil {
			s.answers.Add(1)
		}
		return err
	})
	return err
}

// Unpack reads the JSON of an answer.
func Unpack(body []byte) (json.RawMessage, error) {
	if len(body) > wire.MaxAnswerBytes {
		return nil, fmt.Errorf("%d bytes, %d at most", len(body), wire.MaxAnswerBytes)
	}
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(MaxAnswerText))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	text, err := d.DecodeAll(body, nil)
	if err != nil {
		return nil, err
	}
	if !json.Valid(text) {
		return nil, errors.New("it is no JSON")
	}
	return text, nil
}

// Telemetry keeps messages of topics, and returns the acknowledgement.
func (s *Service) Telemetry(ctx context.Context, gateway string, m *wire.Telemetry) (*wire.Taken, error) {
	if len(m.Values) > wire.MaxTelemetry || m.Seq > maxNumber {
		return nil, fmt.Errorf("%w: %d topics at once, %d at most", ErrMalformed, len(m.Values), wire.MaxTelemetry)
	}
	var kept, cut uint64
	var trimmed int64
	now := s.now()
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		kept, cut = 0, 0
		if _, err := member(ctx, tx, gateway); err != nil {
			return err
		}
		for _, v := range m.Values {
			if v.Topic == "" || len(v.Topic) > maxTopicBytes || len(v.Payload) > maxPayloadBytes || !utf8.ValidString(v.Topic) || strings.ContainsFunc(v.Topic, unicode.IsControl) {
				cut++
				continue
			}
			kept++
			err := tx.SetTelemetry(ctx, store.Telemetry{
				Gateway: gateway, Topic: v.Topic, At: moment(v.Time), Received: now, Run: m.Start, Seq: m.Seq,
				Count: min(v.Count, maxNumber), Payload: v.Payload,
			})
			if err != nil {
				return err
			}
		}
		if err := tx.SetSeen(ctx, gateway, now); err != nil {
			return err
		}
		var err error
		trimmed, err = tx.TrimTelemetry(ctx, gateway, TopicsKept)
		return err
	})
	if err != nil {
		return nil, err
	}
	s.telemetry.Add(kept)
	s.cut.Add(cut)
	s.trimmed.Add(uint64(max(trimmed, 0)))
	return &wire.Taken{Start: m.Start, Seq: m.Seq}, nil
}

// moment is a time that a gateway names, within what can be written.
func moment(micros int64) time.Time {
	return time.UnixMicro(min(max(micros, 0), maxMoment))
}

// maxMoment is the end of the year 9998, in microseconds.
const maxMoment = 253_370_764_800_000_000

func ask(q store.Question) *wire.Ask {
	return &wire.Ask{ID: q.ID, What: q.What, Function: q.Function, Lines: q.Lines, Expires: q.Expires.UnixMicro()}
}

// Ask sends a question at once; a gateway that is away hears it when it is back.
func (s *Service) Ask(ctx context.Context, q store.Question) {
	b, err := s.codec.Encode(ask(q))
	if err == nil {
		err = s.say(ctx, q.Gateway, b)
	}
	if err != nil {
		s.log.Debug("a question was not sent", "gateway", q.Gateway, "question", q.ID, "error", err)
	}
}
