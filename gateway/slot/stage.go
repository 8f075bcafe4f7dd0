package slot

import (
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/headgate-io/headgate/internal/durable"
)

// MaxBytes bounds a binary.
const MaxBytes = 128 << 20

// ErrTrial refuses an update while another one is being tried.
var ErrTrial = errors.New("an update is being tried: wait until it is confirmed or taken back ('headgate system status')")

// ErrStaging refuses an update while another one arrives: they would write to
// the same file.
var ErrStaging = errors.New("another update is just arriving: wait for it")

// Update is a new binary on its way in.
type Update struct {
	// SHA256 is what the binary must have, in hex; empty takes any.
	SHA256 string
	// Attempt tells one try of the same binary from the next.
	Attempt string
	// Tolerated are the doctor's checks that fail already.
	Tolerated []string
	// Within is how long it has to show that it works; 0 is the launcher's
	// own.
	Within time.Duration
	// Verify looks at the binary when it is on the disk, and refuses it with
	// an error. It is where signatures are checked; nil checks none.
	Verify func(ctx context.Context, path string) error
}

// Stage puts a new binary into the slot that does not run, and its trial into
// the state: the next start is its first.
func (d *Dir) Stage(ctx context.Context, r io.Reader, u Update) (Binary, error) {
	if !d.staging.TryLock() {
		return Binary{}, ErrStaging
	}
	defer d.staging.Unlock()
	s, err := d.Load()
	if err != nil {
		return Binary{}, err
	}
	if s.Trial != nil {
		return Binary{}, ErrTrial
	}
	into := A
	if s.Current == A {
		into = B
	}
	b, err := d.receive(ctx, r, into, &u)
	if err != nil {
		return Binary{}, err
	}
	if s.BaseSHA256, err = digest(d.base); err != nil {
		return Binary{}, fmt.Errorf("slots: %w", err)
	}
	if s.Previous == into {
		s.Previous = ""
	}
	s.Slots[into], s.Trial, s.Failure = b, &Trial{Slot: into, Tolerated: u.Tolerated, Within: u.Within, Attempt: u.Attempt}, nil
	return b, d.save(&s)
}

// receive writes the binary beside its slot, checks it there and moves it in.
func (d *Dir) receive(ctx context.Context, r io.Reader, into Name, u *Update) (b Binary, err error) {
	incoming := filepath.Join(d.path, "incoming")
	if err := os.Remove(incoming); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return b, fmt.Errorf("slots: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(incoming) // the next one removes it too
		}
	}()
	f, err := os.OpenFile(incoming, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o700)
	if err != nil {
		return b, fmt.Errorf("slots: %w", err)
	}
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, h), io.LimitReader(r, MaxBytes+1))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return b, fmt.Errorf("receive the binary: %w", err)
	}
	b = Binary{SHA256: hex.EncodeToString(h.Sum(nil)), Bytes: n, Staged: d.now()}
	if n > MaxBytes {
		return b, fmt.Errorf("the binary has more than %d MiB", MaxBytes>>20)
	}
	if u.SHA256 != "" && u.SHA256 != b.SHA256 {
		return b, fmt.Errorf("the binary has the SHA-256 %s, not %s: it did not arrive whole, or is another one", b.SHA256, u.SHA256)
	}
	if err := runsHere(incoming); err != nil {
		return b, err
	}
	if u.Verify != nil {
		if err := u.Verify(ctx, incoming); err != nil {
			return b, err
		}
	}
	if err := os.Rename(incoming, d.Path(into)); err != nil {
		return b, fmt.Errorf("slots: %w", err)
	}
	return b, durable.SyncFolder(d.path)
}

// machines are the ELF machines of Go's architectures that headgate is built
// for.
var machines = map[string]elf.Machine{"arm64": elf.EM_AARCH64, "arm": elf.EM_ARM, "amd64": elf.EM_X86_64}

// runsHere refuses what is no program for this machine.
func runsHere(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	f, err := elf.NewFile(file)
	if err != nil {
		return fmt.Errorf("this is no program for Linux (%w): give the binary 'headgate' itself, not its archive", err)
	}
	if f.Type != elf.ET_EXEC && f.Type != elf.ET_DYN {
		return errors.New("this is an ELF file, but no program")
	}
	if want, ok := machines[runtime.GOARCH]; ok && f.Machine != want {
		return fmt.Errorf("this is a program for %v, the machine is %v: take the one for %s", f.Machine, want, runtime.GOARCH)
	}
	return nil
}
