package token

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/headgate-io/headgate/internal/durable"
)

// minFileToken is the shortest token that a file may hold.
const minFileToken = 16

// ReadFile reads the token in file, and makes one when there is none, or
// nothing in it, as a power cut or a full disk can leave it. A file that
// everybody could read is closed to them, not to its group, who may open
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
	secret = strings.Trim(string(raw), "\x00 \t\r\n")
	if secret == "" {
		secret, err = createFile(file)
		return secret, false, err
	}
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

// createFile makes the file in one step that a power cut leaves done or
// undone, and never follows a link that somebody laid there.
func createFile(file string) (secret string, err error) {
	if info, err := os.Lstat(file); err == nil && !info.Mode().IsRegular() {
		return "", fmt.Errorf("admin token %s: it is no file: remove it to have one made", file)
	}
	secret = Make()
	if err := durable.Replace(file, []byte(secret+"\n")); err != nil {
		return "", fmt.Errorf("admin token: %w", err)
	}
	return secret, nil
}
