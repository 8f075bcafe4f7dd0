package machine

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/headgate-io/headgate/gateway/setup"
)

// bootOffset is where the boot partition begins, bootBytes how long it is.
const (
	bootOffset = 4 << 20
	bootBytes  = 100 << 20
)

func (m *Machine) bootFS() string { return fmt.Sprintf("%s@@%d", m.Disk(), bootOffset) }

// mtools runs one of the programs that work on the boot partition of a disk
// that nobody has mounted.
func mtools(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "MTOOLS_SKIP_CHECK=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// ReadBoot reads a file of the boot partition.
func (m *Machine) ReadBoot(ctx context.Context, name string) (string, error) {
	return mtools(ctx, "mtype", "-i", m.bootFS(), "::/"+name)
}

// OnBoot reports whether the boot partition has a file.
func (m *Machine) OnBoot(ctx context.Context, name string) bool {
	_, err := mtools(ctx, "mdir", "-b", "-i", m.bootFS(), "::/"+name)
	return err == nil
}

// BootHolds reports whether the boot partition holds a text anywhere, the
// places that no file has included.
func (m *Machine) BootHolds(text string) (bool, error) {
	f, err := os.Open(m.Disk())
	if err != nil {
		return false, err
	}
	defer f.Close()
	b := make([]byte, bootBytes)
	if _, err := f.ReadAt(b, bootOffset); err != nil {
		return false, err
	}
	return bytes.Contains(b, []byte(text)), nil
}

func (m *Machine) copyOut(ctx context.Context, name, to string) error {
	_, err := mtools(ctx, "mcopy", "-n", "-i", m.bootFS(), "::/"+name, to)
	return err
}

// WriteBoot puts a file on the boot partition of a machine that is off.
func (m *Machine) WriteBoot(ctx context.Context, name, content string) error {
	file := filepath.Join(m.Dir, "boot-"+name)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		return err
	}
	_, err := mtools(ctx, "mcopy", "-o", "-i", m.bootFS(), file, "::/"+name)
	return err
}

// Prepare puts a setup file on the boot partition that opens the admin API; more
// are further lines of it.
func (m *Machine) Prepare(ctx context.Context, more string) error {
	var random [20]byte
	if _, err := rand.Read(random[:]); err != nil {
		return err
	}
	m.Token = hex.EncodeToString(random[:])
	return m.WriteBoot(ctx, setup.FileName, "admin: {token: "+m.Token+"}\n"+more)
}

var fingerprint = regexp.MustCompile(`(?m)^[0-9a-f]{64}$`)

// Host is the admin API's address with the fingerprint of its certificate,
// which is in the note that the board leaves on its boot partition.
func (m *Machine) Host(ctx context.Context) (string, error) {
	note, err := m.ReadBoot(ctx, setup.AppliedName)
	if err != nil {
		return "", err
	}
	sum := fingerprint.FindString(note)
	if sum == "" {
		return "", fmt.Errorf("%s names no fingerprint:\n%s", setup.AppliedName, note)
	}
	return "https://" + m.Admin + "#sha256=" + sum, nil
}

// DataClean looks at the data partition of a machine that is off, on a copy, as
// the next boot would find it: the journal is replayed, and what is left must be
// a sound file system.
func (m *Machine) DataClean(ctx context.Context) error {
	offset, err := m.dataOffset()
	if err != nil {
		return err
	}
	copied := filepath.Join(m.Dir, "data.img")
	defer func() { _ = os.Remove(copied) }() // the machine's folder goes anyway
	dd := exec.CommandContext(ctx, "dd", "if="+m.Disk(), "of="+copied, "bs=1M", fmt.Sprintf("skip=%d", offset>>20), "conv=sparse", "status=none")
	if out, err := dd.CombinedOutput(); err != nil {
		return fmt.Errorf("copy the data partition: %w\n%s", err, out)
	}
	// 1 says that it replayed, or finished a deletion that was under way.
	if out, err := e2fsck(ctx, "-p", copied); err != nil && exitCode(err) != 1 {
		return fmt.Errorf("e2fsck -p: %w\n%s", err, out)
	}
	if out, err := e2fsck(ctx, "-f", "-n", copied); err != nil {
		return fmt.Errorf("the data partition is not clean: e2fsck -fn: %w\n%s", err, out)
	}
	return nil
}

func e2fsck(ctx context.Context, args ...string) (string, error) {
	path, err := exec.LookPath("e2fsck")
	if err != nil {
		path = "/sbin/e2fsck"
	}
	out, err := exec.CommandContext(ctx, path, args...).CombinedOutput()
	return string(out), err
}

func exitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return -1
}

// dataOffset is where the data partition begins: the fourth of the GPT.
func (m *Machine) dataOffset() (int64, error) {
	f, err := os.Open(m.Disk())
	if err != nil {
		return 0, err
	}
	defer f.Close()
	const entries, size, fourth, firstLBA = 2 * 512, 128, 3, 32
	b := make([]byte, 8)
	if _, err := f.ReadAt(b, entries+size*fourth+firstLBA); err != nil {
		return 0, err
	}
	lba := int64(b[0]) | int64(b[1])<<8 | int64(b[2])<<16 | int64(b[3])<<24
	if lba == 0 || lba*512%(1<<20) != 0 {
		return 0, fmt.Errorf("the disk's fourth partition begins at sector %d, which is no whole MiB", lba)
	}
	return lba * 512, nil
}

// The registers of the board's GPIO controller, a PL061 (ARM DDI 0190B, 3.2):
// data under the mask of all lines, and direction.
const (
	gpioData      = 0x90303fc
	gpioDirection = 0x9030400
)

// Lines reads the GPIO controller from outside: the levels of its lines, and
// which of them are outputs, a bit each.
func (m *Machine) Lines(ctx context.Context) (levels, outputs byte, err error) {
	if levels, err = m.register(ctx, gpioData); err != nil {
		return 0, 0, err
	}
	outputs, err = m.register(ctx, gpioDirection)
	return levels, outputs, err
}

func (m *Machine) register(ctx context.Context, address int) (byte, error) {
	answer, err := m.Monitor(ctx, fmt.Sprintf("xp /1wx %#x", address))
	if err != nil {
		return 0, err
	}
	_, value, ok := strings.Cut(answer, ": ")
	if !ok {
		return 0, fmt.Errorf("monitor: read %#x: %q", address, answer)
	}
	n, err := strconv.ParseUint(strings.TrimPrefix(strings.TrimSpace(value), "0x"), 16, 32)
	return byte(n), err
}
