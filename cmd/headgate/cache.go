package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// userCache makes the folder for what the user's tools compile. It holds code
// that they run, so it is nobody else's, and nobody else may write there: not
// even the user in whose home folder it is, when another one works there.
func userCache() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(base, 0o700); err != nil {
		return "", err
	}
	return cacheIn(base, os.Getuid())
}

// cacheIn makes the cache of the user of that number in what should be their
// folder of caches.
func cacheIn(base string, uid int) (string, error) {
	info, err := os.Stat(base)
	if err == nil {
		err = ownedBy(base, info, uid)
	}
	dir, open := base, false
	for _, level := range []string{"headgate", "sandbox"} {
		if err != nil {
			return "", err
		}
		dir = filepath.Join(dir, level)
		if err = os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return "", err
		}
		if info, err = os.Lstat(dir); err == nil {
			err = ownedBy(dir, info, uid)
		}
		if err == nil && info.Mode().Perm() != 0o700 {
			open = open || info.Mode().Perm()&0o022 != 0
			err = os.Chmod(dir, 0o700)
		}
	}
	if err == nil && open {
		// Others may have put code there: it begins anew. What lies beside it is
		// not run, and stays.
		err = errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700))
	}
	return dir, err
}

// ownedBy reports what is not a folder of that user.
func ownedBy(dir string, info fs.FileInfo, uid int) error {
	if owner, ok := info.Sys().(*syscall.Stat_t); !info.IsDir() || ok && int(owner.Uid) != uid {
		return fmt.Errorf("%s is no folder of this user's own", dir)
	}
	return nil
}
