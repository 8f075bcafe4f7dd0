package controller

import "time"

// Hasten has the HTTP listener of a test wait for less long.
func (c *Controller) Hasten(header, read, idle time.Duration) {
	c.timeouts = timeouts{header, read, idle}
}

// HTTP is what the listener has counted.
func (c *Controller) HTTP() (displaced, unserved, slow, givenUp, refused uint64, open int) {
	v := c.visitors
	return v.displaced.Load(), v.unserved.Load(), v.slow.Load(), v.givenUp.Load(), c.listener.Refused(), c.listener.Open()
}
