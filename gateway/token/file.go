package token

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// minFileToken is the shortest token that a file may hold.
const minFileToken = 16

// ReadFile reads the token in file, and makes one when there is none. A file
// that everybody could read is closed to them, not to its group, who may open
// the admin socket too: tightened says so.
func ReadFile(file string) (secret string, tightened bool, err error) {
	raw, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		secret, err = createFile(file)
		return secret, false, err
	}
	if err != nil {
		return "", false, fmt.Errorf("admin token: %w", err)
	}
	secret = strings.TrimSpace(string(raw))
	if len(secret) < minFileToken {
		return "", false, fmt.Errorf("admin token %s: shorter than %d characters: delete the file to have one made", file, minFileToken)
	}
	info, err := os.Stat(file)
	if err != nil {
		return "", false, fmt.Errorf("admin token: %w", err)
	}
	if info.Mode().Perm()&0o007 == 0 {
		return secret, false, nil
	}
	if err := os.Chmod(file, info.Mode().Perm()&^0o007); err != nil {
		return "", false, fmt.Errorf("admin token %s can be read by others: %w", file, err)
	}
	return secret, true, nil
}

// createFile never follows a link that somebody laid there.
func createFile(file string) (string, error) {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", fmt.Errorf("admin token: %w", err)
	}
	secret := Make()
	_, err = f.WriteString(secret + "\n")
	if err := errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("admin token: %w", err)
	}
	return secret, nil
}
