// Package observer is the outside of a gateway under test: MQTT 3.1.1 clients
// with persistent sessions, written on the packet level, so that what they
// send, resend and acknowledge, and when, is exactly known. Each keeps a ledger
// of its own, which survives whatever happens to the gateway.
package observer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// ErrForgotten is a session that the gateway granted, and then did not know.
var ErrForgotten = errors.New("the gateway forgot its session")

// Client is what publishers and subscribers have in common.
type Client struct {
	Name     string
	Password string
	// User is its device, where that is not its client id.
	User string
	// Err is how the last connection ended, nil when it was still open.
	Err error
	// Address is the client's end of its newest connection.
	Address string

	conn    net.Conn
	readers chan struct{} // closed when nothing reads conn any more
}

// connect opens the persistent session and reports whether the gateway had
// one.
func (c *Client) connect(ctx context.Context, address string) (present bool, err error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return false, err
	}
	c.conn, c.Address = conn, conn.LocalAddr().String()
	p := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	p.ProtocolName, p.ProtocolVersion, p.Keepalive = "MQTT", 4, 60
	p.ClientIdentifier, p.CleanSession = c.Name, false
	p.UsernameFlag, p.Username = true, cmp.Or(c.User, c.Name)
	p.PasswordFlag, p.Password = true, []byte(c.Password)
	if deadline, ok := ctx.Deadline(); ok {
		conn.SetDeadline(deadline.Add(time.Second))
	}
	if err := p.Write(conn); err != nil {
		return false, err
	}
	answer, err := packets.ReadPacket(conn)
	if err != nil {
		return false, err
	}
	conn.SetDeadline(time.Time{})
	ack, ok := answer.(*packets.ConnackPacket)
	if !ok || ack.ReturnCode != packets.Accepted {
		return false, fmt.Errorf("%s: not accepted: %v", c.Name, answer)
	}
	return ack.SessionPresent, nil
}

// listen calls each for every packet until the connection breaks or each
// reports false.
func (c *Client) listen(each func(packets.ControlPacket) bool) {
	done := make(chan struct{})
	c.readers = done
	go func(conn net.Conn) {
		defer close(done)
		for {
			packet, err := packets.ReadPacket(conn)
			if err != nil || !each(packet) {
				return
			}
		}
	}(c.conn)
}

// Disconnect ends the connection without a word; after it nothing changes the
// ledger.
func (c *Client) Disconnect() {
	if c.conn == nil {
		return
	}
	c.conn.Close()
	if c.readers != nil {
		<-c.readers
	}
	c.conn, c.readers = nil, nil
}
