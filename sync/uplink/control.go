package uplink

import (
	"bytes"
	"context"
	"slices"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/headgate-io/headgate/sync/wire"
)

const (
	// reportDelay is how long changes are gathered for one report.
	reportDelay = time.Second
	// maxAsks is how many questions may wait, answerIn how long one is worked on.
	maxAsks  = 4
	answerIn = time.Minute
	// After askBurst questions one is answered every askEvery: doctor reads the
	// whole database.
	askEvery = 5 * time.Second
	askBurst = 8
)

// Up to which part of the day's bytes each kind is sent: what is less urgent
// leaves room for the rest.
const (
	reportShare    = 0.95
	answerShare    = 0.9
	healthShare    = 0.8
	telemetryShare = 0.7
)

// affords reports whether the day's budget allows so many bytes more, of which
// only a share is for what is less urgent.
func (u *Uplink) affords(share float64, size int) bool {
	today, _ := u.meter.spent()
	if u.cfg.BytesPerDay == 0 || float64(today)+float64(segments(size)) < share*float64(u.cfg.BytesPerDay) {
		return true
	}
	u.count(func(s *Stats) { s.OverBudget++ })
	return false
}

// wanted takes what the controller wants of the gateway. Nothing of it is waited
// for: usage goes on meanwhile.
func (s *session) wanted(message any) {
	c := &s.u.cfg
	switch m := message.(type) {
	case *wire.Desired:
		if c.Desired != nil {
			s.u.count(func(st *Stats) { st.Desired++ })
			c.Desired(m)
			return
		}
	case *wire.Ask:
		if c.Answer != nil {
			s.ask(m)
			return
		}
	case *wire.Taken:
		if c.Telemetry != nil {
			s.u.count(func(st *Stats) { st.TelemetryTaken++ })
			c.Telemetry.Taken(m.Start, m.Seq)
			return
		}
	}
	s.u.count(func(st *Stats) { st.Unread++ })
}

// question is an Ask, and until when it counts.
type question struct {
	*wire.Ask
	until time.Time
}

// ask has a question answered, if there is room and time by the controller's
// clock.
func (s *session) ask(m *wire.Ask) {
	left := time.UnixMicro(m.Expires).Sub(s.u.cfg.Now().Add(s.ahead))
	q := question{m, time.Now().Add(left)}
	if left > 0 {
		select {
		case s.asks <- q:
			return
		default:
		}
	}
	s.u.count(func(st *Stats) { st.AsksDropped++ })
}

// answerAll answers one question after the other until ctx ends.
func (s *session) answerAll(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case q := <-s.asks:
			s.answerOne(ctx, q)
		}
	}
}

func (s *session) answerOne(ctx context.Context, q question) {
	wait := time.NewTimer(s.u.asked.Reserve().Delay())
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done():
		return
	}
	left := time.Until(q.until)
	if left <= 0 {
		s.u.count(func(st *Stats) { st.AsksDropped++ })
		return
	}
	within, cancel := context.WithTimeout(ctx, min(left, answerIn))
	defer cancel()
	a := s.u.cfg.Answer(within, q.Ask)
	if a == nil {
		return
	}
	a.ID = q.ID
	select {
	case s.answers <- a:
	case <-ctx.Done():
	}
}

// answer sends an answer. A long one takes its time on a slow link: it is not
// waited for.
func (s *session) answer(a *wire.Answer) {
	if len(a.Body) > wire.MaxAnswerBytes {
		a.Body, a.Error = nil, "the answer is longer than a message may be"
	}
	if !s.u.affords(answerShare, len(a.Body)) {
		a.Body, a.Error = nil, "the gateway's bytes for today (uplink.bytes_per_day) do not allow it"
	}
	if _, err := s.post(a); err != nil {
		s.u.cfg.Logger.Warn("a question of the controller is not answered", "error", err)
		return
	}
	s.u.count(func(st *Stats) { st.Answers++ })
}

func (s *session) post(message any) (mqtt.Token, error) {
	b, err := s.u.codec.Encode(message)
	if err != nil {
		return nil, err
	}
	return s.client.Publish(wire.UpTopic(s.who.Gateway), 1, false, b), nil
}

// report says how things are. One that says nothing new may be left out for a
// while, unless something happened.
func (s *session) report(ctx context.Context, happened bool) {
	u := s.u
	if u.cfg.Reported == nil || !s.welcome {
		return
	}
	m := u.cfg.Reported()
	said, err := u.codec.Encode(essence(m))
	if err != nil {
		u.cfg.Logger.Error("how the gateway is cannot be told", "error", err)
		return
	}
	same := bytes.Equal(said, u.lastReport)
	if same && !happened && time.Since(u.reportedAt) < u.cfg.RepeatReport || !u.affords(reportShare, len(said)) {
		return
	}
	u.reportSeq++
	m.Start, m.Seq = u.cfg.Start, u.reportSeq
	if err := s.send(ctx, m); err != nil {
		if ctx.Err() == nil {
			u.cfg.Logger.Debug("how the gateway is was not told", "error", err)
		}
		return
	}
	u.lastReport, u.reportedAt = said, time.Now()
	u.count(func(st *Stats) { st.Reports++ })
}

// essence is what of a report is worth sending it for: that functions go on
// counting is not.
func essence(m *wire.Reported) *wire.Reported {
	out := &wire.Reported{Revision: m.Revision, Functions: slices.Clone(m.Functions), Error: m.Error, System: m.System, Faults: m.Faults}
	for i := range out.Functions {
		out.Functions[i].Old, out.Functions[i].New = wire.Counts{}, wire.Counts{}
	}
	return out
}

// telemetryDue is how long it is until telemetry is to be sent. The first time
// each gateway has a phase of its own.
func (u *Uplink) telemetryDue() time.Duration {
	if u.telemetryAt.IsZero() {
		u.telemetryAt = time.Now().Add(phase(u.cfg.TelemetryInterval))
	}
	return max(0, time.Until(u.telemetryAt))
}

// telemetry sends what is new of it, where the link has room.
func (s *session) telemetry(ctx context.Context) {
	u := s.u
	if !s.welcome {
		u.telemetryAt = time.Now().Add(reportDelay)
		return
	}
	u.telemetryAt = time.Now().Add(u.cfg.TelemetryInterval)
	if u.cfg.Telemetry == nil {
		return
	}
	m := u.cfg.Telemetry.Next()
	if m == nil {
		return
	}
	size := 0
	for i := range m.Values {
		size += len(m.Values[i].Topic) + len(m.Values[i].Payload)
	}
	if !u.affords(telemetryShare, size) {
		return
	}
	u.count(func(st *Stats) { st.TelemetrySent++ })
	if err := s.send(ctx, m); err != nil && ctx.Err() == nil {
		u.cfg.Logger.Debug("telemetry was not sent", "error", err)
	}
}

// health says how the gateway is, where the link has room for it.
func (s *session) health(ctx context.Context) {
	if s.u.cfg.Health == nil || !s.welcome || !s.u.affords(healthShare, 0) {
		return
	}
	h := s.u.cfg.Health()
	h.BytesToday, _ = s.u.meter.spent()
	if err := s.send(ctx, &h); err != nil && ctx.Err() == nil {
		s.u.cfg.Logger.Debug("health was not sent", "error", err)
	}
}
