// Package fetch sends the HTTP requests of functions into the world. What a
// function may ask is its permissions' matter; where a request really goes is
// checked here, at the address that is dialled: a name that leads into the
// gateway's own network gets no connection, whatever it led to a moment ago.
package fetch
