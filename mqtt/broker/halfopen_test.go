package broker

import (
	"bufio"
	"context"
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
	os.Exit(m.Run())
}

// startHalfOpen runs this binary as the process that connects and says nothing
// more; both ends in one process would need twice the descriptors. stop ends it.
func startHalfOpen(t *testing.T, addr string, count int) (stop func()) {
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
	if err := cmd.Start(); err != nil {
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
	return stop
}

// holdHalfOpen opens the connections, says so, and holds them until its
// standard input ends.
func holdHalfOpen(addr string) int {
	count, err := strconv.Atoi(os.Getenv(halfOpenCount))
	if err != nil || descriptors() < count+100 {
		fmt.Fprintln(os.Stderr, "bad count, or too few descriptors")
		return 1
	}
	conns := make([]net.Conn, 0, count)
	for i := range count {
		nc, err := new(net.Dialer).DialContext(context.Background(), "tcp", addr)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		if i%2 == 0 {
			_, _ = nc.Write([]byte("\x10\x7f\x00\x04MQ"))
		}
		conns = append(conns, nc)
	}
	fmt.Println("open")
	_, _ = io.Copy(io.Discard, os.Stdin)
	for _, nc := range conns {
		_ = nc.Close()
	}
	return 0
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
