package guard

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"
)

// mark is the first argument of a process that is to be a guard.
const mark = "guard-process"

// Arguments are those of a program that calls Main for what follows the first
// of them; lock is the file of its lock.
func Arguments(lock string) []string { return []string{mark, lock} }

// Is reports whether a program's arguments, without its name, make it a guard.
func Is(args []string) bool { return len(args) == 2 && args[0] == mark }

// socket is the descriptor of the gateway's socket.
const socket = 3

// Main is a guard's whole life; it returns the exit code.
func Main(args []string, stderr io.Writer) int {
	// SIGABRT is what systemd sends to a whole service that hangs.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGABRT)
	defer stop()
	// The gateway's end must not take it along: a pipe that nobody reads, a
	// terminal that is closed.
	signal.Ignore(syscall.SIGPIPE, syscall.SIGHUP)
	f := os.NewFile(socket, "gateway")
	conn, err := net.FileConn(f)
	if err != nil {
		fmt.Fprintln(stderr, "the guard is started by the gateway:", err)
		return 2
	}
	_ = f.Close()
	settle()
	if err := Serve(ctx, conn, NewLock(args[1]), Open()); err != nil {
		fmt.Fprintln(stderr, "guard:", err)
		return 1
	}
	return 0
}
