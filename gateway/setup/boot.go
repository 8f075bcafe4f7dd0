package setup

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNoBoot is a machine that has no boot partition as the image's.
var ErrNoBoot = errors.New("no boot partition")

// MountBoot mounts the image's boot partition, which is the first of the disk
// whose fourth is mounted at perm. unmount writes what was changed.
func MountBoot(perm string) (dir string, unmount func() error, err error) {
	device, err := bootDevice("/proc/mounts", perm)
	if err != nil {
		return "", nil, err
	}
	dir, err = os.MkdirTemp("", "headgate-boot-") // for this user alone
	if err != nil {
		return "", nil, err
	}
	if err := unix.Mount(device, dir, "vfat", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "fmask=0177,dmask=0077"); err != nil {
		return "", nil, errors.Join(fmt.Errorf("mount the boot partition %s: %w", device, err), os.Remove(dir))
	}
	return dir, func() error { return errors.Join(unix.Unmount(dir, 0), os.Remove(dir)) }, nil
}

// bootDevice finds the partition in a table of mounts: /dev/mmcblk0p4 has the
// boot partition /dev/mmcblk0p1.
func bootDevice(mounts, perm string) (string, error) {
	f, err := os.Open(mounts)
	if err != nil {
		return "", err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || fields[1] != perm {
			continue
		}
		if disk, ok := strings.CutSuffix(fields[0], "4"); ok && strings.HasPrefix(disk, "/dev/") {
			return disk + "1", nil
		}
	}
	return "", errors.Join(ErrNoBoot, lines.Err())
}
