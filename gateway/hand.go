package gateway

import (
	"context"
	"errors"
	"fmt"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/admin"
	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/dispatch"
)

var _ admin.Hand = operator{}

// operatorSource is where events come from that an operator causes.
const operatorSource = "/operator"

// SetState writes one key; functions that watch it start, and one that has
// read it reruns.
func (o operator) SetState(ctx context.Context, ns, key string, value []byte) error {
	return o.apply(ctx, function.Effects{Writes: []function.Write{{Namespace: ns, Key: key, Value: value}}})
}

// DeleteState deletes one key, as SetState writes it.
func (o operator) DeleteState(ctx context.Context, ns, key string) error {
	return o.apply(ctx, function.Effects{Writes: []function.Write{{Namespace: ns, Key: key, Delete: true}}})
}

// Enqueue puts a message on a queue.
func (o operator) Enqueue(ctx context.Context, m api.QueueMessage) error {
	err := o.apply(ctx, function.Effects{Enqueues: []function.Enqueue{{Queue: m.Queue, Payload: m.Payload, Delay: m.Delay}}})
	if errors.Is(err, dispatch.ErrNoTaker) {
		return admin.Refusal(fmt.Errorf("%w: 'headgate list' shows which functions take from which", err))
	}
	return err
}

func (o operator) apply(ctx context.Context, e function.Effects) error {
	if err := o.g.checkReady(); err != nil {
		return admin.Refusal(fmt.Errorf("the gateway is %w: try again in a moment", err))
	}
	return o.g.dispatcher.Apply(ctx, o.g.events.next(), operatorSource, e)
}
