package rig

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// Program is a process that is started, ended and started again. Zero is one
// that does not run.
type Program struct {
	// Line is the program and its arguments, Env is added to the environment.
	Line []string
	Env  []string

	log  Output
	cmd  *exec.Cmd
	done chan error
}

// Log is what it has written.
func (p *Program) Log() string { return p.log.String() }

// Pid is the process's id while it runs.
func (p *Program) Pid() int { return p.cmd.Process.Pid }

// Start starts it; what ends it is Stop or Kill, and not Ctrl-C, which reaches
// the whole process group.
func (p *Program) Start() error {
	p.cmd = exec.Command(p.Line[0], p.Line[1:]...) //nolint:noctx // see above
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.Env = append(os.Environ(), p.Env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	if err := p.cmd.Start(); err != nil {
		p.cmd = nil
		return err
	}
	p.done = make(chan error, 1)
	go func(cmd *exec.Cmd, done chan<- error) { done <- cmd.Wait() }(p.cmd, p.done)
	return nil
}

// Kill sends SIGKILL and waits for the end; it may have ended by itself, or be
// killed already.
func (p *Program) Kill() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill() // as said
	<-p.done                 //nolint:errcheck // it was killed
	p.cmd = nil
}

// Stop asks it to end (SIGTERM) and waits for it. It may be called twice.
func (p *Program) Stop() error {
	if p.cmd == nil {
		return nil
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // what became of it comes next
	select {
	case err := <-p.done:
		p.cmd = nil
		if err != nil {
			return fmt.Errorf("%s ended badly: %w\n%s", p.Line[0], err, p.Log())
		}
		return nil
	case <-time.After(stopWithin):
		p.Kill()
		return fmt.Errorf("%s did not stop within %v and was killed", p.Line[0], stopWithin)
	}
}

// Listens waits until somebody does at an address.
func Listens(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	for {
		nc, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err == nil {
			return nc.Close()
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}
