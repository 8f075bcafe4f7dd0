package broker

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/headgate-io/headgate/mqtt/topic"
)

// conn is one network connection. Its reader goroutine runs serve; once the
// CONNECT is accepted a second one runs write. Fields without a note belong to
// the reader.
type conn struct {
	srv      *Server
	nc       net.Conn
	remote   string
	listener string
	since    time.Time

	// Set before the session sees the connection, constant afterwards.
	version     byte
	sess        *session
	max         clientMaximums
	will        *will
	keepAlive   time.Duration
	problemInfo bool // reason strings are wanted
	bridge      bool // says that it is one: see protocol
	publishACL  []string
	subACL      []string
	resumed     bool // session present

	in       reader
	pk       packet
	scratch  Inbound
	routing  *routing
	aliases  []string        // topics by inbound alias
	allowed  map[string]bool // recent topics and whether they may be published to
	deadline time.Time       // as set on the socket
	window   time.Time       // of the publish rate
	inWindow int

	inHeld, outHeld held // memory of in and out
	shedding        atomic.Bool

	out     *output
	backlog atomic.Bool // the session has messages that wait for room in out
	// unacked counts QoS 1 and 2 packets that this connection brought and
	// that are not acknowledged; refused those that never will be. Guarded
	// by lane.mu.
	unacked int
	refused int
	timer   timer // closes the connection after refusals

	stale bool // users changed since it was authenticated; guarded by Server.mu

	closing   chan struct{} // closed by kick
	closeOnce sync.Once
	closeCode ReasonCode    // valid once closing is closed
	done      chan struct{} // closed when the reader has let go of the session
}

// kick makes the reader end; the client is told code. It does not wait.
func (c *conn) kick(code ReasonCode) {
	c.closeOnce.Do(func() {
		c.closeCode = code
		close(c.closing)
	})
	_ = c.nc.SetReadDeadline(time.Unix(1, 0)) // a dead socket is as good
}

func (c *conn) kicked() bool {
	select {
	case <-c.closing:
		return true
	default:
		return false
	}
}

// errGoodbye is a DISCONNECT from the client; reason holds its code.
type errGoodbye struct{ code ReasonCode }

func (errGoodbye) Error() string { return "client disconnected" }

// serve runs the connection to its end. It is the reader goroutine.
func (c *conn) serve(ctx context.Context) {
	defer c.srv.forget(c)
	defer c.inHeld.release()
	defer close(c.done)
	ctx, cancel := context.WithTimeout(ctx, c.srv.cfg.ConnectTimeout)
	err := c.connect(ctx)
	cancel()
	if err != nil {
		c.connectFailed(err)
		_ = c.nc.Close() // nothing more to say
		return
	}
	c.srv.watcher.Connected(c.connection())
	c.teardown(c.loop())
}

// loop handles packets until the connection ends, and returns why.
func (c *conn) loop() error {
	for {
		if !c.in.buffered() {
			// Whatever the last batch of packets sent is written now, with
			// one system call per receiver.
			c.routing.flush()
			if err := c.extendDeadline(); err != nil {
				return err
			}
		}
		head, body, err := c.in.packet()
		if err != nil {
			return err
		}
		c.srv.count.bytesIn.Add(uint64(len(body) + 2))
		if err := c.handle(head, body); err != nil {
			return err
		}
		if c.kicked() {
			return os.ErrDeadlineExceeded
		}
	}
}

// extendDeadline keeps the socket's deadline one and a half keep alives away
// [MQTT-3.1.2-22]. The timer is touched only when that moves it noticeably.
func (c *conn) extendDeadline() error {
	if c.keepAlive == 0 {
		return nil
	}
	allowed := c.keepAlive + c.keepAlive/2
	now := time.Now()
	if c.deadline.Sub(now) >= allowed {
		return nil
	}
	c.deadline = now.Add(allowed + c.keepAlive/16)
	if err := c.nc.SetReadDeadline(c.deadline); err != nil {
		return err
	}
	if c.kicked() { // whose deadline was just overwritten
		return os.ErrDeadlineExceeded
	}
	return nil
}

func (c *conn) handle(head byte, body []byte) error {
	switch kind := head >> 4; {
	case kind == packets.Publish:
		return c.publish(head, body)
	case kind == packets.Puback && head == packets.Puback<<4 && len(body) == 2:
		// The common acknowledgement needs no decoder.
		c.sess.acknowledged(c, c.routing, binary.BigEndian.Uint16(body), Success)
		return nil
	}
	// Everything else is rare: it gets bytes of its own, which it may keep.
	if err := decode(&c.pk, c.version, head, bytes.Clone(body)); err != nil {
		return err
	}
	id, code := c.pk.PacketID, ReasonCode(c.pk.ReasonCode)
	switch c.pk.FixedHeader.Type {
	case packets.Puback:
		c.sess.acknowledged(c, c.routing, id, code)
	case packets.Pubrec:
		c.sess.received(c, c.routing, id, code)
	case packets.Pubcomp:
		c.sess.completed(c, c.routing, id)
	case packets.Pubrel:
		return c.release(id)
	case packets.Subscribe:
		return c.subscribe()
	case packets.Unsubscribe:
		return c.unsubscribe()
	case packets.Pingreq:
		c.control([]byte{packets.Pingresp << 4, 0}) // [MQTT-3.12.4-1]
	case packets.Disconnect:
		return c.disconnect()
	case packets.Connect:
		return violation("second CONNECT") // [MQTT-3.1.0-2]
	}
	return nil
}

// control sends a packet that is not a message.
func (c *conn) control(packet []byte) {
	owed, ok := c.out.append(packet, nil)
	if !ok {
		c.srv.count.slowClients.Add(1)
		c.kick(QuotaExceeded)
		return
	}
	if owed {
		c.routing.owe(c)
	}
}

// ack sends an acknowledgement from any goroutine. Where r is nil the writer is
// woken at once.
func (c *conn) ack(r *routing, kind byte, id uint16, code ReasonCode) {
	var space [5]byte
	owed, ok := c.out.append(appendAck(space[:0], c.version, kind, id, code), nil)
	switch {
	case !ok:
		c.srv.count.slowClients.Add(1)
		c.kick(QuotaExceeded)
	case owed && r != nil:
		r.owe(c)
	case owed:
		c.out.signal()
	}
}

func (c *conn) disconnect() error {
	p := &c.pk.Properties
	if p.SessionExpiryIntervalFlag {
		if !c.sess.changeExpiry(expiryOf(p.SessionExpiryInterval, c.srv.cfg.MaxSessionExpiry)) {
			return violation("session expiry raised from 0") // [MQTT-3.1.2-23]
		}
	}
	return errGoodbye{ReasonCode(c.pk.ReasonCode)}
}

// teardown lets go of the session and lets the writer finish.
func (c *conn) teardown(err error) {
	code, clean := c.verdict(err)
	c.srv.timers.stop(&c.timer)
	c.sess.detach(c, !clean)
	c.left(code, clean, err)
	if c.version == 5 && code != Success { // [MQTT-3.14.4-2]
		c.sayGoodbye(code, err)
	}
	c.routing.flush()
	c.out.finish()
	_ = c.nc.SetWriteDeadline(time.Now().Add(lastWrite))
}

// lastWrite is how long a client that is being closed may take to read what
// is left for it.
const lastWrite = 2 * time.Second

// verdict turns the end of the loop into the code for the client, and whether
// it was a clean end, which has no will.
func (c *conn) verdict(err error) (code ReasonCode, clean bool) {
	var bye errGoodbye
	var wire *wireError
	count := &c.srv.count
	switch {
	case errors.As(err, &bye):
		return Success, bye.code == Success // [MQTT-3.14.4-3], [MQTT-3.1.2-8]
	case c.kicked():
		return c.closeCode, false
	case errors.As(err, &wire):
		if wire.code == PacketTooLarge {
			count.tooLarge.Add(1)
		}
		if wire.code == NotAuthorized { // counted where it was denied
			c.srv.notice("client closed: its ACL does not allow what it published", "client", c.sess.client, "user", c.sess.user, "remote", c.remote)
			return wire.code, false
		}
		count.protocolErrors.Add(1)
		c.srv.notice("client broke the protocol", "client", c.sess.client, "remote", c.remote, "reason", wire.text)
		return wire.code, false
	case errors.Is(err, os.ErrDeadlineExceeded):
		count.keepAliveTimeouts.Add(1)
		return KeepAliveTimeout, false
	case !errors.Is(err, io.EOF):
		c.srv.log.Debug("connection lost", "client", c.sess.client, "remote", c.remote, "error", err)
	}
	return Success, false
}

func (c *conn) sayGoodbye(code ReasonCode, err error) {
	pk := packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Disconnect}, ProtocolVersion: 5, ReasonCode: byte(code),
	}
	var wire *wireError
	if errors.As(err, &wire) {
		pk.Properties.ReasonString = wire.text
	}
	if b, err := c.encode(&pk); err == nil {
		c.control(b)
	}
}

// encode encodes a packet for the client. Its reason string stays out where the
// client wants none [MQTT-3.1.2-29], and where it would make the packet larger
// than the client takes [MQTT-3.2.2-19], [MQTT-3.9.2-1], [MQTT-3.14.2-3].
func (c *conn) encode(pk *packets.Packet) ([]byte, error) {
	reason := &pk.Properties.ReasonString
	if !c.problemInfo {
		*reason = ""
	}
	b, err := encode(pk)
	if limit := c.max.packet; err == nil && *reason != "" && limit > 0 && len(b) > limit {
		*reason = ""
		b, err = encode(pk)
	}
	return b, err
}

// writeFailed is called by the writer when the socket is of no more use.
func (c *conn) writeFailed(err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) && !c.kicked() {
		c.srv.count.slowClients.Add(1)
		c.srv.notice("client does not read: closed", "client", c.sess.client, "remote", c.remote)
	}
	c.kick(QuotaExceeded)
}

// mayPublish applies the ACL. Devices publish to a few topics over and over:
// the answers are remembered.
func (c *conn) mayPublish(name string) (bool, error) {
	if ok, known := c.allowed[name]; known {
		return ok, nil
	}
	if err := c.srv.cfg.Topics.CheckName(name); err != nil {
		return false, &wireError{TopicNameInvalid, err.Error()}
	}
	ok := allows(c.publishACL, name)
	const remembered, longest = 64, 256
	if len(name) <= longest {
		if len(c.allowed) >= remembered {
			clear(c.allowed)
		}
		if c.allowed == nil {
			c.allowed = map[string]bool{}
		}
		c.allowed[strings.Clone(name)] = ok // name may be a view of the read buffer
	}
	return ok, nil
}

// allows reports whether a filter of the ACL matches name. $SYS is the
// broker's own.
func allows(acl []string, name string) bool {
	if name == "$SYS" || len(name) > 5 && name[:5] == "$SYS/" {
		return false
	}
	for _, f := range acl {
		if topic.Match(f, name) {
			return true
		}
	}
	return false
}
