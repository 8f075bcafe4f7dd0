// Package testaddress finds addresses for programs that a test starts, ends and
// starts again where they were.
package testaddress

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// Ports from here on, below those that systems give to whoever asks for any.
const (
	first = 10_000
	count = 15_000
)

// mine are the same ports of UDP, by which the next call, in this process or in
// another one, sees that they are taken while nobody listens.
var (
	mu   sync.Mutex
	mine []net.PacketConn
)

// Free is an address at ip that nobody listens on, and nobody else gets before
// this process ends.
func Free(ip string) (address string, err error) {
	for range 100 {
		address = net.JoinHostPort(ip, strconv.Itoa(first+rand.IntN(count)))
		if err = take(address); err == nil {
			return address, nil
		}
	}
	return "", err
}

func take(address string) error {
	var from net.ListenConfig
	sign, err := from.ListenPacket(context.Background(), "udp", address)
	if err != nil {
		return err
	}
	l, err := from.Listen(context.Background(), "tcp", address)
	if err != nil {
		return errors.Join(err, sign.Close())
	}
	mu.Lock()
	defer mu.Unlock()
	mine = append(mine, sign)
	return l.Close()
}
