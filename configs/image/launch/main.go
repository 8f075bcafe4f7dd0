// Command launch is what the image's init starts: it becomes the launcher of
// the headgate binary that lies beside it in the image. It is a program of its
// own so that the image carries the very binary that the packages carry, and
// its module none of that binary's dependencies.
package main

import (
	"fmt"
	"os"
	"syscall"
)

// binary is where the image's build puts the gateway.
const binary = "/usr/local/bin/headgate"

func main() {
	err := syscall.Exec(binary, append([]string{"headgate", "launch"}, os.Args[1:]...), os.Environ())
	fmt.Fprintf(os.Stderr, "launch: %s: %v\n", binary, err)
	os.Exit(1)
}
