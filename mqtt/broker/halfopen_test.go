package broker

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"testing"
)

// The environment of the process that holds half-open connections.
const (
	halfOpenAddr  = "BROKER_TEST_HALF_OPEN_ADDR"
	halfOpenCount = "BROKER_TEST_HALF_OPEN_COUNT"
)

func TestMain(m *testing.M) {
	if addr := os.Getenv(halfOpenAddr); addr != "" {
		os.Exit(holdHalfOpen(addr))
	}
	os.Exit(keepRecord(m.Run()))
}

// startHalfOpen runs this binary as the process that connects and says nothing
// more; both ends in one process would need twice the descriptors. stop ends it,
// opened is how many there are.
func startHalfOpen(t *testing.T, addr string, count int) (opened int, stop func()) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), halfOpenAddr+"="+addr, halfOpenCount+"="+strconv.Itoa(count))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); errors.Is(err, syscall.ENOEXEC) {
		return holdHere(t, addr, count) // an emulated machine runs no further process
	} else if err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("half-open connections: %v", err)
		}
	})
	t.Cleanup(stop)
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "open\n" {
		t.Fatalf("half-open connections: %q, %v", line, err)
	}
	return count, stop
}

// holdHalfOpen opens the connections, says so, and holds them until its
// standard input ends.
func holdHalfOpen(addr string) int {
	count, err := strconv.Atoi(os.Getenv(halfOpenCount))
	if err != nil || descriptors() < count+100 {
		fmt.Fprintln(os.Stderr, "bad count, or too few descriptors")
		return 1
	}
	closeAll, err := openHalfOpen(addr, count)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println("open")
	_, _ = io.Copy(io.Discard, os.Stdin)
	closeAll()
	return 0
}

// holdHere holds both ends in this process, as many as its descriptors allow.
func holdHere(t *testing.T, addr string, count int) (opened int, stop func()) {
	t.Helper()
	count = min(count, descriptors()/2-200)
	closeAll, err := openHalfOpen(addr, count)
	if err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(closeAll)
	t.Cleanup(stop)
	return count, stop
}

// openHalfOpen opens connections, half of which begin a CONNECT.
func openHalfOpen(addr string, count int) (closeAll func(), err error) {
	conns := make([]net.Conn, 0, count)
	closeAll = func() {
		for _, nc := range conns {
			_ = nc.Close()
		}
	}
	for i := range count {
		nc, err := new(net.Dialer).DialContext(context.Background(), "tcp", addr)
		if err != nil {
			closeAll()
			return nil, err
		}
		if i%2 == 0 {
			_, _ = nc.Write([]byte("\x10\x7f\x00\x04MQ"))
		}
		conns = append(conns, nc)
	}
	return closeAll, nil
}

// descriptors raises the limit of open files as far as it goes and returns it.
func descriptors() int {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 1024
	}
	l.Cur = l.Max
	_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l)
	_ = syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l)
	return int(min(l.Cur, 1<<30))
}
