package bridge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// dialTimeout is for everything up to the CONNACK.
const dialTimeout = 15 * time.Second

// level311 is MQTT 3.1.1; with bridgeBit it says that a bridge speaks, which
// Mosquitto began and other brokers know: they do not send back what they get,
// and hand RETAIN on as it was published.
const (
	level311  = 4
	bridgeBit = 0x80
)

// dial connects to the other broker, up to the CONNACK and the subscriptions.
func (b *Bridge) dial(ctx context.Context, plain bool) (*link, error) {
	within, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	nc, err := b.open(within)
	if err != nil {
		return nil, err
	}
	l := newLink(b, nc, plain)
	defer context.AfterFunc(ctx, l.wire.endReading)()
	if err := l.hello(within); err != nil {
		_ = nc.Close()
		return nil, err
	}
	return l, nil
}

// open opens the socket and completes TLS.
func (b *Bridge) open(ctx context.Context) (net.Conn, error) {
	nc, err := new(net.Dialer).DialContext(ctx, "tcp", b.cfg.Address)
	if err != nil {
		return nil, err
	}
	if b.deps.Own != nil && b.deps.Own(nc.RemoteAddr()) {
		_ = nc.Close()
		return nil, errSelf
	}
	if b.cfg.TLS == nil {
		return nc, nil
	}
	c, err := b.cfg.TLS()
	if err != nil {
		_ = nc.Close()
		return nil, err
	}
	secured := tls.Client(nc, c)
	if err := secured.HandshakeContext(ctx); err != nil {
		_ = nc.Close()
		return nil, fmt.Errorf("TLS: %w", err)
	}
	return secured, nil
}

// hello sends the CONNECT and reads its answer.
func (l *link) hello(ctx context.Context) error {
	l.wire.answerBy, _ = ctx.Deadline()
	_ = l.wire.nc.SetWriteDeadline(l.wire.answerBy)
	c, err := l.b.connectPacket(l.plain)
	if err != nil {
		return err
	}
	if err := c.Write(l.wire.nc); err != nil {
		return err
	}
	p, err := l.wire.read()
	if err != nil {
		// Some hang up on a level that they do not know.
		if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
			return &protocolError{err}
		}
		return err
	}
	ack, ok := p.(*packets.ConnackPacket)
	switch {
	case !ok:
		return errors.New("the other side does not answer as an MQTT broker does")
	case ack.ReturnCode != packets.Accepted:
		return refusal(ack.ReturnCode)
	}
	l.present = ack.SessionPresent
	return nil
}

func (b *Bridge) connectPacket(plain bool) (*packets.ConnectPacket, error) {
	c := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	c.ProtocolName, c.ProtocolVersion = "MQTT", level311
	if !plain {
		c.ProtocolVersion |= bridgeBit
	}
	c.ClientIdentifier, c.Keepalive = b.cfg.ClientID, uint16(b.cfg.KeepAlive/time.Second)
	if b.cfg.StatusTopic != "" {
		c.WillFlag, c.WillTopic, c.WillMessage, c.WillQos, c.WillRetain = true, b.cfg.StatusTopic, []byte(statusOffline), b.cfg.QoS, true
	}
	if b.cfg.Username != "" {
		c.UsernameFlag, c.Username = true, b.cfg.Username
	}
	if b.cfg.Password != nil {
		password, err := b.cfg.Password()
		if err != nil {
			return nil, err
		}
		c.PasswordFlag, c.Password = true, []byte(password)
	}
	return c, nil
}

// What StatusTopic says.
const (
	statusOnline  = "online"
	statusOffline = "offline"
)
