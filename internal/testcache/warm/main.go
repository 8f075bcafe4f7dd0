// Command warm compiles the script engines into the folder that TESTCACHE_DIR
// names, once for the tests of all packages.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/internal/testcache"
	"github.com/headgate-io/headgate/sandbox"
	"github.com/headgate-io/headgate/sandbox/engine/micropython"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "warm:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	dir := testcache.Warm()
	if dir == "" {
		return errors.New("TESTCACHE_DIR names no folder")
	}
	e, err := sandbox.New(ctx, sandbox.Config{CacheDir: dir})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close(ctx)) }()
	scripts := map[string]string{"main.js": "export default () => 1"}
	if micropython.Available() {
		scripts["main.py"] = "def handler(event, context):\n    return 1\n"
	}
	for name, source := range scripts {
		m, err := e.Compile(ctx, sandbox.Code{Name: "warm", Main: name, Files: map[string][]byte{name: []byte(source)}}, function.Limits{}, sandbox.Setup{})
		if err != nil {
			return err
		}
		if err := m.Close(ctx); err != nil {
			return err
		}
	}
	return nil
}
