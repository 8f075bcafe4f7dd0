package broker

import "time"

// Message is an application message, on its way in or out. It is immutable
// once handed over: subscribers share Payload and Properties.
type Message struct {
	Topic   string
	Payload []byte
	QoS     byte
	// Retain is the RETAIN flag as published: store (or, with an empty
	// payload, clear) the topic's retained message.
	Retain bool
	// bridged is true for what came through a bridge.
	bridged bool
	// Expires is when the message becomes worthless; zero is never.
	Expires time.Time
	// Properties are those of MQTT 5 that travel with the message; nil when
	// there are none.
	Properties *Properties

	// holders counts the queues and windows that keep it; see session.hold.
	holders int32
}

// Properties are the PUBLISH properties that a server forwards unaltered
// [MQTT-3.3.2-4], [MQTT-3.3.2-15], [MQTT-3.3.2-16], [MQTT-3.3.2-17], [MQTT-3.3.2-20].
type Properties struct {
	// UTF8Payload is true when the payload format indicator is 1.
	UTF8Payload     bool
	ContentType     string
	ResponseTopic   string
	CorrelationData []byte
	User            []UserProperty
}

// UserProperty is one name and value; names may repeat and order counts.
type UserProperty struct{ Name, Value string }

// expired reports whether the message must not go to anybody new any more
// [MQTT-3.3.2-5].
func (m *Message) expired() bool { return !m.Expires.IsZero() && !time.Now().Before(m.Expires) }
