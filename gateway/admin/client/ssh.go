package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// remote is a gateway that is reached through ssh: the headgate of the other
// side connects its standard streams to the admin socket there.
type remote struct {
	host, user, port string
	socket           string // empty is where that side finds one
}

// parseSSH reads ssh://[user@]host[:port][/path/admin.sock].
func parseSSH(u *url.URL) (remote, error) {
	r := remote{host: u.Hostname(), user: u.User.Username(), port: u.Port(), socket: u.Path}
	if _, secret := u.User.Password(); secret {
		return r, errors.New("gateway address: it holds no password, which would end up in logs: ssh uses keys, or asks")
	}
	if r.socket == "/" {
		r.socket = ""
	}
	// ssh would read these as options.
	if r.host == "" || strings.HasPrefix(r.host, "-") || strings.HasPrefix(r.user, "-") || u.RawQuery != "" || u.Fragment != "" {
		return r, fmt.Errorf("gateway address %q: want ssh://user@host or ssh://user@host:port/path/admin.sock", u.Redacted())
	}
	if strings.ContainsFunc(r.socket, func(c rune) bool { return !strings.ContainsRune(socketRunes, c) }) {
		return r, fmt.Errorf("gateway address %q: the socket's path may have letters, digits and / . _ - alone", u.Redacted())
	}
	return r, nil
}

// socketRunes are what a remote shell leaves as it is.
const socketRunes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-"

// args are those of ssh.
func (r remote) args() []string {
	args := []string{"-T", "-o", "ConnectTimeout=30"}
	if r.user != "" {
		args = append(args, "-l", r.user)
	}
	if r.port != "" {
		args = append(args, "-p", r.port)
	}
	args = append(args, "--", r.host, "headgate", "dial-stdio")
	if r.socket != "" {
		args = append(args, "--host", "unix://"+r.socket)
	}
	return args
}

// login is what a person gives ssh to get there.
func (r remote) login() string {
	to := r.host
	if r.user != "" {
		to = r.user + "@" + to
	}
	if r.port != "" {
		to = "-p " + r.port + " " + to
	}
	return to
}

// dial starts ssh and returns its standard streams as a connection.
func (r remote) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	// It outlives the context, which is that of the dialling alone; Close
	// ends it.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), "ssh", r.args()...)
	c := &commandConn{cmd: cmd, host: r.host, login: r.login()}
	cmd.Stderr = &c.said
	cmd.WaitDelay = time.Second // a master that stays in the background keeps standard error open
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.in, c.out = in, out
	if err := cmd.Start(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			err = fmt.Errorf("%w: install OpenSSH's client", err)
		}
		return nil, err
	}
	return c, nil
}

// commandConn is a running command as a connection.
type commandConn struct {
	cmd         *exec.Cmd
	host, login string
	in          io.WriteCloser
	out         io.ReadCloser
	said        tail

	end    sync.Once
	result error
}

// Read reads what the command prints. Its end is an error that says what the
// command complained of.
func (c *commandConn) Read(p []byte) (int, error) {
	n, err := c.out.Read(p)
	if err != nil && n == 0 {
		if ended := c.wait(); ended != nil {
			err = ended
		}
	}
	return n, err
}

// Write writes to the command's standard input.
func (c *commandConn) Write(p []byte) (int, error) {
	n, err := c.in.Write(p)
	if err != nil {
		if ended := c.wait(); ended != nil {
			err = ended
		}
	}
	return n, err
}

// Close ends the command.
func (c *commandConn) Close() error {
	err := c.in.Close()
	if errors.Is(err, os.ErrClosed) {
		err = nil
	}
	// ssh ends when its input does; one that hangs is made to.
	stop := time.AfterFunc(time.Second, func() { _ = c.cmd.Process.Kill() })
	defer stop.Stop()
	_ = c.wait() // how it ended no longer matters
	return err
}

// wait returns why the command failed, once it has ended.
func (c *commandConn) wait() error {
	c.end.Do(func() {
		_ = c.in.Close()
		err := c.cmd.Wait()
		if err == nil || errors.Is(err, exec.ErrWaitDelay) {
			return
		}
		said := c.said.String()
		if said == "" {
			said = err.Error()
		}
		c.result = &sshError{c.host, c.login, said}
	})
	return c.result
}

// sshError is what ssh, or the headgate of the other side, complained of.
type sshError struct {
	host string
	// login is what a person gives ssh to get there.
	login string
	said  string
}

// Error is that in its own words.
func (e *sshError) Error() string { return fmt.Sprintf("ssh %s: %s", e.host, e.said) }

// hint says what to do about it.
func (e *sshError) hint() string {
	switch {
	case strings.Contains(e.said, "cannot reach the gateway"):
		return "ssh works, and the gateway does not answer there"
	case strings.Contains(e.said, "not found"):
		return "headgate has to be on the PATH of logins without a terminal there: /usr/local/bin or /usr/bin"
	}
	return fmt.Sprintf("'ssh %s headgate version' has to work without asking for anything", e.login)
}

// The rest of net.Conn. A request's context bounds it; deadlines are not used.

// LocalAddr implements net.Conn.
func (c *commandConn) LocalAddr() net.Addr { return commandAddr(c.host) }

// RemoteAddr implements net.Conn.
func (c *commandConn) RemoteAddr() net.Addr { return commandAddr(c.host) }

// SetDeadline implements net.Conn.
func (c *commandConn) SetDeadline(time.Time) error { return os.ErrNoDeadline }

// SetReadDeadline implements net.Conn.
func (c *commandConn) SetReadDeadline(time.Time) error { return os.ErrNoDeadline }

// SetWriteDeadline implements net.Conn.
func (c *commandConn) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }

type commandAddr string

// Network implements net.Addr.
func (commandAddr) Network() string { return "ssh" }

// String implements net.Addr.
func (a commandAddr) String() string { return string(a) }

// tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const maxTail = 4 << 10

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if over := len(t.text) - maxTail; over > 0 {
		t.text = append(t.text[:0], t.text[over:]...)
	}
	return len(p), nil
}

// String is what was said last, on one line.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.Join(bytes.Fields(t.text), []byte(" ")))
}
