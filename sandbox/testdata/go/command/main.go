// Command command is a program that knows nothing of the gateway.
package main

import (
	"bufio"
	crand "crypto/rand"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
)

var runs int

func main() {
	runs++
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		switch word, rest, _ := strings.Cut(in.Text(), " "); word {
		case "env":
			fmt.Println(os.Getenv(rest))
		case "random":
			fmt.Println(crand.Text())
		case "rand":
			fmt.Println(rand.Int())
		case "fail":
			fmt.Fprintln(os.Stderr, "asked to fail")
			os.Exit(3)
		case "panic", "trap":
			panic("asked to panic")
		case "flood":
			for {
				fmt.Println(strings.Repeat("x", 1000))
			}
		default:
			fmt.Println(runs, len(os.Args), strings.ToUpper(in.Text()))
		}
	}
}
