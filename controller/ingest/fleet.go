package ingest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/headgate-io/headgate/controller/fleet"
	"github.com/headgate-io/headgate/controller/store"
	"github.com/headgate-io/headgate/internal/answered"
	"github.com/headgate-io/headgate/sync/wire"
)

// Fleet takes what gateways say of what is wanted of them. Each call returns what
// is to be said to the gateway; store.ErrNotFound is a gateway that may not speak.
type Fleet interface {
	Hello(ctx context.Context, gateway string, revision uint64) ([]any, error)
	Reported(ctx context.Context, gateway string, m *wire.Reported) ([]any, error)
	Answer(ctx context.Context, gateway string, m *wire.Answer) error
	Telemetry(ctx context.Context, gateway string, m *wire.Telemetry) (*wire.Taken, error)
}

var _ Fleet = (*fleet.Service)(nil)

// Follow has a fleet take what is for it. It is called before the first message.
func (s *Service) Follow(f Fleet) { s.fleet = f }

// follow hands a message to the fleet; known is false for one that is not for it.
func (s *Service) follow(ctx context.Context, gateway string, message any, reply func(any) error) (known bool, err error) {
	if s.fleet == nil {
		return false, nil
	}
	var out []any
	switch m := message.(type) {
	case *wire.Hello:
		out, err = s.fleet.Hello(ctx, gateway, m.Revision)
	case *wire.Reported:
		out, err = s.fleet.Reported(ctx, gateway, m)
	case *wire.Answer:
		err = s.fleet.Answer(ctx, gateway, m)
	case *wire.Telemetry:
		var taken *wire.Taken
		if taken, err = s.fleet.Telemetry(ctx, gateway, m); err == nil {
			out = []any{taken}
		}
	default:
		return false, nil
	}
	switch {
	case errors.Is(err, store.ErrNotFound):
		return true, s.failed(gateway, ErrUnknown)
	case errors.Is(err, fleet.ErrMalformed):
		s.malformed.Add(1)
	}
	if err != nil {
		return true, s.failed(gateway, err)
	}
	for _, m := range out {
		if err := reply(m); err != nil {
			return true, err
		}
	}
	return true, nil
}

// errOffline is that there is no connection with the broker now.
var errOffline = errors.New("there is no connection with the broker")

var _ fleet.Sender = (*Listener)(nil)

// Send says something to a gateway, whichever replica it speaks with. A broker
// drops what is for a gateway that is not connected.
func (l *Listener) Send(ctx context.Context, gateway string, message []byte) error {
	client := l.client.Load()
	if client == nil {
		return fmt.Errorf("gateway %s: %w", gateway, errOffline)
	}
	return answered.Within(ctx, (*client).Publish(wire.DownTopic(gateway), 1, false, message), sendTime)
}

// sendTime bounds how long the broker may take for what is sent.
const sendTime = 10 * time.Second
