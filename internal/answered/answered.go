// Package answered waits for what an MQTT client has asked of a broker.
package answered

import (
	"context"
	"errors"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// Within waits until the broker has answered, with its refusal, or the time is over.
func Within(ctx context.Context, t mqtt.Token, most time.Duration) error {
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-t.Done():
		return t.Error()
	case <-timer.C:
		return errors.New("the broker does not answer")
	case <-ctx.Done():
		return ctx.Err()
	}
}
