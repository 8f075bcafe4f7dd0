package admin

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// peerName is who opened a connection to the socket, as the kernel knows it.
func peerName(c *net.UnixConn) string {
	raw, err := c.SyscallConn()
	if err != nil {
		return localName
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) { cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err != nil || credErr != nil {
		return localName
	}
	return fmt.Sprintf("uid %d", cred.Uid)
}
