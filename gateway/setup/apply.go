package setup

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/headgate-io/headgate/internal/durable"
)

// Board is where a board keeps what it was told.
type Board struct {
	// Home is the folder of the gateway: its config.yaml, state and system.
	Home string
	// WiFiFile is where the image's Wi-Fi client looks.
	WiFiFile string
	Now      func() time.Time
}

// ConfigPath is the gateway's configuration.
func (b *Board) ConfigPath() string { return filepath.Join(b.Home, "config.yaml") }

// StateDir is the gateway's state.
func (b *Board) StateDir() string { return filepath.Join(b.Home, "state") }

// SystemDir has the slots of the binary, and what is kept of the setup.
func (b *Board) SystemDir() string { return filepath.Join(b.Home, "system") }

// Prepare makes the folders, and a configuration where there is none: nothing
// of it is open to the network.
func (b *Board) Prepare() error {
	for _, dir := range []string{b.Home, b.StateDir(), b.SystemDir(), b.tlsDir()} {
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return fmt.Errorf("prepare the board: %w", err)
		}
	}
	_, err := os.Stat(b.ConfigPath())
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	config, err := b.config(&File{}, nil)
	if err != nil {
		return err
	}
	return durable.Replace(b.ConfigPath(), config)
}

// Apply carries out the setup file of a boot partition, where there is one,
// and wipes it. What was wrong with it is in the status, beside the file and
// in the error; then nothing of it was carried out. A power cut at any moment
// leaves the file there or everything done.
func (b *Board) Apply(boot string) (Status, error) {
	status, err := b.Status()
	if err != nil {
		return status, err
	}
	name, src, err := read(boot)
	if err != nil || name == "" {
		return status, err
	}
	if len(bytes.Trim(src, "\x00")) == 0 { // a power cut during the wiping
		return status, wipe(boot, name, len(src))
	}
	if err := b.carryOut(name, src, &status); err != nil {
		status.Error = err.Error()
		note := "The setup file was not carried out:\n\n" + status.Error + "\n\nCorrect " + name + " and start the board again.\n"
		return status, errors.Join(err, b.saveStatus(&status), write(filepath.Join(boot, ErrorName), []byte(note)))
	}
	if err := b.saveStatus(&status); err != nil {
		return status, err
	}
	err = write(filepath.Join(boot, AppliedName), []byte(status.note()))
	if missing := os.Remove(filepath.Join(boot, ErrorName)); missing != nil && !errors.Is(missing, fs.ErrNotExist) {
		err = errors.Join(err, missing)
	}
	return status, errors.Join(err, wipe(boot, name, len(src)))
}

// Check judges a setup file as a board does that finds it, and changes nothing;
// its errors say where and what to do.
func Check(name string, src []byte) (err error) {
	home, err := os.MkdirTemp("", "headgate-setup-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(home)) }()
	b := &Board{Home: home}
	if err := os.Mkdir(b.SystemDir(), 0o700); err != nil {
		return err
	}
	_, _, err = b.check(name, src)
	return err
}

// check is what the file says, and the configuration that follows from it.
func (b *Board) check(name string, src []byte) (f File, config []byte, err error) {
	if len(src) > maxFileBytes {
		return f, nil, fmt.Errorf("%s: larger than %d KiB: that is no setup file", name, maxFileBytes>>10)
	}
	f, where, err := parse(name, src)
	if err == nil {
		config, err = b.config(&f, where)
	}
	return f, config, err
}

// carryOut checks all of the file before it changes anything.
func (b *Board) carryOut(name string, src []byte, status *Status) error {
	f, config, err := b.check(name, src)
	if err != nil {
		return err
	}
	if f.Admin.Token != "" {
		if status.AdminFingerprint, err = b.certificate(f.Hostname); err != nil {
			return err
		}
		if err := durable.Replace(filepath.Join(b.StateDir(), "admin.token"), []byte(f.Admin.Token+"\n")); err != nil {
			return err
		}
	}
	if err := b.replaceConfig(config); err != nil {
		return err
	}
	status.Error, status.Applied = "", b.Now().UTC().Truncate(time.Second)
	return errors.Join(b.small(&f), b.pending(&f, status))
}

// replaceConfig keeps the configuration that it replaces.
func (b *Board) replaceConfig(config []byte) error {
	old, err := os.ReadFile(b.ConfigPath())
	if err == nil && !bytes.Equal(old, config) {
		err = durable.Replace(b.ConfigPath()+".old", old)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return durable.Replace(b.ConfigPath(), config)
}

// small keeps what the launcher and its neighbours read at every start.
func (b *Board) small(f *File) error {
	var errs []error
	if f.Hostname != "" {
		errs = append(errs, durable.Replace(b.hostnameFile(), []byte(f.Hostname+"\n")))
	}
	if len(f.NTP) > 0 {
		errs = append(errs, durable.Replace(filepath.Join(b.SystemDir(), "ntp"), []byte(strings.Join(f.NTP, "\n")+"\n")))
	}
	if f.WiFi.SSID != "" && b.WiFiFile != "" {
		raw, err := json.Marshal(map[string]string{"ssid": f.WiFi.SSID, "psk": f.WiFi.PSK, "country": f.WiFi.Country})
		errs = append(errs, err, durable.Replace(b.WiFiFile, raw))
	}
	return errors.Join(errs...)
}

// pending keeps what only the running gateway can do.
func (b *Board) pending(f *File, status *Status) error {
	if f.Enrolment.Controller != "" {
		raw, err := json.Marshal(f.Enrolment)
		if err := errors.Join(err, durable.Replace(b.enrolmentFile(), raw)); err != nil {
			return err
		}
		status.Controller = f.Enrolment.Controller
	}
	if len(f.Devices) == 0 {
		return nil
	}
	raw, err := json.Marshal(f.Devices)
	return errors.Join(err, durable.Replace(b.devicesFile(), raw))
}

func (b *Board) hostnameFile() string { return filepath.Join(b.SystemDir(), "hostname") }

func (b *Board) devicesFile() string { return filepath.Join(b.SystemDir(), "devices.json") }

// Hostname is the name that the board was given, or empty.
func (b *Board) Hostname() (string, error) {
	raw, err := os.ReadFile(b.hostnameFile())
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(string(raw)), err
}

// Devices are those that the running gateway still has to be told of.
func (b *Board) Devices() (list []Device, err error) {
	raw, err := os.ReadFile(b.devicesFile())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return list, json.Unmarshal(raw, &list)
}

func (b *Board) enrolmentFile() string { return filepath.Join(b.SystemDir(), "enrolment.json") }

// Enrolment is the controller that the running gateway still has to be told of;
// the zero value is none.
func (b *Board) Enrolment() (e Enrolment, err error) {
	raw, err := os.ReadFile(b.enrolmentFile())
	if errors.Is(err, fs.ErrNotExist) {
		return e, nil
	}
	if err != nil {
		return e, err
	}
	return e, json.Unmarshal(raw, &e)
}

// EnrolmentDone forgets it, and its token.
func (b *Board) EnrolmentDone() error {
	return wipe(b.SystemDir(), filepath.Base(b.enrolmentFile()), 0)
}

// DevicesDone forgets them, and their passwords.
func (b *Board) DevicesDone() error { return wipe(b.SystemDir(), filepath.Base(b.devicesFile()), 0) }

// wipe writes over a file in its place and removes it. What flash memory keeps
// of it below the file system nobody can reach from here.
func wipe(dir, name string, size int) error {
	path := filepath.Join(dir, name)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("wipe: %w", err)
	}
	if info, err := f.Stat(); err == nil {
		size = max(size, int(min(info.Size(), 2*maxFileBytes)))
	}
	_, err = f.Write(make([]byte, size))
	if err := errors.Join(err, f.Sync(), f.Close(), os.Remove(path)); err != nil {
		return fmt.Errorf("wipe: %w", err)
	}
	return durable.SyncFolder(dir)
}

// write puts a note on the boot partition, whose file system has no rename that
// could be relied on.
func write(path string, content []byte) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Sync(), f.Close())
}
