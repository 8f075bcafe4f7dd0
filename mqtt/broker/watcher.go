package broker

import "errors"

// Watcher hears who comes and goes. Its methods are called on the connection's
// reader, in order for each client, and must not block.
type Watcher interface {
	// Connected follows the admission of a client.
	Connected(c Connection)
	// Disconnected follows the end of its connection; clean is true where the
	// client took its leave, reason says how it ended.
	Disconnected(c Connection, clean bool, reason string)
	// Refused follows a CONNECT that was not accepted. Client and User are what
	// it claimed to be.
	Refused(c Connection, reason string)
}

// Connection is a client's connection for a Watcher.
type Connection struct {
	Client, User string
	// Remote is its address, Listener the name of the listener that it came to.
	Remote, Listener string
	// Version is 4 for MQTT 3.1.1 and 5 for 5.0.
	Version byte
}

// nobody watches.
type nobody struct{}

var _ Watcher = nobody{}

func (nobody) Connected(Connection)                  {}
func (nobody) Disconnected(Connection, bool, string) {}
func (nobody) Refused(Connection, string)            {}

// connection is the connection of an admitted client.
func (c *conn) connection() Connection {
	return Connection{Client: c.sess.client, User: c.sess.user, Remote: c.remote, Listener: c.listener, Version: c.version}
}

// left tells how the connection of an admitted client ended.
func (c *conn) left(code ReasonCode, clean bool, err error) {
	var bye errGoodbye
	reason := "connection lost"
	switch {
	case code != Success:
		reason = code.String()
	case errors.As(err, &bye) && clean:
		reason = "client disconnected"
	case errors.As(err, &bye):
		reason = "client disconnected with its will"
	}
	c.srv.watcher.Disconnected(c.connection(), clean, reason)
}

// turnedAway tells of a CONNECT that was refused.
func (c *conn) turnedAway(refused *connectError) {
	p := &c.pk.Connect
	c.srv.watcher.Refused(Connection{
		Client: p.ClientIdentifier, User: string(p.Username), Remote: c.remote, Listener: c.listener, Version: c.version,
	}, refused.text)
}
