package broker

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/headgate-io/headgate/mqtt/topic"
)

// connectError is a CONNECT that is refused with a CONNACK.
type connectError struct {
	code ReasonCode
	text string
}

func (e *connectError) Error() string { return e.text }

func refuse(code ReasonCode, format string, args ...any) error {
	return &connectError{code, fmt.Sprintf(format, args...)}
}

// AssignedPrefix begins the client ids that the broker gives to clients that
// bring none. Such an id is another one with each connection.
const AssignedPrefix = "auto-"

// hello is a valid CONNECT.
type hello struct {
	client   string
	assigned bool // the broker made the client id
	clean    bool
	expiry   time.Duration
	creds    Credentials
	will     *will
	user     string // after authentication
	asked    string // the client id as the client knows it
}

// connect takes the connection from its first byte to the CONNACK. ctx ends at
// the deadline for it.
func (c *conn) connect(ctx context.Context) error {
	deadline, _ := ctx.Deadline()
	if err := c.nc.SetDeadline(deadline); err != nil {
		return err
	}
	if c.kicked() {
		return net.ErrClosed
	}
	cert, err := handshake(ctx, c.nc)
	if err != nil {
		return err
	}
	c.in = reader{src: c.nc, limit: c.srv.cfg.MaxConnectPacket, held: &c.inHeld}
	first, err := c.in.first()
	if err != nil {
		return err
	}
	if first != packets.Connect<<4 { // [MQTT-3.1.0-1], [MQTT-2.1.3-1]
		return violation("the first packet is not a CONNECT")
	}
	head, body, err := c.in.packet()
	if err != nil {
		return err
	}
	h, err := c.hello(head, bytes.Clone(body))
	if err != nil {
		return err
	}
	h.creds.Certificate = cert
	c.in.limit = c.srv.cfg.MaxPacket
	for {
		if err := c.authenticate(ctx, h); err != nil {
			return err
		}
		if err := c.srv.attach(ctx, c, h); !errors.Is(err, errStale) {
			return err
		}
	}
}

// errStale sends a connection back to be authenticated again: users changed
// since it was.
var errStale = errors.New("users changed since the client was authenticated")

// handshakeError is a TLS handshake that came to nothing.
type handshakeError struct{ error }

// Unwrap returns what went wrong.
func (e handshakeError) Unwrap() error { return e.error }

// handshake completes TLS and returns the client's certificate, if any.
func handshake(ctx context.Context, nc net.Conn) (*x509.Certificate, error) {
	if ws, ok := nc.(*wsConn); ok {
		return ws.certificate, nil
	}
	t, ok := nc.(*tls.Conn)
	if !ok {
		return nil, nil
	}
	if err := t.HandshakeContext(ctx); err != nil {
		return nil, handshakeError{err}
	}
	return verifiedCertificate(t.ConnectionState()), nil
}

// verifiedCertificate ignores a certificate that was merely shown.
func verifiedCertificate(s tls.ConnectionState) *x509.Certificate {
	if len(s.VerifiedChains) == 0 || len(s.VerifiedChains[0]) == 0 {
		return nil
	}
	return s.VerifiedChains[0][0]
}

func (c *conn) hello(head byte, body []byte) (*hello, error) {
	if err := c.protocol(body); err != nil {
		return nil, err
	}
	pk := &c.pk
	if err := decode(pk, c.version, head, body); err != nil {
		return nil, err
	}
	c.max = maximumsOf(&pk.Properties, c.version)
	c.problemInfo = !pk.Properties.RequestProblemInfoFlag || pk.Properties.RequestProblemInfo == 1
	p, cfg := &pk.Connect, &c.srv.cfg
	if pk.ReservedBit != 0 { // [MQTT-3.1.2-3]
		return nil, malformed("reserved connect flag is set")
	}
	if c.version == 4 && p.PasswordFlag && !p.UsernameFlag { // [MQTT3 MQTT-3.1.2-22]
		return nil, malformed("password without user name")
	}
	if pk.Properties.AuthenticationMethod != "" { // [MQTT-4.12.0-1]
		return nil, refuse(BadAuthenticationMethod, "enhanced authentication is not supported: connect without an authentication method")
	}
	if len(pk.Properties.AuthenticationData) > 0 {
		return nil, violation("authentication data without a method")
	}
	h := &hello{client: p.ClientIdentifier, clean: p.Clean}
	switch {
	case len(h.client) > cfg.MaxClientID:
		return nil, refuse(ClientIdentifierNotValid, "client id of %d bytes, at most %d are allowed", len(h.client), cfg.MaxClientID)
	case h.client == "" && c.version == 4 && !p.Clean: // [MQTT3 MQTT-3.1.3-8]
		return nil, refuse(ClientIdentifierNotValid, "an empty client id needs clean session")
	case h.client == "": // [MQTT-3.1.3-6]
		h.client, h.assigned = AssignedPrefix+rand.Text(), true
	}
	h.asked = h.client
	if h.will, h.expiry = nil, c.sessionExpiry(p.Clean); p.WillFlag {
		w, err := c.willOf()
		if err != nil {
			return nil, err
		}
		h.will = w
	} else if p.WillQos != 0 || p.WillRetain { // [MQTT-3.1.2-11], [MQTT-3.1.2-13]
		return nil, malformed("will flags without a will")
	}
	c.keepAlive = time.Duration(p.Keepalive) * time.Second
	h.creds = Credentials{
		Client: h.client, Username: string(p.Username), Password: p.Password,
		RemoteAddr: c.remote, Listener: c.listener,
	}
	return h, nil
}

// bridgeLevel is the bit by which a bridge tells a broker what it is, at 3.1.1.
// Mosquitto began it, others follow: such a client does not get back what it
// published, and gets RETAIN as it was published.
const bridgeLevel = 0x80

// protocol sets the version, before anything else of the body is believed.
func (c *conn) protocol(body []byte) error {
	c.version = 4 // for the answer to what is neither
	n := skipString(body, 0)
	if n == 0 || n >= len(body) {
		return malformed("CONNECT cut short")
	}
	name, level := string(body[2:n]), body[n]
	switch {
	case name == "MQTT" && (level == 4 || level == 5):
		c.version = level
		return nil
	case name == "MQTT" && level == 4|bridgeLevel:
		c.bridge = true
		return nil
	case name == "MQTT" || name == "MQIsdp": // [MQTT-3.1.2-2]
		return refuse(UnsupportedProtocolVersion, "protocol %s level %d is not supported: use MQTT 3.1.1 or 5.0", name, level)
	}
	return violation("not an MQTT client") // [MQTT-3.1.2-1]
}

func (c *conn) sessionExpiry(clean bool) time.Duration {
	limit := c.srv.cfg.MaxSessionExpiry
	if c.version == 5 {
		return expiryOf(c.pk.Properties.SessionExpiryInterval, limit)
	}
	if clean {
		return 0
	}
	return limit
}

func expiryOf(seconds uint32, limit time.Duration) time.Duration {
	if seconds == 0xFFFFFFFF { // [MQTT5 3.1.2.11.2]
		return limit
	}
	return min(time.Duration(seconds)*time.Second, limit)
}

func (c *conn) willOf() (*will, error) {
	p := &c.pk.Connect
	if p.WillQos > 2 { // [MQTT-3.1.2-12]
		return nil, malformed("will QoS 3")
	}
	if err := c.srv.cfg.Topics.CheckName(p.WillTopic); err != nil {
		return nil, refuse(TopicNameInvalid, "will: %v", err)
	}
	w := &will{
		msg:   Message{Topic: p.WillTopic, Payload: p.WillPayload, QoS: p.WillQos, Retain: p.WillRetain},
		delay: time.Duration(p.WillProperties.WillDelayInterval) * time.Second,
		life:  -1,
	}
	_, w.msg.Properties = propertiesOf(&p.WillProperties, false)
	if c.pk.willExpires {
		w.life = time.Duration(p.WillProperties.MessageExpiryInterval) * time.Second
	}
	return w, nil
}

// authenticate asks the authenticator who this is, and checks the will against
// the answer.
func (c *conn) authenticate(ctx context.Context, h *hello) error {
	began := time.Now()
	id, err := c.ask(ctx, h)
	var refused *connectError
	switch {
	case errors.As(err, &refused), errors.Is(err, net.ErrClosed):
		return err
	case errors.Is(err, ErrBadCredentials):
		c.srv.count.badCredentials.Add(1)
		c.holdBack(ctx, began)
		return refuse(BadUserNameOrPassword, "%v", err)
	case errors.Is(err, ErrTooManyFailures):
		c.srv.count.throttled.Add(1)
		c.holdBack(ctx, began)
		return refuse(ConnectionRateExceeded, "%v", err)
	case err != nil:
		c.srv.notice("authentication could not decide", "client", h.client, "remote", c.remote, "error", err)
		return refuse(ServerUnavailable, "authentication is not available")
	}
	h.user, h.client = id.User, h.asked
	if id.Client != "" {
		h.client = id.Client
	}
	c.publishACL = expand(id.Publish, h.client, id.User)
	c.subACL = expand(id.Subscribe, h.client, id.User)
	if h.will != nil && !allows(c.publishACL, h.will.msg.Topic) {
		c.srv.count.deniedConnects.Add(1)
		return refuse(NotAuthorized, "will topic %q is not allowed for user %q", h.will.msg.Topic, id.User)
	}
	return nil
}

// ask asks the authenticator, within the bound on how many may.
func (c *conn) ask(ctx context.Context, h *hello) (Identity, error) {
	select {
	case c.srv.authSlots <- struct{}{}:
		defer func() { <-c.srv.authSlots }()
	case <-ctx.Done():
		return Identity{}, refuse(ServerBusy, "no time left to authenticate")
	case <-c.closing:
		return Identity{}, net.ErrClosed
	}
	return c.srv.auth.Authenticate(ctx, h.creds)
}

// holdBack keeps a refusal until RefusalDelay after the question, so that its
// time does not say what was wrong, and guesses take theirs.
func (c *conn) holdBack(ctx context.Context, began time.Time) {
	t := time.NewTimer(time.Until(began.Add(c.srv.cfg.RefusalDelay)))
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.closing:
	case <-ctx.Done():
	}
}

// expand fills in the names. What is no filter then allows nothing: a # that is
// not at the end must not stand for everything.
func expand(filters []string, client, user string) []string {
	out := make([]string, 0, len(filters))
	for _, f := range filters {
		if s, ok := topic.Substitute(f, client, user); ok && topic.DefaultLimits.CheckFilter(s) == nil {
			out = append(out, s)
		}
	}
	return out
}

// connack encodes the answer to h. It is nil where there is none to give: no
// 3.1.1 code fits, or the client takes no packet of this size.
func (c *conn) connack(h *hello, code ReasonCode, reason string) []byte {
	pk := packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Connack}, ProtocolVersion: c.version,
		SessionPresent: c.resumed && code == Success, ReasonCode: byte(code),
	}
	switch {
	case c.version != 5:
		var ok bool
		if pk.ReasonCode, ok = code.connack3(); !ok {
			return nil
		}
	case code == Success:
		c.announce(&pk.Properties, h)
	default:
		pk.Properties.ReasonString = reason
	}
	b, err := c.encode(&pk)
	if err != nil { // mochi's CONNACK encoder has no error path
		c.srv.log.Error("encode CONNACK", "client", c.remote, "error", err)
	}
	if limit := c.max.packet; limit > 0 && len(b) > limit { // [MQTT-3.1.2-24]
		return nil
	}
	return b
}

// handshakeFailed counts and reports a TLS handshake that came to nothing.
func (s *Server) handshakeFailed(listener, remote string, err any) {
	s.count.tlsFailures.Add(1)
	s.notice("TLS handshake failed", "listener", listener, "remote", remote, "error", err)
}

// announce tells a version 5 client the limits it has to keep.
func (c *conn) announce(p *packets.Properties, h *hello) {
	cfg := &c.srv.cfg
	p.ReceiveMaximum = cfg.ReceiveMaximum
	p.TopicAliasMaximum = cfg.TopicAliasMaximum
	p.MaximumPacketSize = uint32(cfg.MaxPacket)
	if h.assigned { // [MQTT-3.2.2-16]
		p.AssignedClientID = h.asked
	}
	if c.keepAlive != time.Duration(c.pk.Connect.Keepalive)*time.Second { // [MQTT-3.2.2-21]
		p.ServerKeepAlive, p.ServerKeepAliveFlag = uint16(c.keepAlive/time.Second), true
	}
	asked := c.pk.Properties.SessionExpiryInterval
	if granted := uint32(min(h.expiry/time.Second, 0xFFFFFFFF)); granted != asked {
		p.SessionExpiryInterval, p.SessionExpiryIntervalFlag = granted, true
	}
}

// connectFailed answers what deserves an answer, and counts.
func (c *conn) connectFailed(err error) {
	var refused *connectError
	var wire *wireError
	var handshake handshakeError
	switch {
	case errors.As(err, &handshake):
		if !c.kicked() {
			c.srv.handshakeFailed(c.listener, c.remote, handshake.error)
		}
	case errors.As(err, &refused):
		c.srv.notice("connection refused", "remote", c.remote, "client", c.pk.Connect.ClientIdentifier,
			"code", refused.code.String(), "reason", refused.text)
		c.turnedAway(refused)
		_ = c.nc.SetWriteDeadline(time.Now().Add(lastWrite))
		_, _ = c.nc.Write(c.connack(nil, refused.code, refused.text)) // the client may be gone
	case errors.As(err, &wire):
		c.srv.count.badConnects.Add(1)
		c.srv.log.Debug("not a valid CONNECT", "remote", c.remote, "reason", wire.text)
	case errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded):
		if !c.kicked() {
			c.srv.count.connectTimeouts.Add(1)
		}
	}
}
