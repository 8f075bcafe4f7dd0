package launch

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// notifier is a socket as sd_notify(3) writes to.
type notifier struct {
	path, dir string
	conn      *net.UnixConn
	// notices are the assignments of each datagram, such as READY=1. It is
	// closed with the socket.
	notices chan []string
	closing chan struct{}
	done    chan struct{}
}

// maxNotice bounds a datagram; what is longer is cut off.
const maxNotice = 4096

func listen() (*notifier, error) {
	dir, err := os.MkdirTemp("", "headgate-launch-") // for this user alone
	if err != nil {
		return nil, fmt.Errorf("notify socket: %w", err)
	}
	n := &notifier{path: filepath.Join(dir, "notify"), dir: dir, notices: make(chan []string), closing: make(chan struct{}), done: make(chan struct{})}
	n.conn, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: n.path, Net: "unixgram"})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("notify socket: %w", err), os.RemoveAll(dir))
	}
	go n.read()
	return n, nil
}

func (n *notifier) read() {
	defer close(n.done)
	buf := make([]byte, maxNotice)
	for {
		size, err := n.conn.Read(buf)
		if err != nil {
			return
		}
		select {
		case n.notices <- strings.Fields(string(buf[:size])):
		case <-n.closing:
			return
		}
	}
}

func (n *notifier) close() {
	close(n.closing)
	_ = n.conn.Close() // upon which read ends
	<-n.done
	_ = os.RemoveAll(n.dir)
}
