package main

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// crashing makes a program that ends as soon as it is started: there are no
// instructions where it begins.
func crashing(program []byte) ([]byte, error) {
	f, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		return nil, err
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD && f.Entry >= p.Vaddr && f.Entry < p.Vaddr+p.Filesz {
			at := p.Off + f.Entry - p.Vaddr
			out := bytes.Clone(program)
			clear(out[at : at+64])
			return out, nil
		}
	}
	return nil, errors.New("the program begins nowhere")
}

// deaf builds a program that starts, and never is ready.
func deaf(ctx context.Context, dir string) ([]byte, error) {
	out := filepath.Join(dir, "deaf")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", out, "github.com/headgate-io/headgate/firmware-tests/image/deaf")
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm64", "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build deaf: %w\n%s", err, text)
	}
	return os.ReadFile(out)
}
