// Package machine runs the image in QEMU as a Raspberry Pi's stand-in: the same
// kernel, root and data partitions, booted by UEFI or, faster, by QEMU itself.
// The outside of the machine is in its hands: its power, its disk, the lines of
// its GPIO controller.
//
// What a cut of the power means here: QEMU is killed, and with it everything
// that the guest had not yet handed to its disk is gone, its page cache first.
// What it had handed over stays in the page cache of this machine, which is not
// cut. So a cut loses what was not synced, as a real one does, and does not
// reorder what a disk's own cache held; make power does that.
package machine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/headgate-io/headgate/firmware-tests/rig"
)

// Programs and files that Debian's packages bring.
const (
	qemu     = "qemu-system-aarch64"
	firmware = "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd"
)

// Machine is one virtual board. It is used by one goroutine at a time.
type Machine struct {
	// Dir holds its disk and what it needs while it runs.
	Dir string
	// Direct lets QEMU load the kernel, which saves the time of the firmware.
	Direct bool
	// MQTT and Admin are where the board's ports 1883 and 7070 are here.
	MQTT, Admin string
	// Token opens the admin API; see Prepare.
	Token string

	cmd    *exec.Cmd
	exited chan error
	output rig.Output
}

// New makes a machine whose disk is a copy of the image.
func New(ctx context.Context, image, dir string) (*Machine, error) {
	m := &Machine{Dir: dir}
	// cp knows how to leave holes where the image has them.
	if out, err := exec.CommandContext(ctx, "cp", "--sparse=always", image, m.Disk()).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("copy the image: %w\n%s", err, out)
	}
	var err, err2 error
	m.MQTT, err = rig.FreeAddress()
	m.Admin, err2 = rig.FreeAddress()
	return m, errors.Join(err, err2)
}

// Disk is the disk's file.
func (m *Machine) Disk() string { return filepath.Join(m.Dir, "disk.img") }

func (m *Machine) monitorPath() string { return filepath.Join(m.Dir, "monitor") }

// Log is what the kernel said on the serial line.
func (m *Machine) Log() string {
	raw, _ := os.ReadFile(filepath.Join(m.Dir, "serial"))
	return string(raw)
}

// Start powers the machine on.
func (m *Machine) Start(ctx context.Context) error {
	args := []string{
		"-M", "virt,acpi=off", "-cpu", "cortex-a72", "-smp", "2", "-m", "1024", "-display", "none", "-no-reboot",
		"-serial", "file:" + filepath.Join(m.Dir, "serial"),
		"-monitor", "unix:" + m.monitorPath() + ",server,nowait",
		"-drive", "file=" + m.Disk() + ",format=raw,if=none,id=d0,cache=writeback", "-device", "virtio-blk-pci,drive=d0",
		"-netdev", "user,id=n0,hostfwd=tcp:" + m.MQTT + "-:1883,hostfwd=tcp:" + m.Admin + "-:7070",
		"-device", "virtio-net-pci,netdev=n0,romfile=",
		"-device", "i6300esb", "-action", "watchdog=reset",
	}
	boot, err := m.boot(ctx)
	if err != nil {
		return err
	}
	m.output.Reset()
	m.cmd = exec.CommandContext(context.WithoutCancel(ctx), qemu, append(args, boot...)...)
	m.cmd.Stdout, m.cmd.Stderr = &m.output, &m.output
	// Ctrl-C must not reach it, and nothing of it must outlive this process.
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := m.cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w (apt-get install qemu-system-arm qemu-efi-aarch64)", qemu, err)
	}
	exited := make(chan error, 1)
	go func(cmd *exec.Cmd) { exited <- cmd.Wait() }(m.cmd)
	m.exited = exited
	return nil
}

// boot are the arguments that say what is started.
func (m *Machine) boot(ctx context.Context) ([]string, error) {
	if !m.Direct {
		return []string{"-bios", firmware}, nil
	}
	kernel := filepath.Join(m.Dir, "vmlinuz")
	if _, err := os.Stat(kernel); err != nil {
		if err := m.copyOut(ctx, "vmlinuz", kernel); err != nil {
			return nil, err
		}
	}
	cmdline, err := m.ReadBoot(ctx, "cmdline.txt")
	if err != nil {
		return nil, err
	}
	for f := range strings.FieldsSeq(cmdline) {
		if strings.HasPrefix(f, "root=") {
			args := "console=ttyAMA0,115200 " + f + " ro init=/gokrazy/init rootwait panic=10 oops=panic"
			return []string{"-kernel", kernel, "-append", args}, nil
		}
	}
	return nil, errors.New("the image's cmdline.txt names no root")
}

// Running reports whether the machine is on.
func (m *Machine) Running() bool { return m.exited != nil && len(m.exited) == 0 }

// Cut takes the power away.
func (m *Machine) Cut() error {
	if m.exited == nil {
		return nil
	}
	err := m.cmd.Process.Kill()
	exit := <-m.exited
	m.exited = nil
	if errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("the machine had ended by itself: %w\n%s\n%s", exit, m.output.String(), tail(m.Log()))
	}
	return err
}

// End cuts the power, whatever state the machine is in.
func (m *Machine) End() { _ = m.Cut() }

// PowerDown presses the power button, and waits until the machine is off.
func (m *Machine) PowerDown(ctx context.Context, within time.Duration) error {
	if _, err := m.Monitor(ctx, "system_powerdown"); err != nil {
		return err
	}
	select {
	case err := <-m.exited:
		m.exited = nil
		return err
	case <-time.After(within):
		return errors.Join(fmt.Errorf("the machine did not power down within %v\n%s", within, tail(m.Log())), m.Cut())
	}
}

// Monitor gives QEMU a command and returns what it answered.
func (m *Machine) Monitor(ctx context.Context, command string) (string, error) {
	conn, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, "unix", m.monitorPath())
	if err != nil {
		return "", fmt.Errorf("monitor: %w", err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := upToPrompt(conn); err != nil {
		return "", fmt.Errorf("monitor: %w", err)
	}
	if _, err := io.WriteString(conn, command+"\n"); err != nil {
		return "", fmt.Errorf("monitor: %w", err)
	}
	answer, err := upToPrompt(conn)
	if errors.Is(err, io.EOF) { // of a machine that went off upon it
		err = nil
	}
	_, answer, _ = strings.Cut(answer, "\n") // its echo
	return answer, err
}

func upToPrompt(r io.Reader) (string, error) {
	var b bytes.Buffer
	one := make([]byte, 1)
	for !bytes.HasSuffix(b.Bytes(), []byte("(qemu) ")) {
		if _, err := r.Read(one); err != nil {
			return b.String(), err
		}
		b.Write(one)
	}
	return strings.TrimSuffix(b.String(), "(qemu) "), nil
}

// tail is the end of a long text.
func tail(s string) string { return s[max(0, len(s)-3000):] }
