package doctor

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// StateDir says whether this process may write in the folder that holds
// everything the gateway keeps.
func StateDir(dir string) Probe {
	return Probe{"state_dir", func(context.Context) Check {
		info, err := os.Stat(dir)
		if err == nil && !info.IsDir() {
			err = unix.ENOTDIR
		}
		if err == nil {
			err = unix.Access(dir, unix.W_OK|unix.X_OK)
		}
		switch {
		case err == nil:
			return ok("%s can be written", dir)
		case errors.Is(err, unix.EROFS):
			return fail("'dmesg' says why, as a card at its end is; once the disk is sound: 'sudo mount -o remount,rw' and its mount point", "%s is on a disk that is mounted read-only", dir)
		case errors.Is(err, fs.ErrPermission):
			return fail("'sudo chown -R USER "+dir+"', with the user that the gateway runs as, or name another folder (state_dir)", "user %d may not write in %s", os.Geteuid(), dir)
		}
		return fail("have a folder there, or name another (state_dir)", "%s: %v", dir, err)
	}}
}
