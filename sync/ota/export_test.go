package ota

import (
	"io"
	"time"
)

// ReplaceWith has a client's writes of metadata go through f.
func ReplaceWith(c *Client, f func(file string, content []byte) error) { c.replace = f }

// Sink is a file that is being written.
type Sink interface {
	io.Writer
	io.Closer
	Sync() error
}

// CreateWith has a client's files on their way in made by f.
func CreateWith(c *Client, f func(file string) (Sink, error)) {
	c.create = func(file string) (sink, error) { return f(file) }
}

// OpenSink makes one as a client does.
func OpenSink(file string) (Sink, error) { return openSink(file) }

// PauseFor has a client wait so long before it asks again.
func PauseFor(c *Client, d time.Duration) { c.pause = d }
