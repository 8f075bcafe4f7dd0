package guard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// ErrDown is returned while no guard is there to take orders.
var ErrDown = errors.New("the guard process is not ready")

// ClientConfig configures a Client.
type ClientConfig struct {
	// Command starts a guard that talks on its descriptor 3.
	Command []string
	Units   []Unit
	// Report hears what the guard says, Down that it is gone. Both are called by
	// one goroutine.
	Report func(Report)
	Down   func(error)
	Logger *slog.Logger
}

// Client keeps a guard running and sends it orders.
type Client struct {
	cfg ClientConfig

	mu    sync.Mutex
	conn  net.Conn // nil while there is none
	ready bool
	fault string
	stats Stats
}

// Stats are counters since the start.
type Stats struct {
	// Starts counts guards, Hung those that did not answer and were ended.
	Starts, Hung uint64
	Orders       uint64
	Ready        bool
}

// NewClient returns a client without a guard; Run starts it.
func NewClient(cfg ClientConfig) *Client { return &Client{cfg: cfg} }

// Stats returns the counters.
func (c *Client) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	s.Ready = c.ready
	return s
}

// Fault says why there is no guard, empty where there is one.
func (c *Client) Fault() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fault
}

// Send hands an order over. It does not wait for the guard: a Report follows.
func (c *Client) Send(o *Order) error {
	b, err := json.Marshal(o)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil || !c.ready {
		return ErrDown
	}
	c.stats.Orders++
	// A guard whose buffer is full for so long does not read: answered ends it.
	_ = c.conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	if _, err := c.conn.Write(b); err != nil {
		return fmt.Errorf("%w: %w", ErrDown, err)
	}
	return nil
}

// Waits of Run: between guards that end, and for one that is to end by itself.
const (
	restartAfter    = 50 * time.Millisecond
	maxRestartAfter = 2 * time.Second
	endWithin       = 3 * time.Second
	// readyWithin bounds a start: an earlier guard may hold the pins for a while.
	readyWithin = 15 * time.Second
)

// Run keeps a guard running until ctx ends; then the guard switches everything
// off and ends too.
func (c *Client) Run(ctx context.Context) error {
	wait := restartAfter
	for {
		began := time.Now()
		err := c.once(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // it was to end
		}
		c.cfg.Logger.Error("the guard of the actuators ended and is started again", "error", err)
		c.cfg.Down(err)
		if time.Since(began) > time.Minute {
			wait = restartAfter
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		wait = min(2*wait, maxRestartAfter)
	}
}

// once runs one guard to its end.
func (c *Client) once(ctx context.Context) error {
	conn, cmd, err := c.start()
	if err != nil {
		c.down(err.Error())
		return err
	}
	defer conn.Close()
	exited := make(chan exit, 1)
	go func() { exited <- exit{cmd.Wait()} }()
	heard := make(chan bool, 1)
	var listening sync.WaitGroup
	listening.Go(func() { c.listen(conn, heard) })
	err = c.watch(ctx, exited, heard)
	c.mu.Lock()
	c.conn, c.ready = nil, false
	c.mu.Unlock()
	_ = conn.Close() // the guard goes safe and ends
	listening.Wait()
	if errors.Is(err, errExited) {
		c.down(err.Error())
		return err
	}
	if errors.Is(err, errHung) {
		_ = cmd.Process.Kill()
	}
	select {
	case <-exited:
	case <-time.After(endWithin):
		_ = cmd.Process.Kill()
		<-exited
	}
	return err
}

func (c *Client) down(why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fault == "" {
		c.fault = why
	}
}

var (
	errExited = errors.New("the guard's process ended")
	errHung   = fmt.Errorf("the guard did not answer for %v and was ended", Silence)
)

// exit is how a process ended.
type exit struct{ err error }

// watch waits for the guard to end, to hang, or for ctx.
func (c *Client) watch(ctx context.Context, exited <-chan exit, heard <-chan bool) error {
	patience := time.NewTimer(readyWithin)
	defer patience.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e := <-exited:
			return fmt.Errorf("%w: %w", errExited, errors.Join(e.err, c.lastFault()))
		case <-heard:
			patience.Reset(Silence)
		case <-patience.C:
			c.mu.Lock()
			c.stats.Hung++
			c.mu.Unlock()
			return errHung
		}
	}
}

func (c *Client) lastFault() error {
	if f := c.Fault(); f != "" {
		return errors.New(f)
	}
	return nil
}

// listen takes reports until the socket ends.
func (c *Client) listen(conn net.Conn, heard chan<- bool) {
	buf := make([]byte, maxOrder)
	for {
		n, err := conn.Read(buf)
		if err != nil || n == 0 {
			return
		}
		var r Report
		if err := json.Unmarshal(buf[:n], &r); err != nil {
			c.cfg.Logger.Error("what the guard said makes no sense", "error", err)
			return
		}
		c.mu.Lock()
		switch {
		case r.Ready:
			c.ready, c.fault = true, ""
		case r.Unit == "" && r.Fault != "":
			c.fault = r.Fault
		}
		c.mu.Unlock()
		select {
		case heard <- true:
		default:
		}
		c.cfg.Report(r)
	}
}

// start starts a process in a group of its own, so that what ends the gateway
// does not end it.
func (c *Client) start() (net.Conn, *exec.Cmd, error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC, 0) // unix(7): it keeps the bounds of messages
	if err != nil {
		return nil, nil, fmt.Errorf("start the guard: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "guard"), os.NewFile(uintptr(fds[1]), "gateway")
	defer theirs.Close()
	conn, err := net.FileConn(ours)
	_ = ours.Close()
	if err != nil {
		return nil, nil, fmt.Errorf("start the guard: %w", err)
	}
	cmd := exec.CommandContext(context.Background(), c.cfg.Command[0], c.cfg.Command[1:]...)
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, nil, fmt.Errorf("start the guard: %w", errors.Join(err, conn.Close()))
	}
	if err := sendUnits(conn, c.cfg.Units); err != nil {
		_ = cmd.Process.Kill()
		return nil, nil, fmt.Errorf("start the guard: %w", errors.Join(err, conn.Close(), cmd.Wait()))
	}
	c.mu.Lock()
	c.conn = conn
	c.stats.Starts++
	c.mu.Unlock()
	return conn, cmd, nil
}

// sendUnits tells a new guard what it is to own, one unit in each order: all in
// one would have a bound.
func sendUnits(conn net.Conn, units []Unit) error {
	if err := conn.SetWriteDeadline(time.Now().Add(readyWithin)); err != nil {
		return err
	}
	for i := range units {
		b, err := json.Marshal(Order{Units: units[i : i+1], More: i+1 < len(units)})
		if err != nil {
			return err
		}
		if _, err := conn.Write(b); err != nil {
			return err
		}
	}
	return nil
}
