package toolchain

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/gob"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/headgate-io/headgate/internal/durable"
	"github.com/headgate-io/headgate/sdk/build"
)

// kept returns what the same sources were built to before, or builds them and
// keeps that, where TESTCACHE_DIR names a folder for it: several packages
// test with the same examples.
func kept(ctx context.Context, t testing.TB, r build.Request) (*build.Artifact, error) {
	cache := os.Getenv("TESTCACHE_DIR")
	if cache == "" {
		return build.Build(ctx, r)
	}
	key, err := sources(Root(t), r)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(cache, "artifacts", key)
	if raw, err := os.ReadFile(path); err == nil {
		var a build.Artifact
		if gob.NewDecoder(bytes.NewReader(raw)).Decode(&a) == nil {
			return &a, nil
		}
	}
	a, err := build.Build(ctx, r)
	if err != nil {
		return nil, err
	}
	var raw bytes.Buffer
	if err := gob.NewEncoder(&raw).Encode(a); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	return a, durable.Replace(path, raw.Bytes())
}

// sources names a request and all that goes into its artifact.
func sources(root string, r build.Request) (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "%q", []any{filepath.Base(r.Dir), r.Main, r.Compiler, r.Command})
	for _, from := range []string{r.Dir, filepath.Join(root, "sdk"), filepath.Join(root, "go.sum")} {
		if err := addFiles(h, from); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func addFiles(h hash.Hash, from string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && d.Name() == "node_modules" {
			return filepath.SkipDir
		}
		if !d.Type().IsRegular() || filepath.Ext(path) == ".wasm" {
			return nil
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		sum := sha256.New()
		if _, err := io.Copy(sum, f); err != nil {
			return err
		}
		fmt.Fprintf(h, "%q %x\n", name, sum.Sum(nil))
		return nil
	})
}
