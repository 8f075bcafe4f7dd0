package uplink

import (
	"cmp"
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/headgate-io/headgate/sync/wire"
)

// Uplink is the connection with the controller. Run works; the other methods may
// be called from any goroutine.
type Uplink struct {
	cfg   Config
	codec *wire.Codec
	meter *meter
	// kick asks for sealing and sending now, report for telling how things are.
	kick, report chan struct{}
	// What follows is Run's alone. loaded is true once the day's count was read;
	// number is the newest connection's; lastReport is the newest report but for
	// its number, reportSeq that.
	loaded      bool
	number      uint64
	lastReport  []byte
	reportedAt  time.Time
	reportSeq   uint64
	telemetryAt time.Time

	// asked bounds how often questions are answered.
	asked *rate.Limiter

	mu     sync.Mutex // leaf; guards all below
	status Status
	stats  Stats
}

// Status is how the connection is.
type Status struct {
	Connected bool
	// Address is the broker's, Since when the connection began or ended.
	Address string
	Since   time.Time
	// LastError is what ended it, or a refusal of the controller.
	LastError   string
	LastErrorAt time.Time
	// LastAcknowledged is when the controller took something last.
	LastAcknowledged time.Time
	// BytesToday is what the link carried today in IP bytes, estimated; OverBudget
	// says that no more is sent today.
	BytesToday uint64
	OverBudget bool
}

// Stats are counters since New.
type Stats struct {
	// Connections counts those that were made, Failures those that were not, or
	// that ended.
	Connections, Failures uint64
	// BatchesSent counts batches as often as they were sent, Acknowledged marks
	// that moved, Refused batches that the controller did not take.
	BatchesSent, Acknowledged, Refused uint64
	// Unanswered counts questions to the controller without an answer, Unread
	// messages of it that could not be read, Dropped those that came faster than
	// they were handled.
	Unanswered, Unread, Dropped uint64
	// Desired counts what the controller wanted, Reports what it was told, Answers
	// its questions that were answered, AsksDropped those that came too fast or
	// whose time was over.
	Desired, Reports, Answers, AsksDropped uint64
	// TelemetrySent counts messages of telemetry as often as they were sent,
	// TelemetryTaken those that the controller stored.
	TelemetrySent, TelemetryTaken uint64
	// LinkBytes is what the link carried in IP bytes, estimated; OverBudget
	// counts what was not sent for the sake of the budget.
	LinkBytes, OverBudget uint64
	// Connected is 1 while there is a connection.
	Connected int
}

// New makes an uplink; Run connects it.
func New(cfg Config) (*Uplink, error) {
	if cfg.Outbox == nil || cfg.Credentials == nil {
		return nil, errors.New("uplink: outbox and credentials are needed")
	}
	codec, err := wire.NewCodec()
	if err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	cfg.Start = cmp.Or(cfg.Start, 1+rand.Uint64N(math.MaxInt64))
	return &Uplink{
		asked: rate.NewLimiter(rate.Every(askEvery), askBurst), cfg: cfg, codec: codec, meter: &meter{now: cfg.Now}, kick: make(chan struct{}, 1), report: make(chan struct{}, 1),
	}, nil
}

// Send seals what was metered and sends it now, without waiting for the interval.
func (u *Uplink) Send() {
	select {
	case u.kick <- struct{}{}:
	default:
	}
}

// Report tells the controller how things are, soon: what changes within a second
// goes in one message.
func (u *Uplink) Report() {
	select {
	case u.report <- struct{}{}:
	default:
	}
}

// Status returns how the connection is.
func (u *Uplink) Status() Status {
	today, _ := u.meter.spent()
	u.mu.Lock()
	defer u.mu.Unlock()
	s := u.status
	s.BytesToday, s.OverBudget = today, u.cfg.BytesPerDay > 0 && today >= u.cfg.BytesPerDay
	return s
}

// Stats returns the counters.
func (u *Uplink) Stats() Stats {
	_, total := u.meter.spent()
	u.mu.Lock()
	defer u.mu.Unlock()
	s := u.stats
	s.LinkBytes = total
	if u.status.Connected {
		s.Connected = 1
	}
	return s
}

func (u *Uplink) count(change func(*Stats)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	change(&u.stats)
}

func (u *Uplink) became(change func(*Status)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	change(&u.status)
}

// Run keeps the connection until ctx ends. Usage is sealed in its time whether
// or not there is one.
func (u *Uplink) Run(ctx context.Context) {
	var sealing sync.WaitGroup
	sealed := make(chan struct{}, 1)
	sealing.Go(func() { u.sealLoop(ctx, sealed) })
	defer sealing.Wait()
	u.load(ctx)
	defer u.save(context.WithoutCancel(ctx), true)
	for attempt := 0; ctx.Err() == nil; attempt++ {
		welcome, err := u.connection(ctx, attempt, sealed)
		if welcome {
			attempt = 0
		}
		if ctx.Err() != nil {
			return
		}
		u.save(ctx, false)
		u.failed(err)
		wait := u.pause(attempt)
		u.cfg.Logger.Warn("no connection with the controller", "error", err, "again_in", wait)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

func (u *Uplink) failed(err error) {
	u.count(func(s *Stats) { s.Failures++ })
	u.became(func(s *Status) {
		if s.Connected || s.Since.IsZero() {
			s.Since = u.cfg.Now()
		}
		s.Connected, s.LastError, s.LastErrorAt = false, err.Error(), u.cfg.Now()
	})
}

// pause is longer after every failure, and never the same for two gateways.
func (u *Uplink) pause(attempt int) time.Duration {
	most := min(u.cfg.RetryMin<<min(attempt, 20), u.cfg.RetryMax)
	return most/2 + rand.N(most/2+1)
}

// phase is a first wait around an interval, another for each gateway.
func phase(interval time.Duration) time.Duration { return interval/2 + rand.N(interval) }

// sealLoop seals usage every interval, each gateway in a phase of its own, and
// says so.
func (u *Uplink) sealLoop(ctx context.Context, sealed chan<- struct{}) {
	next := time.NewTimer(phase(u.cfg.Interval))
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-u.kick:
		case <-next.C:
			next.Reset(u.cfg.Interval)
		}
		u.cfg.Flush()
		if _, err := u.cfg.Outbox.SealUsage(ctx); err != nil && ctx.Err() == nil {
			u.cfg.Logger.Error("usage could not be sealed: the next time tries again", "error", err)
		}
		select {
		case sealed <- struct{}{}:
		default:
		}
	}
}
