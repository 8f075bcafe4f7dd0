package abi

import "fmt"

// Errno is the negative result of a host call.
type Errno int32

// Every errno of ABI v1. Numbers are fixed forever; v1 may grow by new ones,
// so a guest treats an unknown negative result as a failure.
const (
	// NotFound: the key, sensor, secret or config value does not exist.
	NotFound Errno = -1
	// Denied: the function has no permission for it.
	Denied Errno = -2
	// Limit: a limit of the function is reached; nothing was added.
	Limit Errno = -3
	// Invalid: an argument is malformed (empty key, not UTF-8, bad QoS).
	Invalid Errno = -4
	// Unsupported: this gateway does not offer the call.
	Unsupported Errno = -5
	// Unavailable: it exists but does not answer now.
	Unavailable Errno = -6
)

// ErrnoInfo describes one errno.
type ErrnoInfo struct {
	Errno Errno
	Name  string
	Text  string
}

// Errnos lists every errno in order; the SDKs are checked against it.
var Errnos = [...]ErrnoInfo{
	{NotFound, "NOT_FOUND", "not found"},
	{Denied, "DENIED", "permission denied"},
	{Limit, "LIMIT", "limit reached"},
	{Invalid, "INVALID", "invalid argument"},
	{Unsupported, "UNSUPPORTED", "not supported by this gateway"},
	{Unavailable, "UNAVAILABLE", "not available now"},
}

// Error returns the errno's text.
func (e Errno) Error() string {
	for _, i := range Errnos {
		if i.Errno == e {
			return i.Text
		}
	}
	return fmt.Sprintf("errno %d", int32(e))
}
