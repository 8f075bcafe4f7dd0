package doctor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Flash says how much the gateway has written since its start, how much more
// than it was asked to keep, and how worn the card says it is (JEDEC eMMC 5.0,
// EXT_CSD 267 to 269, which SD cards do not have).
func Flash(dir string, s Records) Probe {
	return Probe{"flash", func(context.Context) Check {
		written, err := writtenBytes("/proc/self/io")
		if err != nil {
			return warn("mount /proc", "cannot tell what was written: %v", err)
		}
		st := s.Stats()
		detail := fmt.Sprintf("%s written since the start", bytes(written))
		detail += fmt.Sprintf(" for %s of records in %d commits", bytes(int64(st.CommittedBytes)), st.Commits)
		if st.CommittedBytes >= enough {
			detail += fmt.Sprintf(" (amplification %.1f)", float64(written)/float64(st.CommittedBytes))
		}
		device, err := blockDevice(dir)
		if err != nil {
			return ok("%s; the disk tells nothing about its wear", detail)
		}
		return wear(filepath.Join(device, "device"), detail)
	}}
}

// enough records make a ratio that says something.
const enough = 1 << 20

// wear reads what an eMMC says of itself. Its life is told in tenths.
func wear(device, detail string) Check {
	life, err := os.ReadFile(filepath.Join(device, "life_time"))
	if err != nil {
		return ok("%s; the disk tells nothing about its wear", detail)
	}
	worst := int64(0)
	for _, field := range strings.Fields(string(life)) {
		if n, err := strconv.ParseInt(field, 0, 32); err == nil {
			worst = max(worst, n)
		}
	}
	end, _ := os.ReadFile(filepath.Join(device, "pre_eol_info"))
	spare, _ := strconv.ParseInt(strings.TrimSpace(string(end)), 0, 32)
	const advice = "replace the card soon: 'headgate backup' now, 'headgate restore' on the new one"
	switch {
	case worst == 0:
		return ok("%s; the disk tells nothing about its wear", detail)
	case worst > 10 || spare >= 3:
		return fail(advice, "%s; the card is past its life", detail)
	case worst > 8 || spare == 2:
		return warn(advice, "%s; %d %% of the card's life is used", detail, worst*10)
	}
	return ok("%s; at most %d %% of the card's life is used", detail, worst*10)
}

// blockDevice is the folder in /sys of the disk that holds dir.
func blockDevice(dir string) (string, error) {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return "", err
	}
	dev := uint64(st.Dev) //nolint:unconvert // 32 bits on some machines
	link := fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(dev), unix.Minor(dev))
	path, err := filepath.EvalSymlinks(link)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(filepath.Join(path, "partition")); err == nil {
		path = filepath.Dir(path)
	}
	return path, nil
}

// writtenBytes is what the process has caused to be written to disks.
func writtenBytes(file string) (int64, error) {
	f, err := os.Open(file)
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if text, found := strings.CutPrefix(lines.Text(), "write_bytes: "); found {
			return strconv.ParseInt(text, 10, 64)
		}
	}
	return 0, errors.Join(fmt.Errorf("%s has no write_bytes", file), lines.Err())
}
