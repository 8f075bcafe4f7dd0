package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/headgate-io/headgate/firmware-tests/rig"
	"github.com/headgate-io/headgate/gateway/admin/api"
)

// small is the disk that updates come to: room for the gateway's binary, once as
// it arrives and once where it is going to run.
const small = "size=192m"

// updating fills a small tmpfs under a gateway whose owner then signs another
// version of its function, and another binary.
func updating(ctx context.Context, binary string) (err error) {
	dir, err := os.MkdirTemp("", "headgate-full-update-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	disk := filepath.Join(dir, "disk")
	if err := os.Mkdir(disk, 0o700); err != nil {
		return err
	}
	if err := unix.Mount("headgate", disk, "tmpfs", 0, small); err != nil {
		return fmt.Errorf("mount a tmpfs (this needs root): %w", err)
	}
	defer func() { err = errors.Join(err, unix.Unmount(disk, unix.MNT_DETACH)) }()
	o := &owned{repository: filepath.Join(dir, "repository"), project: filepath.Join(dir, "project"), binary: binary, next: filepath.Join(dir, "next")}
	if o.Gateway, err = rig.New(binary, disk); err != nil {
		return err
	}
	if err := o.prepare(ctx, disk); err != nil {
		return err
	}
	return errors.Join(o.update(ctx, disk), o.End())
}

// owned is a gateway on a small disk that takes what its owner signs elsewhere.
type owned struct {
	*rig.Gateway
	repository, project string
	binary, next        string // the binary that runs, and the one that is signed
}

// prepare signs the first version and has the gateway run it.
func (o *owned) prepare(ctx context.Context, disk string) error {
	if err := os.Setenv("HEADGATE_KEYS_PASSPHRASE", "of a test"); err != nil { // of the command line, which inherits it
		return err
	}
	base := filepath.Join(filepath.Dir(disk), "base")
	if err := os.Link(o.binary, base); err != nil {
		raw, err := os.ReadFile(o.binary)
		if err == nil {
			err = os.WriteFile(base, raw, 0o700)
		}
		if err != nil {
			return err
		}
	}
	err := o.Configure(fmt.Sprintf(`updates:
  url: file://%s
  root: %s/metadata/root.json
  interval: 1s
  reserve: 1MiB
  canary: {percent: 0, for: 1s, sample: 1, within: 2s}
system: {dir: %s/system, base: %s}
`, o.repository, o.repository, disk, base))
	if err != nil {
		return err
	}
	if _, err := o.Run(ctx, "keys", "init", o.repository); err != nil {
		return err
	}
	if err := o.publish(ctx, "one"); err != nil {
		return err
	}
	if err := o.Start(ctx); err != nil {
		return err
	}
	if err := o.until(ctx, "the first version runs", func() error { return o.says(ctx, "one") }); err != nil {
		return errors.Join(err, o.End())
	}
	return nil
}

// publish signs a version that answers with a word.
func (o *owned) publish(ctx context.Context, word string) error {
	if err := os.MkdirAll(o.project, 0o700); err != nil {
		return err
	}
	for name, text := range map[string]string{
		"headgate.yaml": "functions:\n  word: {main: word.js}\n",
		"word.js":       fmt.Sprintf("export default () => %q;\n", word),
	} {
		if err := os.WriteFile(filepath.Join(o.project, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	_, err := o.Run(ctx, "publish", o.repository, o.project)
	return err
}

// says asks the function.
func (o *owned) says(ctx context.Context, word string) error {
	out, err := o.Run(ctx, "invoke", "word")
	if err == nil && !strings.Contains(out, word) {
		err = fmt.Errorf("it answers %q, not %q", strings.TrimSpace(out), word)
	}
	return err
}

// until tries for a while.
func (o *owned) until(ctx context.Context, what string, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := try()
		if err == nil {
			fmt.Printf("%-46s %8s\n", what, "yes")
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w\n%s", what, err, o.Log())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// noRoom wants the gateway to say that it looked, and why it took nothing: for a
// while, and for nothing that the version has done.
func (o *owned) noRoom(ctx context.Context) error {
	var u api.Updates
	if err := o.Client.Do(ctx, http.MethodGet, "/v1/updates", nil, &u); err != nil {
		return err
	}
	for _, f := range u.Functions {
		if f.Stage == "refused" || f.Stage == "rolled back" {
			return fmt.Errorf("%s is %s for ever", f.Function, f.Stage)
		}
	}
	for _, why := range []string{"no space left", "not enough room", "free on the disk"} {
		if strings.Contains(u.Error, why) {
			return nil
		}
	}
	return fmt.Errorf("the gateway says of updates: %q", u.Error)
}

func (o *owned) update(ctx context.Context, disk string) error {
	filler := filepath.Join(disk, "filler")
	size, err := writeFiller(filler)
	if err != nil {
		return err
	}
	fmt.Printf("%-46s %8d MB\n", "disk filled to the last byte, with", size>>20)
	if err := o.publish(ctx, "two"); err != nil {
		return err
	}
	if err := o.until(ctx, "the second version finds no room", func() error { return o.noRoom(ctx) }); err != nil {
		return err
	}
	if err := o.unchanged(ctx); err != nil {
		return err
	}
	if err := o.Kill(); err != nil {
		return err
	}
	if err := o.Start(ctx); err != nil {
		return fmt.Errorf("start on the full disk: %w", err)
	}
	if err := o.until(ctx, "killed and started, the first version runs", func() error { return o.says(ctx, "one") }); err != nil {
		return err
	}
	if err := o.signBinary(ctx); err != nil {
		return err
	}
	if err := o.until(ctx, "and so waits the gateway's own binary", func() error { return o.noRoom(ctx) }); err != nil {
		return err
	}
	if err := o.unchanged(ctx); err != nil {
		return err
	}
	return o.goesOn(ctx, filler)
}

// unchanged wants the old version to run, and no part of a new one to have been
// taken for a whole.
func (o *owned) unchanged(ctx context.Context) error {
	for range 20 { // while it is looked for again and again
		if err := o.says(ctx, "one"); err != nil {
			return fmt.Errorf("on the full disk: %w", err)
		}
	}
	var s api.System
	if err := o.Client.Do(ctx, http.MethodGet, "/v1/system", nil, &s); err != nil {
		return err
	}
	if s.Current != "base" || s.Trial != nil || s.Failure != nil {
		return fmt.Errorf("on the full disk: the binary is %+v", s)
	}
	return nil
}

// signBinary signs a copy of the gateway that is another file.
func (o *owned) signBinary(ctx context.Context) error {
	raw, err := os.ReadFile(o.binary)
	if err != nil {
		return err
	}
	if err := os.WriteFile(o.next, append(raw, "\nanother"...), 0o700); err != nil {
		return err
	}
	_, err = o.Run(ctx, "publish", o.repository, "--binary", o.next, "--version", "another")
	return err
}

// goesOn takes the filler away: both come, without anybody's help.
func (o *owned) goesOn(ctx context.Context, filler string) error {
	if err := os.Remove(filler); err != nil {
		return err
	}
	// The binary makes place for the other one once that is staged; the rig is no
	// launcher, and starts the same again.
	err := o.until(ctx, "there is room: the new binary is staged", func() error {
		if o.Ended() {
			return nil
		}
		said, err := o.Run(ctx, "update", "status")
		return errors.Join(fmt.Errorf("the gateway runs on:\n%s", said), err)
	})
	if err != nil {
		return err
	}
	if err := o.Start(ctx); err != nil && !errors.Is(err, rig.ErrEnded) {
		return err
	}
	return o.until(ctx, "and the second version runs", func() error { return o.says(ctx, "two") })
}
