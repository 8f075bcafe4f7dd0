package broker

import "fmt"

// ReasonCode is an MQTT 5 reason code [MQTT5 2.4]. Codes from 0x80 on are
// failures.
type ReasonCode byte

// The reason codes that the broker and its handlers use.
const (
	Success                     ReasonCode = 0x00
	DisconnectWithWill          ReasonCode = 0x04
	NoSubscriptionExisted       ReasonCode = 0x11
	UnspecifiedError            ReasonCode = 0x80
	MalformedPacket             ReasonCode = 0x81
	ProtocolError               ReasonCode = 0x82
	ImplementationSpecificError ReasonCode = 0x83
	UnsupportedProtocolVersion  ReasonCode = 0x84
	ClientIdentifierNotValid    ReasonCode = 0x85
	BadUserNameOrPassword       ReasonCode = 0x86
	NotAuthorized               ReasonCode = 0x87
	ServerUnavailable           ReasonCode = 0x88
	ServerBusy                  ReasonCode = 0x89
	ServerShuttingDown          ReasonCode = 0x8B
	BadAuthenticationMethod     ReasonCode = 0x8C
	KeepAliveTimeout            ReasonCode = 0x8D
	SessionTakenOver            ReasonCode = 0x8E
	TopicFilterInvalid          ReasonCode = 0x8F
	TopicNameInvalid            ReasonCode = 0x90
	PacketIdentifierInUse       ReasonCode = 0x91
	PacketIdentifierNotFound    ReasonCode = 0x92
	ReceiveMaximumExceeded      ReasonCode = 0x93
	TopicAliasInvalid           ReasonCode = 0x94
	PacketTooLarge              ReasonCode = 0x95
	QuotaExceeded               ReasonCode = 0x97
	AdministrativeAction        ReasonCode = 0x98
	PayloadFormatInvalid        ReasonCode = 0x99
	ConnectionRateExceeded      ReasonCode = 0x9F
)

// Failed reports whether c is a failure.
func (c ReasonCode) Failed() bool { return c >= 0x80 }

// String returns the code as logs show it.
func (c ReasonCode) String() string {
	if c == Success {
		return "success"
	}
	return fmt.Sprintf("0x%02X", byte(c))
}

// connack3 is the 3.1.1 CONNACK return code for c [MQTT3 3.2.2.3]. It reports
// false where none fits: the connection is then closed without a CONNACK [MQTT3
// MQTT-3.2.2-6].
func (c ReasonCode) connack3() (code byte, ok bool) {
	switch c {
	case Success:
		return 0, true
	case UnsupportedProtocolVersion:
		return 1, true
	case ClientIdentifierNotValid:
		return 2, true
	case ServerUnavailable, ServerBusy, ServerShuttingDown, QuotaExceeded, ConnectionRateExceeded:
		return 3, true
	case BadUserNameOrPassword:
		return 4, true
	case NotAuthorized:
		return 5, true
	}
	return 0, false
}

// wireError is why a connection ends: what the client is told, and what the
// log says.
type wireError struct {
	code ReasonCode
	text string
}

func (e *wireError) Error() string { return e.text }

func malformed(text string) error { return &wireError{MalformedPacket, text} }

func violation(text string) error { return &wireError{ProtocolError, text} }
