// Uses objects as the other languages' objects guests do.
package main

import (
	"errors"
	"fmt"
	"strings"

	headgate "github.com/headgate-io/headgate/sdk/go"
)

func init() { headgate.Handle(handle) }

func main() {}

func handle(ctx *headgate.Context) error {
	a, err := ctx.GetObject("camera", "in/a.txt")
	if err != nil {
		return err
	}
	part := make([]byte, 5)
	if _, err := ctx.ReadObject("camera", "in/a.txt", 6, part); err != nil {
		return err
	}
	about, err := ctx.StatObject("camera", "in/a.txt")
	if err != nil {
		return err
	}
	if err := ctx.PutObject("thumbs", "copy.txt", []byte("copy of "+string(a)), "text/x-copy"); err != nil {
		return err
	}
	if err := ctx.DeleteObject("camera", "in/b.bin"); err != nil {
		return err
	}
	own, err := ctx.GetObject("thumbs", "copy.txt")
	if err != nil {
		return err
	}
	keys, err := ctx.ListObjects("camera", "in/")
	if err != nil {
		return err
	}
	missing, denied := "some", "allowed"
	if _, err := ctx.GetObject("camera", "none"); errors.Is(err, headgate.ErrNotFound) {
		missing = "none"
	}
	if err := ctx.PutObject("other", "x", []byte("y"), ""); errors.Is(err, headgate.ErrDenied) {
		denied = "denied"
	}
	return ctx.Output(fmt.Sprintf("%s|%s|%d|%d|%s|%s|%s", a, part, about.Size, len(own), strings.Join(keys, ","), missing, denied))
}
