// Package ingest takes what gateways send: it verifies batches of usage against
// their chain and the gateway's key, keeps each once together with the sums that
// it adds to, and acknowledges only what is committed. Any number of replicas may
// do so at once, for messages of one gateway too, in any order and repeated.
package ingest

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/headgate-io/headgate/controller/store"
	"github.com/headgate-io/headgate/internal/fault"
	"github.com/headgate-io/headgate/sync/usage"
	"github.com/headgate-io/headgate/sync/wire"
)

// Bounds of what a gateway may speak of: numbers and epochs, the name of its
// hardware, in bytes, streams in one hello, and streams in all, of which a
// gateway has one more whenever its records begin anew.
const (
	maxNumber   = 1 << 53
	maxHardware = 64
	maxHeld     = 64
	maxStreams  = 1000
)

// Service takes messages. It may be used from any goroutine.
type Service struct {
	store *store.Store
	codec *wire.Codec
	log   *slog.Logger
	now   func() time.Time
	fleet Fleet // nil without one

	hellos, batches, repeated, refused, malformed, gaps, forks, tampered, foreign atomic.Uint64
}

// New makes the service. A nil now is time.Now.
func New(s *store.Store, log *slog.Logger, now func() time.Time) (*Service, error) {
	if now == nil {
		now = time.Now
	}
	codec, err := wire.NewCodec()
	return &Service{store: s, codec: codec, log: log, now: now}, err
}

// Stats counts what was taken.
type Stats struct {
	// Hellos counts connections of gateways, Batches those that were counted,
	// Repeated those that were here already, Refused messages of gateways that
	// may not, and Malformed those that nobody could read.
	Hellos, Batches, Repeated, Refused, Malformed uint64
	// Gaps, Forks, Tampered and Foreign count findings.
	Gaps, Forks, Tampered, Foreign uint64
}

// Stats returns the counters.
func (s *Service) Stats() Stats {
	return Stats{
		s.hellos.Load(), s.batches.Load(), s.repeated.Load(), s.refused.Load(), s.malformed.Load(),
		s.gaps.Load(), s.forks.Load(), s.tampered.Load(), s.foreign.Load(),
	}
}

// ErrUnknown is a gateway that is not enrolled, or not any more.
var ErrUnknown = errors.New("the gateway is not enrolled here")

// ErrStreams is a gateway whose records began anew so often that nobody believes
// it any more.
var ErrStreams = fmt.Errorf("the gateway speaks of more than %d streams of usage: revoke it, and enrol it as a new one", maxStreams)

// Take handles one message of a gateway and hands the answer, if there is one,
// to answer. An error of the database leaves the message unanswered: the gateway
// sends it again.
func (s *Service) Take(ctx context.Context, gateway string, payload []byte, answer func([]byte)) error {
	m, err := s.codec.Decode(payload)
	if err != nil {
		s.malformed.Add(1)
		return fmt.Errorf("message of gateway %s: %w", gateway, err)
	}
	reply := func(message any) error {
		b, err := s.codec.Encode(message)
		if err == nil {
			answer(b)
		}
		return err
	}
	switch m := m.(type) {
	case *wire.Hello:
		w, err := s.hello(ctx, gateway, m)
		if err != nil {
			return s.failed(gateway, err)
		}
		if err := reply(w); err != nil {
			return err
		}
		_, err = s.follow(ctx, gateway, m, reply)
		return err
	case *wire.Usage:
		if fault.On(fault.AckBeforeStore) {
			if err := reply(&wire.Ack{Marks: []wire.Mark{{Stream: m.Stream, UpTo: m.Seq}}}); err != nil {
				return err
			}
			time.Sleep(500 * time.Millisecond)
		}
		ack, err := s.usage(ctx, gateway, m)
		if err != nil {
			return s.failed(gateway, err)
		}
		return reply(ack)
	case *wire.Health:
		err := s.store.Update(ctx, func(tx *store.Tx) error {
			if g, err := tx.Gateway(ctx, gateway); err != nil || !g.Revoked.IsZero() {
				return cmp.Or(err, ErrUnknown)
			}
			return tx.SetHealth(ctx, gateway, m, s.now())
		})
		if errors.Is(err, store.ErrNotFound) {
			err = ErrUnknown
		}
		if err != nil {
			return s.failed(gateway, err)
		}
		return nil
	}
	if known, err := s.follow(ctx, gateway, m, reply); known {
		return err
	}
	s.malformed.Add(1)
	return fmt.Errorf("message of gateway %s: %T is not for a controller", gateway, m)
}

func (s *Service) failed(gateway string, err error) error {
	if errors.Is(err, ErrUnknown) || errors.Is(err, ErrStreams) {
		s.refused.Add(1)
	}
	return fmt.Errorf("message of gateway %s: %w", gateway, err)
}

// member returns the gateway, with its lock: messages of one gateway are taken
// one after the other, over all replicas.
func member(ctx context.Context, tx *store.Tx, id string) (store.Gateway, error) {
	if err := tx.Lock(ctx, "usage", id); err != nil {
		return store.Gateway{}, err
	}
	g, err := tx.Gateway(ctx, id)
	if errors.Is(err, store.ErrNotFound) || err == nil && !g.Revoked.IsZero() {
		return g, ErrUnknown
	}
	return g, err
}

func (s *Service) hello(ctx context.Context, gateway string, m *wire.Hello) (*wire.Welcome, error) {
	w := &wire.Welcome{Time: s.now().UnixMicro(), Session: m.Session}
	var found []store.Finding
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		w.Marks, found = nil, nil
		g, err := member(ctx, tx, gateway)
		if err != nil {
			return err
		}
		status := store.Status{
			Gateway: gateway, Hello: s.now(), Version: short(m.Version), Arch: short(m.Arch), Skew: m.Time - s.now().UnixMicro(), Trust: m.Trust,
			Session: m.Session & (1<<63 - 1),
		}
		fresh, err := tx.SetHello(ctx, &status)
		if err != nil {
			return err
		}
		for _, h := range m.Streams[:min(len(m.Streams), maxHeld)] {
			if !sensible(h.Stream) || h.Next > maxNumber || h.First > h.Next || h.First == 0 {
				continue // nonsense
			}
			stream := h.Of(gateway)
			acked, err := s.compare(ctx, tx, &g, stream, h, fresh, &found)
			if err != nil {
				return err
			}
			w.Marks = append(w.Marks, wire.Mark{Stream: h.Stream, UpTo: acked})
		}
		return nil
	})
	if err == nil {
		s.hellos.Add(1)
		s.tell(found)
	}
	return w, err
}

// sensible reports whether a stream may be one.
func sensible(s wire.Stream) bool {
	return s.Epoch <= maxNumber && len(s.Hardware) <= maxHardware && !strings.ContainsRune(s.Hardware, 0)
}

// known makes sure that a stream is known, and returns up to which number all of
// it is here. The gateway's lock is held.
func known(ctx context.Context, tx *store.Tx, stream usage.Stream) (acked uint64, err error) {
	acked, added, err := tx.UsageStream(ctx, stream)
	if err != nil || !added {
		return acked, err
	}
	n, err := tx.CountUsageStreams(ctx, stream.Gateway)
	if err == nil && n > maxStreams {
		err = ErrStreams
	}
	return acked, err
}

// short bounds what a gateway says, to what a database takes.
func short(text string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(text[:min(len(text), 128)], ""), "\x00", "")
}

// compare looks at what a gateway has and has not of a stream. A hello that is
// not fresh, because it came twice or late, speaks of what was: what a gateway
// lacked then it still lacks, but it may have given more numbers since.
func (s *Service) compare(ctx context.Context, tx *store.Tx, g *store.Gateway, stream usage.Stream, h wire.Held, fresh bool, found *[]store.Finding) (uint64, error) {
	acked, err := known(ctx, tx, stream)
	if err != nil {
		return 0, err
	}
	if h.Next <= acked && !fresh {
		return acked, nil
	}
	if h.Next <= acked {
		detail := fmt.Sprintf("the gateway would give number %d next, and %d are here: its records went back, or there are two of it", h.Next, acked)
		return acked, s.find(ctx, tx, g, stream, h.Next, "fork", detail, found)
	}
	if acked, err = advance(ctx, tx, stream, acked); err != nil {
		return 0, err
	}
	for acked+1 < h.First {
		if acked, err = s.gap(ctx, tx, g, stream, acked, h.First, found); err != nil {
			return 0, err
		}
	}
	return acked, tx.SetUsageAcked(ctx, stream, acked, s.now())
}

// gap notes that the numbers from acked+1 on, up to the next that is here or
// that the gateway has, are missing for ever.
func (s *Service) gap(ctx context.Context, tx *store.Tx, g *store.Gateway, stream usage.Stream, acked, first uint64, found *[]store.Finding) (uint64, error) {
	next, err := tx.NextUsageBatch(ctx, stream, acked+1)
	if errors.Is(err, store.ErrNotFound) || err == nil && next > first {
		next, err = first, nil
	}
	if err != nil {
		return 0, err
	}
	detail := fmt.Sprintf("batches %d to %d never came, and the gateway does not have them", acked+1, next-1)
	if err := s.find(ctx, tx, g, stream, acked+1, "gap", detail, found); err != nil {
		return 0, err
	}
	return advance(ctx, tx, stream, next-1)
}

// advance returns the last number up to which everything is here.
func advance(ctx context.Context, tx *store.Tx, stream usage.Stream, acked uint64) (uint64, error) {
	for {
		_, err := tx.UsageBatch(ctx, stream, acked+1)
		if errors.Is(err, store.ErrNotFound) {
			return acked, nil
		}
		if err != nil {
			return 0, err
		}
		acked++
	}
}

func (s *Service) find(ctx context.Context, tx *store.Tx, g *store.Gateway, stream usage.Stream, seq uint64, kind, detail string, found *[]store.Finding) error {
	f := store.Finding{Tenant: g.Tenant, Stream: stream, Seq: seq, Kind: kind, Detail: detail, At: s.now()}
	added, err := tx.AddFinding(ctx, &f)
	if added {
		*found = append(*found, f)
	}
	return err
}

// tell counts and logs findings that are committed.
func (s *Service) tell(found []store.Finding) {
	for i := range found {
		f := &found[i]
		map[string]*atomic.Uint64{"gap": &s.gaps, "fork": &s.forks, "tampered": &s.tampered, "foreign": &s.foreign}[f.Kind].Add(1)
		s.log.Warn("usage of a gateway is not in order", "finding", f.Kind, "gateway", f.Gateway, "epoch", f.Epoch, "batch", f.Seq, "detail", f.Detail)
	}
}

// signers are the keys that a gateway has had.
func signers(ctx context.Context, tx *store.Tx, gateway string) ([]*ecdsa.PublicKey, error) {
	keys, err := tx.Keys(ctx, gateway)
	var out []*ecdsa.PublicKey
	for _, k := range keys {
		if public, err := x509.ParsePKIXPublicKey(k.Public); err == nil {
			if public, ok := public.(*ecdsa.PublicKey); ok {
				out = append(out, public)
			}
		}
	}
	return out, err
}
